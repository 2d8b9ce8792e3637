"""Vocabulary and the delay pattern (MusicGen; Copet et al. 2023): column s holds level l of frame s - l."""

import torch
from torch import Tensor

SPECIAL = 2  # ids after the codes: PAD (no such cell) and MASK (a cell that is hidden or was never generated)
MISSING = -1  # in codes handed to the outside: a frame that was not generated


def pad_id(codes: int) -> int:
    """Id of a cell without a frame."""
    return codes


def mask_id(codes: int) -> int:
    """Id of a cell whose code is unknown."""
    return codes + 1


def to_columns(codes: Tensor, pad: int, length: int | None = None) -> Tensor:
    """codes [B, K, T] -> columns [B, K, length], by default T + K - 1 of them; cells without a frame are ``pad``."""
    batch, levels, frames = codes.shape
    total = frames + levels - 1
    columns = codes.new_full((batch, levels, total), pad)
    for level in range(levels):
        columns[:, level, level : level + frames] = codes[:, level]
    return columns[:, :, : total if length is None else length]


def from_columns(columns: Tensor) -> Tensor:
    """columns [B, K, S] -> the S - K + 1 frames they complete, [B, K, S - K + 1]."""
    _, levels, total = columns.shape
    frames = total - levels + 1
    return torch.stack([columns[:, level, level : level + frames] for level in range(levels)], dim=1)
