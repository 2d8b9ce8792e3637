"""Draw docs/figures/spec.png from the formulas of bandmate.spec: python docs/draw_spec.py"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle

from bandmate.spec import FRAME_RATE, SYNTHESIS_DELAY, Latency, StreamSpec, feasible_region

HEARD, WORK, SOUND, INK, PALE = "#7a9cc6", "#e9b872", "#7fb285", "#2f3640", "#e9eaec"
GREEN = "#4f8a5b"
LAG = SYNTHESIS_DELAY * FRAME_RATE  # frames by which the decoder's blocks lag
OUT = Path(__file__).parent / "figures" / "spec.png"

# The machine of the right panel, in seconds.
MACHINE = Latency(device_in=0.01, device_out=0.01, jitter=0.015)


def t_gen(k: int) -> float:
    return 0.025 + 0.3 * k / FRAME_RATE


def draw_calls(ax: Axes, spec: StreamSpec, calls: int = 7) -> None:
    """One row per call on one clock: what it has heard, its time to work, the sound that it makes."""
    last = (calls - 1) * spec.k
    for row in range(calls):
        call = row * spec.k
        ready, due, frames = spec.ready_at(call), spec.deadline(call), spec.completed_frames(call)
        ax.barh(row, max(ready, 0), height=0.52, color=HEARD)
        ax.barh(row, due - ready, left=ready, height=0.14, color=WORK)
        ax.barh(row, frames.stop - LAG - due, left=due, height=0.52, color=SOUND)
        ax.add_patch(Rectangle((call, row - 0.36), spec.k, 0.72, fill=False, ec=INK, lw=0.8, ls=(0, (2, 2))))
    style = {"fontsize": 8.5, "color": INK, "va": "center"}
    ax.text((last + spec.t_f) / 2, calls - 1, f"x[: {last + spec.t_f}]", ha="center", **style)
    ax.text(-8.3, -1.3, "calls that need no input are made\nbefore the stream begins", **style)
    _legend(ax)
    ax.set(xlim=(-8.6, last + spec.k + 1.2), ylim=(calls - 0.35, -1.9))
    ax.set_xlabel("instant on the common clock (frames of 20 ms)")
    ax.set_yticks(range(calls), [f"c = {row * spec.k}" for row in range(calls)])
    ax.set_xticks(range(-2 * spec.k, last + spec.k + 1, spec.k))
    ax.set_title(
        f"Calls of a stream with t_f = −{-spec.t_f}, k = {spec.k} frames", loc="left", fontsize=11, pad=14
    )


def _legend(ax: Axes) -> None:
    handles = [
        Patch(color=HEARD, label="heard: x[: c + t_f]"),
        Patch(color=WORK, label="time to work: from c + t_f to the deadline c − 3.75"),
        Patch(color=SOUND, label="the sound it makes, k frames"),
        Patch(fill=False, ec=INK, lw=0.8, ls=(0, (2, 2)), label="its columns c … c + k − 1"),
    ]
    ax.legend(handles=handles, loc="upper right", fontsize=8.5, frameon=False, labelcolor=INK)


def draw_plane(ax: Axes) -> None:
    """The (t_f, k) plane of a machine: where both conditions of §3.4 hold, and why not elsewhere."""
    t_fs, ks = range(-60, 26), range(1, 101)
    region = feasible_region(t_fs, ks, t_gen, MACHINE)
    good = np.array(region.deployable)
    keeps_up = np.array([t_gen(k) <= k / FRAME_RATE for k in ks])
    slack = np.where(keeps_up[:, None], region.slack, np.nan)
    seconds, lengths = np.array(t_fs) / FRAME_RATE, np.array(ks) / FRAME_RATE
    ax.set_yscale("log")
    ax.pcolormesh(
        seconds, lengths, good, cmap=ListedColormap([PALE, "#cfe3d1"]), shading="nearest", rasterized=True
    )
    lines = ax.contour(seconds, lengths, slack, levels=[0.2, 0.4, 0.6], colors=GREEN, linewidths=0.8)
    labels = [(-0.149 - spare, 0.047) for spare in (0.2, 0.4, 0.6)]
    ax.clabel(lines, fmt=lambda value: f"{value:.1f} s", fontsize=8, manual=labels)
    ax.contour(seconds, lengths, slack, levels=[0.0], colors=INK, linewidths=1.4)
    paper = [(t_f, k) for k in (0.02, 0.04, 0.1, 0.2, 1, 2) for t_f in (-1, -0.4, -0.2, 0, 0.2, 0.4)]
    ax.plot(*zip(*paper, strict=True), "o", color=INK, ms=3.5, mfc="white", mew=0.8)
    ax.plot(-0.4, 0.1, "o", color=INK, ms=6.5)
    ax.axvline(0, color=INK, lw=0.8, ls=(0, (5, 4)))
    style = {"fontsize": 8.5, "color": INK, "va": "center", "ha": "center"}
    ax.text(-1.185, 0.065, "can be played in time\n(lines: slack)", **{**style, "ha": "left"})
    ax.text(-0.465, 0.119, "default", **style)
    ax.text(-0.84, 0.0258, "falls behind: t_gen(k) > k", **style)
    ax.text(-0.15, 0.62, "arrives\ntoo late", **style)
    ax.text(0.26, 0.62, "looks ahead: offline,\nor played later", **style)
    ax.text(0, 2.3, "t_f = 0: the past only", **style)
    ax.text(0.26, 0.0258, "t_f = T: offline  →", **style)
    ax.set(xlim=(-1.21, 0.51), ylim=(0.0175, 2.1))
    ax.set(xlabel="future visibility t_f (s)", ylabel="chunk duration k (s)")
    ax.set_yticks([0.02, 0.04, 0.1, 0.2, 0.4, 1, 2], ["0.02", "0.04", "0.1", "0.2", "0.4", "1", "2"])
    ax.minorticks_off()
    ax.set_title("What one machine can hold", loc="left", fontsize=11, pad=14)


def main() -> None:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 5.2), width_ratios=[1.25, 1], layout="constrained"
    )
    draw_calls(left, StreamSpec(-8, 4))
    draw_plane(right)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9, color=INK)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=130)
    print(OUT)


if __name__ == "__main__":
    main()
