"""Systems side by side with all anchors: everything is heard once, then scored, then put into tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.evaluate.beat import FEWEST_BEATS
from bandmate.evaluate.features import RATE, Heard, Job, MakeListener, Record, all_jobs, hear_all
from bandmate.evaluate.folders import CODEC, Clip, Material, lengths, named
from bandmate.evaluate.networks import Listener
from bandmate.evaluate.scores import PARTS, Played, chunk_scores, embeddings, floors, take_scores
from bandmate.evaluate.table import FAD_DRAWS, Row, table

ANCHORS = {"target": "ground truth", CODEC: "ground truth, codec", "random": "random pairing"}
ANCHOR_NAMES = (*ANCHORS.values(), "silence")
UNTUNED = "Percussive"  # drums: no pitch class
GROUPS = {
    "drums": ("Percussive",),
    "bass": ("Bass",),
    "keys": ("Piano", "Chromatic Percussion", "Organ"),
    "guitar": ("Guitar",),
    "strings": ("Strings", "Ensemble"),
    "winds": ("Brass", "Reed", "Pipe"),
    "synth": ("Synth Lead", "Synth Pad", "Synth Effects"),
    "other": ("Ethnic", "Sound Effects", "Vocal", "Unknown"),
}
LISTENING_SHARE = 0.95  # of the progress; the rest is scoring

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Options:
    """What ``bandmate evaluate systems`` takes besides the folders and the networks."""

    groups: bool = False
    fad_infinity: bool = False
    trim: bool = False
    cache: Path | None = None
    workers: int = 1
    seed: int = 0
    fad_draws: int = FAD_DRAWS


@dataclass(frozen=True)
class Scored:
    """Part of the clip -> anchors and systems with every clip's numbers; seconds of a clip; what is to be said of them."""

    rows: dict[str, list[Row]]
    seconds: float
    notes: tuple[str, ...]


def measure(
    material: Material, make_listener: MakeListener, options: Options, tell: Tell | None = None
) -> dict[str, Any]:
    """The report: which network gave which number, notes on what could not be told, and the tables.

    Raises ValueError for clips that cannot be compared; it names and counts them.
    """
    listener = make_listener()
    scored = listen(material, listener, make_listener, options, tell)
    tables = all_tables(scored.rows, material.clips, options)
    if tell:
        tell(1.0)
    return {
        "networks": dict(
            zip(("coherence", "beats", "embedding"), (each.about() for each in listener), strict=True)
        ),
        "clips": len(material.clips),
        "songs": len({clip.song for clip in material.clips}),
        "seconds_per_clip": scored.seconds,
        "notes": list(scored.notes),
        "tables": tables,
    }


def listen(
    material: Material,
    listener: Listener,
    make_listener: MakeListener,
    options: Options,
    tell: Tell | None = None,
) -> Scored:
    """Hears every file once, and gives every clip its numbers. ``make_listener``: for the processes of several workers."""
    samples, notes = lengths(material, options.trim)
    refuse_short(samples, listener)
    files = [*material.shared.values(), *(take for system in material.systems for take in system.takes)]
    share = partial(_scaled, tell) if tell else None
    make = make_listener if options.workers > 1 else lambda: listener
    heard = hear_all(all_jobs(files, samples), make, options.workers, options.cache, share)
    played, more = rows_played(material, samples, heard)
    mixes = records(material.shared["input"], material, samples, heard)
    refuse_broken(material, mixes, played)
    rows = score(material.clips, mixes, played, listener)
    seconds = round(float(np.mean(list(samples.values()))) / RATE, 3)
    return Scored(rows, seconds, (*material.notes, *notes, *more, *remarks(material, mixes, played)))


def _scaled(tell: Tell, share: float) -> None:
    tell(share * LISTENING_SHARE)


def records(
    files: Mapping[str, Path], material: Material, samples: Mapping[str, int], heard: Heard
) -> tuple[Record, ...]:
    return tuple(heard(Job(files[clip.id], samples[clip.id])) for clip in material.clips)


def rows_played(
    material: Material, samples: Mapping[str, int], heard: Heard
) -> tuple[list[Played], list[str]]:
    """Anchors and systems in the order of the table, and notes."""
    rows, notes = [], []
    codecs = [role for role in material.shared if role.startswith(CODEC)]
    for role in ("target", *codecs, "random"):
        name = ANCHORS.get(role) or role.replace(CODEC, ANCHORS[CODEC])
        if role in material.shared:
            take = records(material.shared[role], material, samples, heard)
            rows.append(Played(name, "anchor", (take,), {}))
        elif role == "random":
            take = records(material.shared["target"], material, samples, heard)
            others = other_songs([clip.song for clip in material.clips], list(samples.values()))
            if others is None:
                notes.append(
                    "No random pairing, as not every clip has another song's target of its length: no NC, no NB, and "
                    "where nothing is played coherence is what the lowest true stems have."
                )
            else:
                rows.append(Played(name, "anchor", (tuple(take[each] for each in others),), {}))
    silence = tuple(heard(Job(None, samples[clip.id])) for clip in material.clips)
    rows.append(Played("silence", "anchor", (silence,), {}))
    for system in sorted(material.systems, key=lambda each: each.kind == "system"):
        takes = tuple(records(take, material, samples, heard) for take in system.takes)
        rows.append(Played(system.name, system.kind, takes, system.about))
    return rows, notes


