"""A track is a set of aligned stems; its mix is their sum, always."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.instruments import INSTRUMENTS


@dataclass(frozen=True)
class Stem:
    """One instrument of a track: mono float32 audio [S] in [-1, 1] and its class id."""

    audio: NDArray[np.float32]
    instrument: int
    name: str = ""

    def __post_init__(self) -> None:
        if self.audio.ndim != 1:
            raise ValueError(f"a stem is mono audio of shape [S], not {self.audio.shape}")
        if not 0 <= self.instrument < len(INSTRUMENTS):
            raise ValueError(f"a stem's class id is 0 to {len(INSTRUMENTS) - 1}, not {self.instrument}")


@dataclass(frozen=True)
class Track:
    """Aligned stems of one piece. `song` names the piece, `cluster` the set of its near duplicates.

    `meta` is plain data (what JSON holds): beats in seconds, tempo and how the track was made.
    """

    id: str
    song: str
    cluster: str
    split: str
    stems: tuple[Stem, ...]
    sample_rate: int = 32000
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stems:
            raise ValueError(f"track {self.id!r} has no stems")
        lengths = {stem.audio.shape[0] for stem in self.stems}
        if len(lengths) > 1:
            raise ValueError(f"the stems of track {self.id!r} differ in length: {sorted(lengths)} samples")

    @property
    def samples(self) -> int:
        return int(self.stems[0].audio.shape[0])

    @property
    def instruments(self) -> tuple[int, ...]:
        return tuple(stem.instrument for stem in self.stems)

    @property
    def audio(self) -> NDArray[np.float32]:
        """The stems as one array [stems, S]."""
        return np.stack([stem.audio for stem in self.stems])

    @property
    def mix(self) -> NDArray[np.float32]:
        """The sum of all stems [S]."""
        return self.submix(tuple(range(len(self.stems))))

    def submix(self, members: tuple[int, ...]) -> NDArray[np.float32]:
        """The sum of the named stems [S]; zeros for none."""
        total = np.zeros(self.samples, dtype=np.float32)
        for index in members:
            total += self.stems[index].audio
        return total


@dataclass(frozen=True)
class LazyTrack:
    """A track that is read when it is wanted: its id is known beforehand, so finished work can be skipped."""

    id: str
    load: Callable[[], Track]
