"""What a setting of duet's training is worth: arms that differ in it, judged on the same windows of unseen songs.

Two judgements, both in nats of the true stem at level 1: how well it is foretold with its own mixture heard, and how much
worse with another song's (what listening is worth). Each is taken twice, with the mixture as it is and through other
equipment (:mod:`bandmate.train.augment`). Arms are compared window by window with the first.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.data.tokens import Example, TokenStore
from bandmate.evaluate.intervals import bootstrap
from bandmate.model.duet import Duet
from bandmate.sweep import listening
from bandmate.sweep.tables import plain, seconds, signed, table
from bandmate.train.augment import AugmentConfig, augment

T_F, K = (-0.4, 0.0, 1.0), 0.1  # seconds
WAYS = ("as it is", "other equipment")
HEAVY = AugmentConfig(equaliser=1.0, room=0.5, noise=0.5, drive=0.5, bandwidth=0.5)


class OtherEquipment(TokenStore):
    """A store whose every input was played and recorded with other equipment, the same at every call."""

    def example(self, *args: Any, **kwargs: Any) -> Example:
        example = super().example(*args, **kwargs)
        if example.x_features is None:
            raise ValueError(f"{self.path} holds no spectra of mixtures: equipment has nothing to change")
        rng = np.random.default_rng([zlib.crc32(example.track.encode()), example.start])
        return dataclasses.replace(example, x_features=augment(example.x_features, rng, HEAVY))


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one arm: own and other [WAYS, t_f, N] nats at level 1; song, track and first frame [N] of each window, and
    how many frames it has.
    """

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    songs: NDArray[np.str_]
    tracks: NDArray[np.str_]
    starts: NDArray[np.int64]
    frames: int

    def save(self, file: Path) -> None:
        with open(temporary := file.with_suffix(".tmp"), "wb") as out:
            np.savez(out, **vars(self))
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Measured":
        """ValueError for a file of before windows were remembered."""
        with np.load(file) as arrays:
            if missing := {field.name for field in dataclasses.fields(cls)} - set(arrays.files):
                raise ValueError(
                    f"{file} does not hold {min(missing)}: delete it, and the arm is measured anew without training"
                )
            own, other, songs, tracks, starts = (
                arrays[name] for name in ("own", "other", "songs", "tracks", "starts")
            )
            return cls(own, other, songs, tracks, starts, int(arrays["frames"]))

    def same_windows(self, other: "Measured") -> bool:
        names = ("songs", "tracks", "starts", "frames")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


def draw(data: Path, split: str, frames: int, windows: int) -> list[Example]:
    """The ``windows`` windows of each song of a split that are scored, by other equipment; ValueError without any."""
    if windows < 1:
        raise ValueError(f"{windows} windows of each song are none to be judged by: give 1 or more")
    config = listening.ListeningConfig(T_F, (K,), windows, frames)
    return listening.draw_examples(OtherEquipment(data, split), config)[0]


def measure(model: Duet, data: Path, split: str, frames: int, windows: int, batch: int = 16) -> Measured:
    """Scores ``windows`` windows of each song of a split, heard from their first frame on."""
    config = listening.ListeningConfig(T_F, (K,), windows, frames, 0, batch)
    ways = [listening.measure(model, kind(data, split), config) for kind in (TokenStore, OtherEquipment)]
    own, other = (np.stack([getattr(way, name)[:, :, 0] for way in ways]) for name in ("own", "other"))
    return Measured(own, other, ways[0].songs, ways[0].tracks, ways[0].starts, frames)


def compared(arms: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows per (arm, way, t_f): nats and gap (other - own), and by how much each is above the first arm's."""
    first = next(iter(arms.values()))
    rows = []
    for arm, measured in arms.items():
        if not measured.same_windows(first):
            raise ValueError(f"the arm {arm!r} was measured on other windows than the first")
        for way, name in enumerate(WAYS):
            for index, t_f in enumerate(T_F):
                own, base = (each.own[way, index] for each in (measured, first))
                gap, base_gap = (each.other[way, index] - each.own[way, index] for each in (measured, first))
                means = {"nats": own, "gap": gap, "more_nats": own - base, "more_gap": gap - base_gap}
                told = {key: bootstrap(value, first.songs)._asdict() for key, value in means.items()}
                rows.append({"arm": arm, "way": name, "t_f": t_f} | told)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table per way: what each arm costs in nats, and what listening is worth to it, by t_f."""
    base, parts = rows[0]["arm"], []
    for way in WAYS:
        heads = [f"{what}, t_f {seconds(t_f)} s" for t_f in T_F for what in ("nats", "gap")]
        lines = [[f"input {way}", *heads]]
        for arm in dict.fromkeys(row["arm"] for row in rows):
            cells = [arm]
            for row in rows:
                if (row["arm"], row["way"]) == (arm, way):
                    told = [plain(row["nats"]), plain(row["gap"])]
                    cells += told if arm == base else [signed(row["more_nats"]), signed(row["more_gap"])]
            lines.append(cells)
        parts.append(table(lines))
    about = (
        f"Level 1, k = {K:g} s; gap: another song's input - own; first line as it is, the others against it; "
        f"{rows[0]['nats']['values']} windows of {rows[0]['nats']['songs']} songs, 95 % bootstrap intervals over songs."
    )
    return "\n\n".join([about, *parts]) + "\n"
