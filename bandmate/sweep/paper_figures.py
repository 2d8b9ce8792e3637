"""What the paper's Figures 1 and 2 explain, drawn anew: how (t_f, k) lie in time, and what the fused model does."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from bandmate.spec import StreamSpec
from bandmate.sweep.figures import INK, LINE, PALE
from bandmate.sweep.plane_figures import as_png, left, new_figure, titled

HEARD, HISTORY, CHUNK, EMPTY = "#7a9cc6", "#b9bec6", "#7fb285", "#f4f4f2"
PAD = "#e9b872"
NOTE: dict[str, Any] = {"fontsize": 8.5, "color": INK, "va": "center", "ha": "center"}
LEVEL = ("#2f6690", "#4d87b3", "#85aecb", "#b7cfdf")


def all_figures() -> dict[str, bytes]:
    """File name -> PNG."""
    return {"figure1.png": figure1(), "figure2.png": figure2()}


def figure1(frames: int = 14, now: int = 7, k: int = 3) -> bytes:
    """One call in three regimes: what it has heard, what it has played, what it plays next."""
    figure = new_figure(12.6, 3.3)
    cases = (
        (-3, "t_f < 0: predicts ahead, and can be played in time"),
        (0, "t_f = 0: strictly the past"),
        (3, "t_f > 0: hears ahead"),
    )
    for ax, (t_f, title) in zip(figure.subplots(1, 3), cases, strict=True):
        draw_call(ax, StreamSpec(t_f, k), frames, now)
        ax.set_title(title, **left())
    return as_png(
        titled(figure, "Figure 1: one call of a stream, y[t : t + k] given y[: t] and x[: t + t_f]")
    )


def draw_call(ax: Axes, spec: StreamSpec, frames: int, now: int) -> None:
    """Input above, output below, one cell a frame."""
    horizon = spec.horizon(now)
    for frame in range(frames):
        cell(ax, frame, 1.5, HEARD if frame < horizon else EMPTY)
        chunk = now <= frame < now + spec.k
        cell(ax, frame, 0, CHUNK if chunk else HISTORY if frame < now else EMPTY)
    ax.plot([now, now], [-0.75, 2.95], color=INK, linewidth=1.1)
    ax.text(now, -1.0, "t", **NOTE)
    ax.text(horizon / 2, 2.0, "x[: t+t_f]", **NOTE)
    ax.text(now / 2, 0.5, "y[: t]", **NOTE)
    ax.text(now + spec.k / 2, 0.5, "next k", **NOTE)
    if spec.t_f:
        arrow(ax, (now, 2.72), (horizon, 2.72))
        ax.text((now + horizon) / 2, 3.0, f"t_f = {spec.t_f:+d}".replace("-", "−"), **NOTE)
    brace(ax, now, now + spec.k, -0.35, "k")
    ax.text(-0.35, 2.0, "x", **{**NOTE, "ha": "right", "fontsize": 11})
    ax.text(-0.35, 0.5, "y", **{**NOTE, "ha": "right", "fontsize": 11})
    blank(ax, (-1.1, frames + 0.3), (-1.5, 3.4))


def figure2() -> bytes:
    """Codec, delay pattern and alignment, fusion."""
    figure = new_figure(13.2, 4.6)
    axes = figure.subplots(1, 3, width_ratios=[0.85, 1.25, 1.1])
    draw_codec(axes[0])
    draw_alignment(axes[1], StreamSpec(-2, 1))
    draw_fusion(axes[2])
    for ax, title in zip(
        axes,
        ("Sound to codes", "One clock: delay pattern and t_f", "Fusion: one column per step"),
        strict=True,
    ):
        ax.set_title(title, **left())
    return as_png(
        titled(figure, "Figure 2: the paper's streaming model, here with t_f = −2 frames and k = 1")
    )


def draw_codec(ax: Axes) -> None:
    """Stems are mixed; mix and target go through the same frozen codec."""
    box(ax, (0.0, 5.0), 3.0, 0.8, "other stems,\nsummed", EMPTY)
    box(ax, (5.0, 5.0), 3.0, 0.8, "target stem", EMPTY)
    for x in (0.0, 5.0):
        arrow(ax, (x + 1.5, 4.9), (x + 1.5, 4.25))
        box(ax, (x, 3.4), 3.0, 0.8, "causal codec", "#e4e9ef")
        arrow(ax, (x + 1.5, 3.3), (x + 1.5, 2.65))
        for level in range(4):
            for frame in range(6):
                cell(ax, x + frame * 0.5, 2.1 - level * 0.45, LEVEL[level], 0.46, 0.4)
    ax.text(4.0, 3.8, "frozen,\nthe same", **NOTE)
    ax.text(1.5, 0.35, "x: 4 levels, 50 frames/s", **NOTE)
    ax.text(6.5, 0.35, "y: 4 levels, 50 frames/s", **NOTE)
    blank(ax, (-0.4, 8.4), (-0.5, 6.2))


def draw_alignment(ax: Axes, spec: StreamSpec, columns: int = 9) -> None:
    """Row by row: the input frame fused at each step, and the cells of the output column that the step emits."""
    ax.text(-0.25, 5.4, "input fused", **{**NOTE, "ha": "right"})
    for column in range(columns):
        index = spec.fused_index(column)
        cell(ax, column, 5.0, HEARD if index >= 0 else PAD, 0.94, 0.8)
        ax.text(column + 0.47, 5.4, f"x{index}" if index >= 0 else "pad", **(NOTE | {"fontsize": 8}))
        ax.text(column + 0.47, -0.35, str(column), **(NOTE | {"fontsize": 8}))
        for level in range(spec.levels):
            frame, bottom = column - level, 3.4 - level * 0.9
            cell(ax, column, bottom, LEVEL[level] if frame >= 0 else PALE, 0.94, 0.8)
            if frame >= 0:
                ax.text(
                    column + 0.47,
                    bottom + 0.4,
                    f"y{frame}",
                    **(NOTE | {"fontsize": 8, "color": "white" if level < 2 else INK}),
                )
    for level in range(spec.levels):
        ax.text(-0.25, 3.8 - level * 0.9, f"level {level + 1}", **{**NOTE, "ha": "right"})
    ax.text(-0.25, -0.35, "column s", **{**NOTE, "ha": "right"})
    ax.text(columns / 2, -1.1, "column s holds level l of frame s − l; its step hears x[s + t_f − 1]", **NOTE)
    blank(ax, (-2.4, columns + 0.1), (-1.6, 6.3))


def draw_fusion(ax: Axes) -> None:
    """Equations 2 and 3, from the codes of a step to the next column."""
    box(ax, (0, 0), 3.2, 0.8, "x[s + t_f − 1]:  Σ frozen\ncodebook rows", "#dbe5ef")
    box(ax, (5.2, 0), 3.2, 0.8, "column s − 1:  Σ learned\nembeddings", "#dfe9df")
    box(ax, (0, 1.6), 3.2, 0.7, "LN( W LN( · ) )", EMPTY)
    box(ax, (5.2, 1.6), 3.2, 0.7, "g ⊙ LN( · ),  g = 0 at first", EMPTY)
    box(ax, (3.75, 2.8), 0.9, 0.7, "+", EMPTY)
    box(ax, (1.6, 4.1), 5.2, 0.9, "causal transformer\n(instrument first)", "#e4e9ef")
    for x in (1.6, 6.8):
        arrow(ax, (x, 0.85), (x, 1.55))
    arrow(ax, (1.6, 2.35), (3.7, 3.1))
    arrow(ax, (6.8, 2.35), (4.7, 3.1))
    arrow(ax, (4.2, 3.55), (4.2, 4.05))
    arrow(ax, (4.2, 5.05), (4.2, 5.55))
    for level in range(4):
        cell(ax, 2.75 + level * 0.75, 5.6, LEVEL[level], 0.66, 0.5)
    ax.text(6.0, 5.85, "column s", **{**NOTE, "ha": "left"})
    blank(ax, (-0.4, 8.8), (-0.5, 6.5))


def cell(ax: Axes, x: float, y: float, colour: str, width: float = 0.94, height: float = 1.0) -> None:
    edge = LINE if colour in (EMPTY, PALE) else "none"
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, linewidth=0.7))


def box(ax: Axes, corner: tuple[float, float], width: float, height: float, text: str, colour: str) -> None:
    style = "round,pad=0.02,rounding_size=0.12"
    ax.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=colour, edgecolor=LINE, linewidth=0.8)
    )
    ax.text(corner[0] + width / 2, corner[1] + height / 2, text, **NOTE)


def arrow(ax: Axes, begin: tuple[float, float], end: tuple[float, float]) -> None:
    shape: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "color": INK, "linewidth": 0.9}
    ax.add_patch(FancyArrowPatch(begin, end, shrinkA=0, shrinkB=0, **shape))


def brace(ax: Axes, begin: float, end: float, y: float, text: str) -> None:
    ax.plot([begin, begin, end, end], [y + 0.2, y, y, y + 0.2], color=INK, linewidth=0.9)
    ax.text((begin + end) / 2, y - 0.3, text, **NOTE)


def blank(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """No axes, these limits."""
    ax.set(xlim=x, ylim=y)
    ax.set_axis_off()
