"""Figures 3 to 7 of the paper from the rows of a sweep, the paper's own values beside them, and the feasible region."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from bandmate.spec import FRAME_RATE
from bandmate.sweep import paper_values
from bandmate.sweep.figures import COLOURS, INK, LINE, PALE
from bandmate.sweep.machine import Machine
from bandmate.sweep.tables import count, number, seconds

Rows = Sequence[Mapping[str, Any]]
PAPER = "#8a929e"
GOOD = LinearSegmentedColormap.from_list("good", ["#f3e3d3", "#f7f7f5", "#cfe0ea", "#7ea8c4", "#2f6690"])
NORMAL = {
    "coherence_both": "nc_both",
    "coherence_harmonic": "nc_harmonic",
    "coherence_percussive": "nc_percussive",
    "beat_f1": "nb",
}
TITLES = {
    "coherence_both": "Coherence", "coherence_harmonic": "Coherence, harmonic",
    "coherence_percussive": "Coherence, percussive", "beat_f1": "Beat F1", "fad": "Fréchet distance",
    "nc_both": "NC", "nc_harmonic": "NC, harmonic", "nc_percussive": "NC, percussive", "nb": "NB",
}  # fmt: skip
SHARED = "0 = random pairing, 1 = ground truth"


@dataclass(frozen=True)
class Plane:
    """The rows of a sweep by what they are."""

    anchors: dict[str, Mapping[str, Any]]
    systems: tuple[Mapping[str, Any], ...]
    offline: tuple[Mapping[str, Any], ...]
    deaf: Mapping[str, Any] | None = None  # the unconditional system
    shuffled: tuple[Mapping[str, Any], ...] = ()  # another song heard

    @property
    def ks(self) -> list[float]:
        return sorted({row["k"] for row in self.systems})

    @property
    def t_fs(self) -> list[float]:
        return sorted({row["t_f"] for row in self.systems})

    @property
    def finest(self) -> float:
        """The k of Figures 3 and 5: the paper's one frame if it has enough t_f, else the k with the most."""
        counts = {k: len(self.line(k)) for k in self.ks}
        most = max(counts, key=lambda k: (counts[k], -k))
        frame = 1 / FRAME_RATE
        return frame if 2 * counts.get(frame, 0) > counts[most] else most

    def line(self, k: float) -> list[Mapping[str, Any]]:
        return sorted((row for row in self.systems if row["k"] == k), key=lambda row: row["t_f"])

    def network(self, measure: str) -> str:
        anchor = next(iter(self.anchors.values()), {})
        name = str(anchor.get("networks", {}).get(measure, {}).get("name", "network not named"))
        return name.partition(" (")[0]

    def has(self, metric: str) -> bool:
        return any(told(row, metric) for row in self.systems)


