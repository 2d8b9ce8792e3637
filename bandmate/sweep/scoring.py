"""Folders of generated clips to one row each, beside anchors that are heard once and kept."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.evaluate.features import MakeListener
from bandmate.evaluate.folders import Material, from_generate
from bandmate.evaluate.networks import Listener
from bandmate.evaluate.scores import METRICS
from bandmate.evaluate.systems import GROUPS, Options, Scored, listen, members
from bandmate.evaluate.table import FAD_DRAWS, NORMALISED, Row, frechet, table

MEASURED = (*METRICS, *NORMALISED.values(), "fad")  # what a row tells, each with its interval
HALVES = {"first half": "first_half", "second half": "second_half"}
BY_PART = ("coherence_both", "nc_both", "beat_f1", "nb")
BY_GROUP = (*BY_PART, "coherence_harmonic", "nc_harmonic", "coherence_percussive", "nc_percussive")


@dataclass(frozen=True)
class ScoreConfig:
    """make_listener: the networks, as :class:`bandmate.evaluate.networks.Choice`. cache: what was heard, on disk.

    groups: also per instrument group. fad_draws: of the bootstrap of the Fréchet distance.
    """

    make_listener: MakeListener
    cache: Path | None = None
    groups: bool = True
    fad_draws: int = FAD_DRAWS
    seed: int = 0


@dataclass(frozen=True)
class Heard:
    """Every clip's numbers of anchors and one system."""

    material: Material
    scored: Scored

    @property
    def rows(self) -> dict[str, list[Row]]:
        """By part of the clip."""
        return self.scored.rows

    @property
    def songs(self) -> list[str]:
        return [clip.song for clip in self.material.clips]


@functools.lru_cache(maxsize=1)
def networks(make_listener: MakeListener) -> Listener:
    """Loaded once per process."""
    return make_listener()


def about_networks(config: ScoreConfig) -> dict[str, dict[str, str]]:
    """Measure -> name and version of the network that gives it, as it is loaded here."""
    return {measure: network.about() for measure, network in networks(config.make_listener)._asdict().items()}


def hear(name: str, folders: Sequence[Path], config: ScoreConfig) -> Heard:
    """Listens to the clips of one system, a folder per seed; what the cache holds is not heard again."""
    material = from_generate({name: tuple(folders)})
    listener = networks(config.make_listener)
    return Heard(material, listen(material, listener, config.make_listener, Options(cache=config.cache)))


def system_row(name: str, folders: Sequence[Path], config: ScoreConfig) -> dict[str, Any]:
    """All metrics of one system with intervals over songs, NC and NB; halves of the clip, instrument groups."""
    heard = hear(name, folders, config)
    everything = np.arange(len(heard.material.clips))
    row = of_system(heard, "whole", everything, config)
    truth, played = heard.rows["whole"][0], heard.rows["whole"][-1]
    row["fad"] = frechet(played, truth, heard.songs, False, config.fad_draws, config.seed)
    for part, key in HALVES.items():
        told = of_system(heard, part, everything, config)
        row[key] = {metric: told.get(metric) for metric in BY_PART}
    row["groups"] = groups(heard, config) if config.groups else {}
    return row | {
        "songs": len(set(heard.songs)),
        "seconds_per_clip": heard.scored.seconds,
        "networks": about_networks(config),
        "notes": list(heard.scored.notes),
    }


def of_system(heard: Heard, part: str, chosen: Any, config: ScoreConfig) -> dict[str, Any]:
    """The system's line of the table of these clips."""
    kept = {"ground truth", "random pairing", heard.material.systems[0].name}
    rows = [row for row in heard.rows[part] if row.name in kept]
    return table(rows, heard.songs, chosen, False, None, config.seed)[-1]


def groups(heard: Heard, config: ScoreConfig) -> dict[str, Any]:
    """Instrument group -> its numbers and how many clips it has."""
    result = {}
    for name in GROUPS:
        chosen = members(heard.material.clips, name)
        if len(chosen):
            told = of_system(heard, "whole", chosen, config)
            result[name] = {"clips": len(chosen)} | {metric: told.get(metric) for metric in BY_GROUP}
    return result


def anchor_rows(folder: Path, config: ScoreConfig) -> list[dict[str, Any]]:
    """Ground truth, the same through the codec, random pairing, silence: as the clips of any folder have them."""
    heard = hear("system", [folder], config)
    rows = [row for row in heard.rows["whole"] if row.kind == "anchor"]
    told = table(rows, heard.songs, np.arange(len(heard.songs)), False, config.fad_draws, config.seed)
    common = {
        "kind": "anchor",
        "songs": len(set(heard.songs)),
        "seconds_per_clip": heard.scored.seconds,
        "networks": about_networks(config),
    }
    return [row | common for row in told]