def other_songs(songs: Sequence[str], samples: Sequence[int]) -> list[int] | None:
    """For each clip one of another song, the next in a circle, of the same length; None if one has no other."""
    count = len(songs)
    others = []
    for index in range(count):
        circle = ((index + step) % count for step in range(1, count))
        found = next((i for i in circle if songs[i] != songs[index] and samples[i] == samples[index]), None)
        if found is None:
            return None
        others.append(found)
    return others


def refuse_short(samples: Mapping[str, int], listener: Listener) -> None:
    """ValueError for clips that are too short to be embedded; ``samples`` of each at 32 kHz."""
    network = listener.embedding
    short = [clip for clip, count in samples.items() if count < network.least * RATE]
    if short:
        raise ValueError(
            f"{network.name} needs {network.least:g} s, and {len(short)} of {len(samples)} clips are shorter: "
            f"{named(short)}; give longer clips, or another network by --embedding"
        )


def refuse_broken(material: Material, mixes: Sequence[Record], played: Sequence[Played]) -> None:
    """ValueError when inputs or true stems hold NaN: everything would be measured against nonsense."""
    sides = {"input": mixes, "target": next(row for row in played if row.name == "ground truth").takes[0]}
    for role, side in sides.items():
        broken = [clip.id for clip, record in zip(material.clips, side) if record["sound.bad"] > 0]
        if broken:
            raise ValueError(
                f"the {role} of {len(broken)} of {len(material.clips)} clips holds NaN or infinite samples: "
                f"{named(broken)}; make these files anew"
            )


def score(
    clips: Sequence[Clip], mixes: Sequence[Record], played: Sequence[Played], listener: Listener
) -> dict[str, list[Row]]:
    """Part -> the rows with every clip's numbers."""
    network = listener.coherence.call
    by_row = [[chunk_scores(network, mixes, take) for take in row.takes] for row in played]
    anchor = next((i for i, row in enumerate(played) if row.name == "random pairing"), 0)
    floor = floors(by_row[anchor][0], mixes, played[anchor].takes[0])
    truth = next(row for row in played if row.name == "ground truth").takes[0]
    tuned = [clip.instrument != UNTUNED for clip in clips]
    span, step = listener.embedding.span, listener.embedding.step
    result: dict[str, list[Row]] = {}
    for part in PARTS:
        result[part] = []
        for row, scored in zip(played, by_row, strict=True):
            takes = [
                take_scores(mixes, truth, take, scores, floor, tuned, part)
                for take, scores in zip(row.takes, scored, strict=True)
            ]
            each = tuple(embeddings(take, span, step, part) for take in row.takes)
            result[part].append(Row(row.name, row.kind, np.array(takes), each, row.about))
    return result


def all_tables(
    rows: Mapping[str, Sequence[Row]], clips: Sequence[Clip], options: Options
) -> list[dict[str, Any]]:
    """All clips whole and by halves, then each instrument group that has clips."""
    songs, everything = [clip.song for clip in clips], np.arange(len(clips))
    tables = [(part, "all", everything) for part in PARTS]
    if options.groups:
        tables += [("whole", name, members(clips, name)) for name in GROUPS]
    return [
        {
            "part": part,
            "group": group,
            "clips": len(chosen),
            "songs": len({songs[index] for index in chosen}),
            "rows": table(
                rows[part],
                songs,
                chosen,
                options.fad_infinity,
                options.fad_draws if (part, group) == ("whole", "all") else 0,
                options.seed,
            ),
        }
        for part, group, chosen in tables
        if len(chosen)
    ]


def members(clips: Sequence[Clip], group: str) -> NDArray[np.intp]:
    return np.flatnonzero([clip.instrument in GROUPS[group] for clip in clips])


def remarks(material: Material, mixes: Sequence[Record], played: Sequence[Played]) -> list[str]:
    """What did not enter a mean, or is odd: each with its number of clips and their names."""
    clips, notes = [clip.id for clip in material.clips], []
    if len({clip.song for clip in material.clips}) < 2:
        notes.append(f"{len(clips)} clip{'s' * (len(clips) > 1)} of one song: there are no intervals.")
    beatless = [len(mix["beats.seconds"]) < FEWEST_BEATS for mix in mixes]
    quiet = [not bool(mix["coherence.sounding"].any()) for mix in mixes]
    notes += told(clips, beatless, "Inputs with fewer than two beats: they have no beat F1")
    notes += told(clips, quiet, "Inputs with no chunk that sounds: they have no coherence")
    for row in played:
        for seed, take in enumerate(row.takes) if row.name != "silence" else ():
            name = f"{row.name}, folder {seed + 1}" if len(row.takes) > 1 else row.name
            silent = [not bool(record["sound.active"].any()) for record in take]
            bad = [bool(record["sound.bad"] > 0) for record in take]
            notes += told(clips, silent, f"Silent clips of {name}")
            notes += told(clips, bad, f"NaN or infinite samples, read as 0, in {name}")
    return notes


def told(clips: Sequence[str], flags: Sequence[bool], what: str) -> list[str]:
    """One note, such as "what: 3 of 128: 00001, 00005, 00006.", or none."""
    chosen = [clip for clip, flag in zip(clips, flags, strict=True) if flag]
    return [f"{what}: {len(chosen)} of {len(clips)}: {named(chosen)}."] if chosen else []