def told(row: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    """The row's interval of a metric; None where it has no mean. Its bounds may be null."""
    value = row.get(metric)
    return value if value and value.get("mean") is not None else None


def read(rows: Rows) -> Plane:
    """ValueError when there is no point of the plane among the rows."""
    broken = [row for row in rows if not {"kind", "point"} <= set(row)]
    if broken:
        raise ValueError("these are not the rows of a sweep: give the rows.jsonl of bandmate sweep run")
    systems = tuple(row for row in rows if row["kind"] == "system" and row.get("t_f") is not None)
    if not systems:
        raise ValueError("the rows hold no point of the plane yet: let the sweep finish one first")
    anchors = {row["point"]: row for row in rows if row["kind"] == "anchor"}
    by_kind = {
        kind: tuple(row for row in rows if row["kind"] == kind)
        for kind in ("offline", "unconditional", "shuffled")
    }
    deaf = next(iter(by_kind["unconditional"]), None)
    return Plane(anchors, systems, by_kind["offline"], deaf, by_kind["shuffled"])


def all_figures(plane: Plane, machine: Machine | None = None) -> dict[str, bytes]:
    """File name -> PNG."""
    halves = ("coherence_harmonic", "coherence_percussive")
    figures = {
        "figure3.png": figure3(plane),
        "figure4.png": by_t_f(plane, ("coherence_both",), plane.ks, "Figure 4: coherence, by k"),
        "figure5.png": by_t_f(plane, halves, [plane.finest], "Figure 5: the two halves of coherence"),
        "figure6.png": by_t_f(plane, halves, plane.ks, "Figure 6: the two halves of coherence, by k"),
        "figure7.png": by_t_f(plane, ("beat_f1", "fad"), plane.ks, "Figure 7: beats and sound, by k"),
        "plane.png": plane_figure(plane, machine),
    }
    return {name: as_png(figure) for name, figure in figures.items()}


def figure3(plane: Plane) -> Figure:
    """Three rows of panels: the paper, the same measured here, and both between random pairing and truth."""
    figure = new_figure(12.6, 9.6)
    axes = figure.subplots(3, 3)
    t_fs, ours = sorted({*paper_values.STREAMING, *plane.t_fs}), plane.line(plane.finest)
    for column, metric in enumerate(("coherence_both", "beat_f1", "fad")):
        measure, published = paper_values.NETWORKS[metric]
        theirs, mine = axes[0, column], axes[1, column]
        draw_paper(theirs, metric, t_fs)
        theirs.set_title(f"{'abc'[column]}  {TITLES[metric]}, the paper ({published})", **left())
        draw_line(mine, ours, metric, t_fs, COLOURS[0], "measured here")
        draw_offline(mine, plane.offline, metric, t_fs)
        draw_anchors(mine, plane.anchors, metric, t_fs)
        draw_controls(mine, plane, metric, t_fs)
        mine.set_title(f"{TITLES[metric]}, here ({plane.network(measure)})", **left())
        for ax in (theirs, mine):
            dress(ax, t_fs, bool(plane.offline) or ax is theirs)
        if metric in NORMAL:
            draw_both(axes[2, column], plane, metric, t_fs)
    words(axes[2, 2], plane)
    for ax in axes[2, :2]:
        ax.set_xlabel(X_LABEL, color=INK, fontsize=9.5)
    return titled(
        figure, f"Figure 3: what t_f does, k = {seconds(plane.finest)} s (the paper: one frame, 0.02 s)"
    )


def draw_both(ax: Axes, plane: Plane, metric: str, t_fs: list[float]) -> None:
    """The paper's curve and ours on the axis that they share."""
    values = {t_f: getattr(value, metric) for t_f, value in paper_values.STREAMING.items()}
    theirs = [paper_values.normalised(value, metric) for value in values.values()]
    place = [t_fs.index(t_f) for t_f in values]
    ax.plot(place, theirs, color=PAPER, marker="s", markersize=3.6, linewidth=1.4, label="paper")
    draw_line(ax, plane.line(plane.finest), NORMAL[metric], t_fs, COLOURS[0], "measured here")
    draw_controls(ax, plane, NORMAL[metric], t_fs)
    for height in (0, 1):
        ax.axhline(height, color=LINE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    ax.set_title(f"{TITLES[NORMAL[metric]]}: {SHARED}", **left())
    dress(ax, t_fs, False)
    if not plane.has(NORMAL[metric]):
        ax.text(
            0.5,
            0.9,
            "not told: truth and random pairing\nare not apart in these clips",
            transform=ax.transAxes,
            ha="center",
            va="top",
            fontsize=9,
            color=INK,
        )
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")


def draw_paper(ax: Axes, metric: str, t_fs: list[float]) -> None:
    """The values that were read off the paper, on an axis of the same places."""
    values = {t_f: getattr(value, metric) for t_f, value in paper_values.STREAMING.items()}
    ax.plot(
        [t_fs.index(t_f) for t_f in values],
        list(values.values()),
        color=PAPER,
        marker="s",
        markersize=3.6,
        linewidth=1.4,
    )
    anchors = {"ground truth": paper_values.TRUTH, "random pairing": paper_values.RANDOM}
    for name, anchor in anchors.items():
        if (height := getattr(anchor, metric)) is not None:
            reference(ax, height, name, len(t_fs))
    for (name, value), marker in zip(paper_values.OFFLINE.items(), "^v", strict=True):
        ax.plot(
            len(t_fs), getattr(value, metric), marker, color=PAPER, markersize=6, label=f"{name}, offline"
        )
    ax.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="center left", bbox_to_anchor=(0, 0.63))


def draw_line(ax: Axes, rows: Rows, metric: str, t_fs: list[float], colour: str, label: str) -> None:
    """Means with their 95 % band at the places of their t_f; a single point gets a bar."""
    known = [row for row in rows if told(row, metric)]
    if not known:
        return
    x = [t_fs.index(row["t_f"]) for row in known]
    mean = [row[metric]["mean"] for row in known]
    low, high = ([row[metric].get(side) for row in known] for side in ("low", "high"))
    if None not in (*low, *high):
        if len(x) > 1:
            ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        else:
            ax.vlines(x, low, high, color=colour, linewidth=1.4, alpha=0.5)
    ax.plot(x, mean, color=colour, linewidth=1.6, marker="o", markersize=3.8, label=label)


def draw_offline(ax: Axes, rows: Rows, metric: str, t_fs: list[float]) -> None:
    """Offline models stand right of all t_f."""
    for marker, row in zip("^vDPX" * 9, rows, strict=False):
        if value := told(row, metric):
            mean = value["mean"]
            low, high = (mean if value.get(side) is None else value[side] for side in ("low", "high"))
            bar = [[mean - low], [high - mean]]
            ax.errorbar(len(t_fs), mean, bar, fmt=marker, color=COLOURS[1], markersize=6, label=row["point"])
    if rows:
        legend(ax)


def draw_anchors(ax: Axes, anchors: Mapping[str, Mapping[str, Any]], metric: str, t_fs: list[float]) -> None:
    for name, row in anchors.items():
        value = told(row, metric)
        shown = name in ("ground truth", "random pairing", "ground truth, codec") and not (
            metric == "fad" and name == "ground truth"
        )
        if value and shown:
            reference(ax, value["mean"], name, len(t_fs), right=name.endswith("codec"))


def draw_controls(ax: Axes, plane: Plane, metric: str, t_fs: list[float]) -> None:
    """What tells whether the model listens: nothing heard as a line, another song heard as open circles."""
    if plane.deaf and (value := told(plane.deaf, metric)):
        reference(ax, value["mean"], "no input", len(t_fs), right=True, colour=COLOURS[0])
    known = [row for row in plane.shuffled if told(row, metric) and row["t_f"] in t_fs]
    if known:
        place, mean = [t_fs.index(row["t_f"]) for row in known], [row[metric]["mean"] for row in known]
        ax.plot(
            place,
            mean,
            "o",
            color=COLOURS[0],
            markerfacecolor="white",
            markersize=5,
            label="another song heard",
        )


def reference(
    ax: Axes, height: float, name: str, places: int, right: bool = False, colour: str = LINE
) -> None:
    """A dashed line with its name above its left end, or its right one, so that two that lie close can be told."""
    ax.axhline(height, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    ax.annotate(
        name,
        (places - 0.7 if right else -0.3, height),
        (0, 2),
        textcoords="offset points",
        fontsize=8,
        color=INK,
        ha="right" if right else "left",
        va="bottom",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def by_t_f(plane: Plane, metrics: Sequence[str], ks: Sequence[float], title: str) -> Figure:
    """One panel per metric against t_f and below it, where it has one, the normalised; one line per k."""
    below = [NORMAL.get(metric, "") if plane.has(NORMAL.get(metric, "")) else "" for metric in metrics]
    wide = len(metrics) == 1 and any(below)  # side by side
    figure = new_figure(10.8, 4.4 if wide or not any(below) else 7.8)
    grid = (
        figure.subplots(1, 2, squeeze=False)
        if wide
        else figure.subplots(1 + any(below), len(metrics), squeeze=False)
    )
    axes = grid.ravel() if wide else grid.T.ravel()
    shown = [name for pair in zip(metrics, below, strict=True) for name in (pair if any(below) else pair[:1])]
    for ax, metric in zip(axes, shown, strict=True):
        if not metric:
            ax.set_axis_off()
            continue
        for colour, k in zip(COLOURS * 9, ks, strict=False):
            draw_line(ax, plane.line(k), metric, plane.t_fs, colour, f"k = {seconds(k)} s")
        if metric in TITLES and metric not in NORMAL.values():
            draw_anchors(ax, plane.anchors, metric, plane.t_fs)
        else:
            for height in (0, 1):
                ax.axhline(height, color=LINE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        ax.set_title(panel_title(plane, metric), **left())
        dress(ax, plane.t_fs, False)
        ax.set_xlabel(X_LABEL, color=INK, fontsize=9.5)
    legend(axes[0])
    return titled(figure, title)


def legend(ax: Axes) -> None:
    """Names of the lines, where there are any."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")


def panel_title(plane: Plane, metric: str) -> str:
    if metric in NORMAL.values():
        return f"{TITLES[metric]}: {SHARED}"
    measure = {"beat_f1": "beats", "fad": "embedding"}.get(metric, "coherence")
    return f"{TITLES[metric]} ({plane.network(measure)})"


def plane_figure(plane: Plane, machine: Machine | None) -> Figure:
    """The plane as cells: NC (raw coherence where that is not told) as colour, what a machine holds as outline."""
    metric = "nc_both" if plane.has("nc_both") else "coherence_both"
    t_fs, ks = plane.t_fs, plane.ks
    values = np.full((len(ks), len(t_fs)), np.nan)
    for row in plane.systems:
        if told(row, metric):
            values[ks.index(row["k"]), t_fs.index(row["t_f"])] = row[metric]["mean"]
    figure = new_figure(max(6.4, 1.0 * len(t_fs) + 2.4), max(3.4, 0.62 * len(ks) + 2.2))
    ax = figure.subplots()
    raw = metric != "nc_both" and plane.has(metric)
    span = (np.nanmin(values), np.nanmax(values) + 1e-9) if raw else (-0.1, 1.0)
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=GOOD, vmin=span[0], vmax=span[1], edgecolors="white", linewidth=2
    )
    for (i, j), value in np.ndenumerate(values):
        if math.isfinite(value):
            dark = (value - span[0]) / (span[1] - span[0]) > 0.75
            ax.text(
                j + 0.5,
                i + 0.5,
                number(value, 2),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else INK,
            )
    bar = figure.colorbar(mesh, ax=ax, pad=0.015, aspect=24)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(panel_title(plane, metric), fontsize=9, color=INK)
    ax.set_xticks(np.arange(len(t_fs)) + 0.5, [tick(t_f) for t_f in t_fs])
    ax.set_yticks(np.arange(len(ks)) + 0.5, [seconds(k) for k in ks])
    ax.set_xlabel("future visibility t_f (s)", color=INK)
    ax.set_ylabel("chunk duration k (s)", color=INK)
    ax.tick_params(colors=INK, length=0, labelsize=9)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if machine:
        outline(ax, plane, machine)
    return titled(
        figure, "Coherence over the plane" + (", and what this machine can hold" if machine else "")
    )


def outline(ax: Axes, plane: Plane, machine: Machine) -> None:
    """A line around the cells that can be played in time, and points of light over those that cannot."""
    t_fs, ks = plane.t_fs, plane.ks
    held = np.array([[machine.holds(t_f, k) for t_f in t_fs] for k in ks])
    for (i, j), good in np.ndenumerate(held):
        if not good:
            ax.add_patch(
                Rectangle(
                    (j, i), 1, 1, facecolor="none", edgecolor="white", hatch="....", linewidth=0, alpha=0.75
                )
            )
            continue
        sides = {
            (0, 1): ([j, j + 1], [i + 1, i + 1]),
            (0, -1): ([j, j + 1], [i, i]),
            (1, 0): ([j + 1, j + 1], [i, i + 1]),
            (-1, 0): ([j, j], [i, i + 1]),
        }
        for (dx, dy), (x, y) in sides.items():
            inside = 0 <= i + dy < len(ks) and 0 <= j + dx < len(t_fs)
            if not (inside and held[i + dy, j + dx]):
                ax.plot(x, y, color=INK, linewidth=1.8, solid_capstyle="round", clip_on=False, zorder=5)
    told = "outlined: can be played in time" if held.any() else "no point of this grid can be played in time"
    times = ", ".join(
        f"{1000 * t:.0f} ms for {seconds(k)} s" for k, t in zip(machine.k, machine.t_gen, strict=True)
    )
    ax.set_title(f"{told} ({machine.source}: {times})", **(left() | {"fontsize": 9}))


X_LABEL = "t_f (s): predicts ahead  ←  0  →  hears ahead"


def dress(ax: Axes, t_fs: list[float], with_offline: bool) -> None:
    """Evenly spaced places for uneven t_f, as in the paper, and ∞ for offline models."""
    labels = [tick(t_f) for t_f in t_fs] + ["∞"] * with_offline
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    if 0 in t_fs:
        ax.axvline(t_fs.index(0), color=PALE, linewidth=1.2, zorder=0)
    ax.grid(axis="y", color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(y=0.12)
    ax.tick_params(colors=INK, length=0, labelsize=8.5)
    for spine in ax.spines.values():
        spine.set_visible(False)


def words(ax: Axes, plane: Plane) -> None:
    """What the panels show, in the place of a ninth."""
    ax.set_axis_off()
    anchor = next(iter(plane.anchors.values()), {})
    first = plane.line(plane.finest)[0]
    text = (
        f"Here: {first['clips']} clips of {first['songs']} songs,\n"
        f"{count(first['seeds'], 'sampling seed')}; bands are 95 %\nintervals over songs.\n\n"
        "The paper: 1024 clips of Slakh2100,\nvalues read off its figure.\n\n"
        "Raw values compare under the same\nnetworks only; the bottom row compares\n"
        "what lies between random pairing and\nthe ground truth."
    )
    ax.text(
        0.02,
        0.95,
        text if anchor else "",
        transform=ax.transAxes,
        va="top",
        fontsize=9,
        color=INK,
        linespacing=1.45,
    )


def tick(t_f: float) -> str:
    return f"{t_f:+g}".replace("-", "−") if t_f else "0"


def left() -> dict[str, Any]:
    return {"loc": "left", "fontsize": 10, "color": INK}


def new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def titled(figure: Figure, title: str) -> Figure:
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    return figure


def as_png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=140, metadata={"Software": None})
    return target.getvalue()
