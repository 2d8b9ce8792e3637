"""How large a store or a folder of tracks will be, and whether the disk has room for it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from bandmate.data.bits import row_bytes
from bandmate.data.layout import StoreConfig

ENTRY = 600  # bytes of a track's index entry, about
RECORD = 1000  # bytes of the JSON and the header of a track of stems, about
PCM = 2 * 32_000  # bytes per second of a stem
MARGIN = 1.05  # an estimate from headers may be a little short


@dataclass(frozen=True)
class Extent:
    """How much there is to prepare: tracks, their mean length and mean number of stems."""

    tracks: int
    seconds: float
    stems: float


def expected_bytes(extent: Extent, config: StoreConfig, levels: int, features: int) -> int:
    """Bytes of the store that `extent` will fill; `features` is F, 0 without. A track of N stems has 2^N - 2 submixes."""
    submixes = min(config.submixes, 2 ** min(extent.stems, 16) - 2)
    codes = extent.stems + (submixes if config.submix_codes else 0)
    frame = codes * row_bytes(levels, config.bits) + (extent.stems + submixes) / 8 + submixes * features
    return round(extent.tracks * (extent.seconds * config.frame_rate * frame + ENTRY))


def expected_track_bytes(extent: Extent) -> int:
    """Bytes of the folder of tracks that `extent` will fill: 16 bits, 32 kHz."""
    return round(extent.tracks * (extent.seconds * extent.stems * PCM + RECORD))


def check_space(path: Path, needed: int) -> None:
    """OSError when the disk of `path`, which may not be there yet, has no room for so many bytes."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < MARGIN * needed:
        raise OSError(
            f"{path} will take about {size(needed)}, but its disk has {size(free)} free: make room or choose another --out"
        )


def size(count: float) -> str:
    """Bytes for people: 4.7 GB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
