"""The last safeguard of every output: finite, and never above full scale."""

import numpy as np

KNEE = 0.98


def limit(samples: np.ndarray) -> np.ndarray:
    """Samples within ±1: NaN becomes 0; below ±0.98 nothing changes, above it the level bends smoothly
    towards 1.
    """
    magnitude = np.abs(samples)
    if not np.any(~(magnitude <= KNEE)):  # NaN compares false
        return samples
    finite = np.clip(np.nan_to_num(samples, nan=0.0), -2.0, 2.0)
    magnitude = np.abs(finite)
    bent = KNEE + (1 - KNEE) * np.tanh((magnitude - KNEE) / (1 - KNEE))
    return np.where(magnitude <= KNEE, finite, np.sign(finite) * bent).astype(samples.dtype)


def clean(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """float32 samples with NaN and infinities replaced by 0, and how many those were."""
    samples = np.asarray(samples, dtype=np.float32)
    bad = ~np.isfinite(samples)
    count = int(bad.sum())
    return (np.where(bad, np.float32(0), samples), count) if count else (samples, 0)
