"""Teacher forcing, for training and for measuring alike: what a window's columns see, and how well they are predicted."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bandmate.model.tokens import to_columns


class Window(Protocol):
    """A window of a prepared store: what was heard, in features [Tx, F] or codes [K, Tx], and what was played [K, T]."""

    @property
    def x_features(self) -> NDArray[np.uint8] | None: ...

    @property
    def x_codes(self) -> NDArray[np.int16] | None: ...

    @property
    def y(self) -> NDArray[np.int16]: ...

    @property
    def instrument(self) -> int: ...


def horizons(frames: int, t_f: int, k: int, phase: int, available: int) -> NDArray[Any]:
    """Horizon of each column when calls fall at ..., -phase, k - phase, 2 k - phase, ...; the first begins at 0."""
    column = np.arange(frames)
    call = np.maximum((column + phase) // k * k - phase, 0)
    return np.minimum(call + t_f, available)


def window_inputs(windows: Sequence[Window], pad: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [B, Tx, F], codes [B, K, T], instrument [B], and the column before each position [B, K, T]."""
    if windows[0].x_features is not None:
        x = torch.from_numpy(np.stack([w.x_features for w in windows if w.x_features is not None]))
    else:
        x = heard_codes(windows).transpose(1, 2)
    codes = played_codes(windows)
    columns = to_columns(codes, pad, codes.shape[2])
    previous = torch.cat([torch.full_like(columns[:, :, :1], pad), columns[:, :, :-1]], dim=2)
    return x, codes, instruments(windows), previous


def heard_codes(windows: Sequence[Window]) -> Tensor:
    """x as codes [B, K, Tx]; ValueError when the store holds none."""
    codes = [window.x_codes for window in windows if window.x_codes is not None]
    if len(codes) < len(windows):
        raise ValueError(
            "this model hears codes, and the store holds none of its mixtures: prepare it again with --hear codes"
        )
    return torch.from_numpy(np.stack(codes)).long()


def played_codes(windows: Sequence[Window]) -> Tensor:
    """y [B, K, T]."""
    return torch.from_numpy(np.stack([window.y for window in windows])).long()


def instruments(windows: Sequence[Window]) -> Tensor:
    """[B]."""
    return torch.tensor([window.instrument for window in windows])


def cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Negative log likelihood in nats per level, logits [B, T, K, V] of columns, codes [B, K, T] of frames -> [B, K].

    Level l of column s is judged against frame s - l; cells without a frame do not count.
    """
    levels, frames = codes.shape[1:]
    rows = []
    for level in range(levels):
        scores = logits[:, level:, level].float().flatten(0, 1)  # codes last and in one piece: the quick way
        wanted = codes[:, level, : frames - level].flatten()
        rows.append(F.cross_entropy(scores, wanted, reduction="none").unflatten(0, (len(codes), -1)).mean(1))
    return torch.stack(rows, dim=1)


def cell_nats(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of nats and count of the cells that carry loss, per level [K] each; logits [B, N, K, V], wanted [B, N, K]."""
    flat = F.cross_entropy(
        logits.float().flatten(0, 2), wanted.flatten(), reduction="none", ignore_index=-100
    )
    levels = wanted.shape[-1]
    return flat.view(-1, levels).sum(0), (wanted != -100).flatten(0, 1).sum(0)
