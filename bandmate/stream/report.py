"""What a run of the stream measured: the report, and its picture."""

import io
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bandmate.stream.overview import Overview
from bandmate.stream.scheduler import Timing
from bandmate.stream.session import Session

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#22313f", "#7b8794", "#d9dee3"
IN_TIME, MISSED = "#2a7f9e", "#d1495b"


def measured(session: Session, seconds: float) -> dict[str, Any]:
    """The numbers of a run over ``seconds`` of audio; times in milliseconds where the name says so."""
    tracker = session.tracker
    return {
        "real_time_factor": round(tracker.work / seconds, 4) if seconds else 0.0,
        "step_ms": tracker.steps.summary(),
        "calls": tracker.calls,
        "misses": tracker.misses,
        "skipped": tracker.skipped,
        "worst_lateness_ms": round(1000 * tracker.worst_lateness / session.engine.geometry.rate, 1),
        "bad_samples": session.engine.bad_samples,
    }


def versions() -> dict[str, str]:
    """Of bandmate and of what its numbers depend on."""
    import torch

    from bandmate import __version__

    return {
        "bandmate": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Picture:
    """What the picture shows: both signals and the calls, on one clock, with words about them."""

    heard: Overview
    played: Overview
    timings: list[Timing]
    rate: int
    budget: float  # seconds from input complete to output due
    period: float  # seconds from call to call
    seconds: float
    input_title: str
    output_title: str
    timing_title: str


def draw(picture: Picture) -> bytes:
    """The picture as PNG: spectrogram of the input, of the output, each call's time against its limits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), dpi=150, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 1, height_ratios=[1, 1, 0.8])
    top = figure.add_subplot(grid[0])
    axes = [top, figure.add_subplot(grid[1], sharex=top), figure.add_subplot(grid[2], sharex=top)]
    draw_sound(axes[0], picture.heard, picture.input_title)
    draw_sound(axes[1], picture.played, picture.output_title)
    draw_calls(axes[2], picture)
    for axis in axes:
        style(axis)
    for axis in axes[:2]:
        axis.tick_params(labelbottom=False)
    axes[0].set_xlim(0, max(picture.seconds, 0.02))
    axes[2].set_xlabel("time (s)", color=INK)
    file = io.BytesIO()
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def draw_sound(axis: "Axes", sound: Overview, title: str) -> None:
    """Spectrogram on a log-frequency axis, the level below it as a thin band."""
    levels = sound.levels_db
    axis.set_title(title, loc="left", fontsize=11, color=INK, pad=6)
    axis.set_ylabel("frequency (Hz)", color=INK)
    axis.set_yscale("log")
    low, high = sound.band_frequencies[[0, -1]]
    axis.set_ylim(low, high)
    axis.set_yticks([100, 1000, 10_000], ["100", "1 k", "10 k"])
    axis.minorticks_off()
    if not levels.shape[1]:
        return
    top = max(float(levels.max()), -60.0)
    edges = np.arange(levels.shape[1] + 1) * sound.seconds_per_column
    bands = np.geomspace(low, high, len(levels) + 1)
    mesh = axis.pcolormesh(edges, bands, levels, cmap="magma", vmin=top - 60, vmax=top, rasterized=True)
    bar = axis.figure.colorbar(mesh, ax=axis, pad=0.01, aspect=18, fraction=0.025)
    bar.set_label("level (dB)", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    bar.outline.set_visible(False)  # type: ignore[operator]


def draw_calls(axis: "Axes", picture: Picture) -> None:
    """Each call a thin bar: how long it took, at the instant its output is due; the limits as lines."""
    timings = [t for t in picture.timings if not t.skipped]
    due = np.array([(t.call.start + t.shift) / picture.rate for t in timings])
    took = np.array([1000 * t.seconds for t in timings])
    late = np.array([t.late for t in timings], dtype=bool)
    axis.set_title(picture.timing_title, loc="left", fontsize=11, color=INK, pad=6)
    axis.set_ylabel("time of a call (ms)", color=INK)
    for chosen, colour, name in ((~late, IN_TIME, "in time"), (late, MISSED, "late")):
        if chosen.any():
            axis.vlines(due[chosen], 0, took[chosen], color=colour, lw=0.9, alpha=0.45)
            axis.plot(due[chosen], took[chosen], "o", ms=2.2, color=colour, label=name)
    skipped = [(t.call.start + t.shift) / picture.rate for t in picture.timings if t.skipped]
    if skipped:
        axis.plot(skipped, np.zeros(len(skipped)), "x", ms=4, color=MISSED, label="left out", clip_on=False)
    limits = draw_limits(axis, picture)
    scale_calls(axis, 1.6 * max(limits + took.tolist()))
    if late.any() or skipped:
        axis.legend(loc="lower left", ncols=3, framealpha=0.9, edgecolor="none", fontsize=8)


def draw_limits(axis: "Axes", picture: Picture) -> list[float]:
    """The deadline and the next call as labelled lines; their heights in ms."""
    shift = picture.timings[0].shift / picture.rate if picture.timings else 0.0
    limits = [(1000 * picture.period, "the next call begins", "--")]
    if picture.budget + shift > 0:
        limits.append((1000 * (picture.budget + shift), "deadline, counted from the last input heard", "-"))
    highest = max(height for height, _, _ in limits)
    for height, name, dashes in limits:
        below = height < highest < 1.6 * height  # no room between the two lines
        axis.axhline(height, color=INK, lw=1.0, ls=dashes)
        axis.annotate(
            f"{name}: {height:.0f} ms",
            (1, height),
            (-4, -3 if below else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )
    return [height for height, _, _ in limits]


def scale_calls(axis: "Axes", top: float) -> None:
    """Milliseconds on an axis that is linear below 10 and logarithmic above."""
    axis.set_yscale("symlog", linthresh=10, linscale=0.5)
    ticks = [0, *[t for t in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t < top]]
    axis.set_yticks(ticks, [str(t) for t in ticks])
    axis.minorticks_off()
    axis.set_ylim(0, top)
    axis.grid(axis="y", color=GRID, lw=0.6)
    axis.set_axisbelow(True)


def style(axis: "Axes") -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(GRID)
    axis.tick_params(colors=MUTED, labelsize=9)
