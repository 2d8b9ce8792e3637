"""Codes in as few bits as they need, frame by frame, so that any span of frames is one slice of bytes."""

import numpy as np
from numpy.typing import NDArray


def row_bytes(levels: int, bits: int) -> int:
    """Bytes of one frame of `levels` codes: 5 for 4 levels of 1024 codes."""
    return -(-levels * bits // 8)


def pack_codes(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """codes [..., K, T] in 0..2^bits-1 -> bytes [..., T, row_bytes]; most significant bit first."""
    rows = np.moveaxis(codes, -2, -1)[..., None].astype(np.int64)  # [..., T, K, 1]
    digits = (rows >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(*rows.shape[:-2], rows.shape[-2] * bits), axis=-1)


def unpack_codes(packed: NDArray[np.uint8], levels: int, bits: int) -> NDArray[np.int16]:
    """bytes [T, row_bytes] -> codes int16 [K, T]; the inverse of `pack_codes`."""
    digits = np.unpackbits(packed, axis=1, count=levels * bits).reshape(len(packed), levels, bits)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.float32)
    return np.ascontiguousarray((digits.astype(np.float32) @ weights).T).astype(np.int16)
