"""Figure 3d of the paper: how often each system was preferred."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from bandmate.sweep.figures import COLOURS, INK, LINE, PALE

LEAST = 5  # participants from which single ones are drawn as a crowd behind the mean


def preference_figure(report: Mapping[str, Any]) -> bytes:
    """PNG: mean win rate of each system with its 95 % interval, every participant's as a pale dot."""
    rows = report["systems"]
    figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(rows)), layout="constrained", facecolor="white")
    ax = figure.subplots()
    for place, row in enumerate(rows):
        rates = [each[place] for each in report["by_participant"].values()]
        known = sorted(rate for rate in rates if rate == rate)
        if len(known) >= LEAST:
            ax.scatter(known, crowd(known, place), s=9, color=LINE, linewidth=0, alpha=0.6, zorder=1)
        told = row["win_rate"]
        if told["low"] == told["low"]:
            ax.plot([told["low"], told["high"]], [place, place], color=COLOURS[0], linewidth=2.2, zorder=2)
        ax.plot(told["mean"], place, "o", color=COLOURS[0], markersize=6.5, zorder=3)
    ax.set_yticks(range(len(rows)), [row["system"] for row in rows])
    ax.invert_yaxis()
    ax.axvline(0.5, color=LINE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.grid(axis="x", color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=0, labelsize=9.5)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlabel(
        "preferred (ties count half); bars: 95 % intervals over participants", color=INK, fontsize=9
    )
    ax.set_title(
        f"Preference in blind pairs: {report['participants']} participants, {report['answers']} answers",
        loc="left", fontsize=10.5, color=INK,
    )  # fmt: skip
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=150)
    return target.getvalue()


def crowd(values: list[float], place: int) -> list[float]:
    """Heights for sorted values around a line: equal ones stand one over the other."""
    heights, run = [], 0
    for index, value in enumerate(values):
        run = run + 1 if index and abs(value - values[index - 1]) < 0.01 else 0
        heights.append(place + 0.05 * ((run + 1) // 2) * (1 if run % 2 else -1))
    return [min(place + 0.32, max(place - 0.32, height)) for height in heights]
