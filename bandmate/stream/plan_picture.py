"""The plane of one machine: where it plays in time, what is advised, and what its chunks cost."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bandmate.spec import FRAME_RATE, StreamSpec, largest_t_f
from bandmate.stream.advice import MARGIN, Advice, Machine
from bandmate.stream.report import GRID, IN_TIME, INK, MISSED, MUTED, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD = "#d5e8ee"
ADVISED = "#e09f3e"
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)  # ms


@dataclass(frozen=True)
class Plan:
    """What was measured, in words and numbers. t_f: frames of the table; median: k in frames -> seconds, p50."""

    machine: Machine
    advice: Advice
    t_f: Sequence[int]
    median: dict[int, float]
    title: str
    spent: str


def draw(plan: Plan) -> bytes:
    """The picture as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.6), dpi=150, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plane, cost = figure.subplots(1, 2, width_ratios=[1.55, 1])
    figure.suptitle(plan.title, x=0.01, ha="left", fontsize=11.5, color=INK)
    draw_plane(plane, plan)
    draw_cost(cost, plan)
    file = io.BytesIO()
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def frontier(machine: Machine, times: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """k [N] and the largest t_f [N] in time, both in seconds; nan where chunks do not keep up."""
    ks = np.array(sorted(machine.t_gen))
    fresh = [
        largest_t_f(machine.spent(k, times)) / FRAME_RATE if times * machine.load(k) <= 1 else np.nan
        for k in ks.tolist()
    ]
    return ks / FRAME_RATE, np.array(fresh)


def draw_plane(axis: "Axes", plan: Plan) -> None:
    """t_f against k: what is in time and keeps up, the points of the table, the advice."""
    machine, left = plan.machine, min(plan.t_f) / FRAME_RATE
    axis.set_title("What can be played in time", loc="left", fontsize=11, color=INK, pad=6)
    ks, fresh = frontier(machine)
    axis.fill_betweenx(ks, np.full(len(ks), 2 * left), fresh, color=HELD, lw=0, label="in time")
    axis.plot(fresh, ks, "-", color=IN_TIME, lw=1.6)
    _, careful = frontier(machine, MARGIN)
    axis.plot(careful, ks, "--", color=IN_TIME, lw=1.2, label="with a quarter to spare")
    points = [(t_f, k) for k in machine.t_gen for t_f in plan.t_f]
    good = [StreamSpec(t_f, k).is_deployable(machine.spent(k)) for t_f, k in points]
    for wanted, fill, rim in ((True, IN_TIME, IN_TIME), (False, "white", MUTED)):
        chosen = [point for point, held in zip(points, good) if held == wanted]
        if chosen:
            place = np.array(chosen) / FRAME_RATE
            axis.plot(place[:, 0], place[:, 1], "o", ms=4, mew=0.9, ls="", mfc=fill, mec=rim)
    mark_what_is_too_slow(axis, machine)
    if plan.advice.spec is not None:
        mark_advice(axis, plan.advice.spec)
    else:
        axis.text(
            0.5, 0.93, "nothing, here", transform=axis.transAxes, ha="center", fontsize=12, color=MISSED
        )
    axis.set_xlim(1.06 * left, max(0.02, max(plan.t_f) / FRAME_RATE + 0.02))
    scale_k(axis, ks)
    axis.set_xlabel(f"t_f (s): how far it hears ahead\n{plan.spent}", color=INK)
    axis.legend(loc="upper left", fontsize=8.5, framealpha=0.95, edgecolor="none")
    style(axis)


def mark_what_is_too_slow(axis: "Axes", machine: Machine) -> None:
    """A word on the row of each k whose chunks take longer than they sound."""
    for k in machine.t_gen:
        if machine.load(k) > 1:
            axis.axhline(k / FRAME_RATE, color=MISSED, lw=0.9, ls=":", zorder=0)
            axis.annotate(
                f"does not keep up: {machine.load(k):.1f} times its sound",
                (1, k / FRAME_RATE),
                (-4, 6),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=MISSED,
            )


def mark_advice(axis: "Axes", spec: StreamSpec) -> None:
    t_f, k = spec.t_f_seconds, spec.k_seconds
    axis.plot([t_f], [k], "*", ms=17, mfc=ADVISED, mec=INK, mew=0.8, ls="", zorder=5)
    axis.annotate(
        f"advised: t_f = {t_f:g} s, k = {k:g} s",
        (t_f, k),
        (-12, 12),
        textcoords="offset points",
        ha="right",
        fontsize=9.5,
        color=INK,
        zorder=6,
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
    )


def scale_k(axis: "Axes", ks: np.ndarray) -> None:
    """k on a logarithmic axis with a label at each that was timed."""
    axis.set_yscale("log")
    axis.set_ylim(ks[0] / 1.5, 1.9 * ks[-1])
    axis.set_yticks(ks, [f"{k:g}" for k in ks])
    axis.minorticks_off()
    axis.set_ylabel("k (s): how much it plays at once", color=INK)
    axis.grid(axis="y", color=GRID, lw=0.6)
    axis.set_axisbelow(True)


def draw_cost(axis: "Axes", plan: Plan) -> None:
    """The time of a chunk against k, and the time that it may take."""
    ks = np.array(sorted(plan.machine.t_gen))
    slow = 1000 * np.array([plan.machine.t_gen[k] for k in ks.tolist()])
    usual = 1000 * np.array([plan.median[k] for k in ks.tolist()])
    seconds = ks / FRAME_RATE
    wide = np.array([seconds[0] / 1.3, seconds[-1] * 1.3])
    axis.set_title("What a chunk takes", loc="left", fontsize=11, color=INK, pad=6)
    axis.plot(wide, 1000 * wide, "-", color=INK, lw=1.0, label="as long as it sounds")
    axis.plot(wide, 1000 * wide / MARGIN, "--", color=INK, lw=0.9, label="with a quarter to spare")
    keeps = slow <= 1000 * seconds + 1e-6
    axis.plot(seconds, slow, "-", color=IN_TIME, lw=1.2, zorder=1)
    for chosen, colour, name in ((keeps, IN_TIME, "p99"), (~keeps, MISSED, "p99, too slow")):
        if chosen.any():
            axis.plot(seconds[chosen], slow[chosen], "o", ms=5, color=colour, label=name)
    axis.plot(seconds, usual, "_", ms=9, mew=1.6, color=MUTED, label="p50")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(seconds, [f"{k:g}" for k in seconds])
    values = np.concatenate([slow, usual, 1000 * wide])
    values = values[values > 0]
    axis.set_ylim(values.min() / 1.5, values.max() * 1.6)
    low, high = axis.get_ylim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("k (s)", color=INK)
    axis.set_ylabel("time of a chunk (ms)", color=INK)
    axis.legend(loc="upper left", fontsize=8.5, framealpha=0.95, edgecolor="none")
    axis.grid(color=GRID, lw=0.6)
    axis.set_axisbelow(True)
    style(axis)
