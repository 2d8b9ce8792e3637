"""Layout of the prepared store.

A store is a folder: `store.json` says what holds for all tracks, `codebook.safetensors` what the codes stand for;
each track has `<id>.bin` (arrays, to be memory-mapped) and `<id>.json` (its index entry). The entry is written last
and in one step, so a track is there completely or not at all. `left_out.jsonl` tells what could not be read.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.data.bits import row_bytes, unpack_codes

FORMAT = 1
FRAME_RATE = 50
SETTINGS, CODEBOOK, LEFT_OUT = "store.json", "codebook.safetensors", "left_out.jsonl"


@dataclass(frozen=True)
class StoreConfig:
    """What holds for a whole store. `source` names what made the codes and features, such as a hash.

    `seconds` is how much of each track was taken, from its beginning; None: all of it.
    """

    codes: int = 1024
    submixes: int = 6
    submix_codes: bool = False
    features: bool = True
    seed: int = 0
    source: str = ""
    frame_rate: int = FRAME_RATE
    seconds: float | None = None

    @property
    def bits(self) -> int:
        """Bits per code: ceil(log2 V)."""
        return max(1, (self.codes - 1).bit_length())


@dataclass(frozen=True)
class Entry:
    """One track of a store. `submixes` lists the stems of each; `features` is F, 0 without features.

    `left_out` tells which stems of the track could not be read, and why.
    """

    id: str
    song: str
    cluster: str
    split: str
    instruments: tuple[int, ...]
    submixes: tuple[tuple[int, ...], ...]
    frames: int
    levels: int
    features: int
    beats: tuple[float, ...]
    bytes: int
    crc32: int
    left_out: tuple[str, ...] = ()


def read_settings(path: Path) -> StoreConfig:
    """The settings of the store at `path`; FileNotFoundError without one, ValueError for one of another format."""
    file = path / SETTINGS
    if not file.is_file():
        raise FileNotFoundError(f"no prepared store at {path}; make one with `bandmate prepare`")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        found = settings.pop("format", None)
        if found == FORMAT:
            return StoreConfig(**settings)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete the store and prepare it again") from None
    raise ValueError(
        f"{path} is a store of another format ({found}; this version reads {FORMAT}): prepare it again elsewhere"
    )


def read_entry(file: Path) -> Entry:
    """An index entry; ValueError when it or the file it describes is damaged or cut short."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        record["submixes"] = tuple(tuple(members) for members in record["submixes"])
        record |= {key: tuple(record[key]) for key in ("instruments", "beats")}
        record["left_out"] = tuple(record.get("left_out", ()))
        entry = Entry(**record)
        size = file.with_suffix(".bin").stat().st_size
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); prepare the store again, finished tracks are kept"
        ) from None
    if size != entry.bytes:
        raise ValueError(
            f"{file.with_suffix('.bin')} is cut short; prepare the store again, finished tracks are kept"
        )
    return entry


class TrackArrays:
    """Views into the bytes of one track; spans are half-open frame ranges."""

    def __init__(self, data: NDArray[np.uint8], entry: Entry, config: StoreConfig) -> None:
        stems, mixtures, frames = len(entry.instruments), len(entry.submixes), entry.frames
        row, short = row_bytes(entry.levels, config.bits), -(-frames // 8)
        self.entry, self.bits = entry, config.bits
        shapes = {"active": (stems, short), "heard": (mixtures, short), "stems": (stems, frames, row)}
        if config.submix_codes:
            shapes["codes"] = (mixtures, frames, row)
        if config.features:
            shapes["features"] = (mixtures, frames, entry.features)
        self._views: dict[str, NDArray[np.uint8]] = {}
        at = 0
        for name, shape in shapes.items():
            stop = at + int(np.prod(shape))
            self._views[name] = data[at:stop].reshape(shape)
            at = stop

    def _bits(self, name: str, index: int) -> NDArray[np.bool_]:
        return np.unpackbits(self._views[name][index], count=self.entry.frames).view(np.bool_)

    def active(self, stem: int) -> NDArray[np.bool_]:
        """Activity [T] of a stem."""
        return self._bits("active", stem)

    def heard(self, submix: int) -> NDArray[np.bool_]:
        """Activity [T] of a submix."""
        return self._bits("heard", submix)

    def stem_codes(self, stem: int, first: int, stop: int) -> NDArray[np.int16]:
        """Codes [K, stop - first] of a stem."""
        return unpack_codes(np.asarray(self._views["stems"][stem, first:stop]), self.entry.levels, self.bits)

    def submix_codes(self, submix: int, first: int, stop: int) -> NDArray[np.int16]:
        """Codes [K, stop - first] of a submix."""
        return unpack_codes(
            np.asarray(self._views["codes"][submix, first:stop]), self.entry.levels, self.bits
        )

    def features(self, submix: int, first: int, stop: int) -> NDArray[np.uint8]:
        """Features [stop - first, F] of a submix, a copy."""
        return np.array(self._views["features"][submix, first:stop])
