"""Figures of the reports."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE, LINE = "#2f3640", "#e9eaec", "#b9bec6"
COLOURS = ("#2f6690", "#d1813a", "#5b8e5a", "#8c5b8e", "#a34a4a", "#6b7280")
PANELS = {"other_minus_own": "given another song's mixture", "deaf_minus_own": "given no input"}


def listening_figure(report: dict[str, Any]) -> bytes:
    """PNG: nats by which level 1 is predicted worse without its own mixture, against t_f; one line per k.

    Takes the report of :func:`bandmate.sweep.listening.report`. Bands are 95 % intervals over songs.
    """
    rows = [row for row in report["rows"] if row["level"] == 1]
    t_f = sorted({row["t_f"] for row in rows})
    figure = Figure(figsize=(9.6, 4.3), layout="constrained", facecolor="white")
    axes: Sequence[Axes] = figure.subplots(1, len(PANELS), sharey=True)
    for ax, (gap, title) in zip(axes, PANELS.items(), strict=True):
        for colour, k in zip(COLOURS * 9, sorted({row["k"] for row in rows}), strict=False):
            draw_line(ax, [row for row in rows if row["k"] == k], gap, t_f, colour, f"k = {k:g} s")
        dress(ax, t_f)
        ax.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes[0].set_ylabel("cross-entropy above that given its own mixture\n(nats per code, level 1)", color=INK)
    axes[0].legend(frameon=False, loc="upper left", fontsize=9, labelcolor=INK)
    figure.suptitle(
        f"What listening is worth: the true stem, {report['songs']} songs",
        x=0.01, ha="left", fontsize=12, color=INK,
    )  # fmt: skip
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=150)
    return target.getvalue()


def draw_line(
    ax: Axes, rows: list[dict[str, Any]], gap: str, t_f: list[float], colour: str, label: str
) -> None:
    """One k: means with their band, at the places of their t_f."""
    rows = sorted(rows, key=lambda row: row["t_f"])
    x = [t_f.index(row["t_f"]) for row in rows]
    mean, low, high = ([row[gap][key] for row in rows] for key in ("mean", "low", "high"))
    ax.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    ax.plot(x, mean, color=colour, linewidth=1.6, marker="o", markersize=3.6, label=label)


def dress(ax: Axes, t_f: list[float]) -> None:
    """Evenly spaced places for uneven t_f, a line at no gap, and at no look-ahead."""
    ax.set_xticks(range(len(t_f)), [f"{value:+g}".replace("-", "−") if value else "0" for value in t_f])
    ax.axhline(0, color=INK, linewidth=0.8, zorder=0)
    if 0 in t_f:
        ax.axvline(t_f.index(0), color=LINE, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.grid(axis="y", color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=0, labelsize=9)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel("t_f (s): predicts ahead  ←  0  →  hears ahead", color=INK, fontsize=9.5)
