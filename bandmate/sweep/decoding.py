"""How to draw codes: guidance, temperature and top-k searched one after the other on validation, for each t_f.

The objective of a setting is the mean of where it stands between random pairing (0) and the ground truth (1) in four
measures of the same clips: coherence (both), beat F1, chroma cosine and onset F1 with the input. A measure in which
truth and random pairing are not apart is left out for all settings alike. A setting whose Fréchet distance is more than
FAD_ROOM times that of the reference, or that is silent more often by SILENCE_ROOM, is not taken, however well it
scores: what is drawn too narrowly scores well and sounds poor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.checkpoint import Bundle
from bandmate.evaluate.scores import METRICS
from bandmate.evaluate.table import Row as Scored
from bandmate.evaluate.table import fad, mean_over_songs, normalised, over_seeds
from bandmate.spec import StreamSpec
from bandmate.sweep.generation import GenerationConfig, Memory, fingerprint, generate_folder
from bandmate.sweep.grid import Point, frames_after
from bandmate.sweep.material import PlacesConfig
from bandmate.sweep.row_store import Row, RowStore
from bandmate.sweep.scoring import ScoreConfig, about_networks, hear
from bandmate.sweep.tables import number, plain, seconds, table

OBJECTIVE = ("coherence_both", "beat_f1", "chroma", "onset_f1")
KEPT = (*OBJECTIVE, *(f"normalised_{metric}" for metric in OBJECTIVE))  # told with intervals
FAD_ROOM, SILENCE_ROOM = 1.25, 0.05
DEFAULT_T_F = -0.4  # seconds: the setting for this one is what a bundle stores

Tell = Callable[[int, int], None]
MEMORY = Memory()


@dataclass(frozen=True)
class Setting:
    """How codes are drawn.

    guidance: of level 1; plausible: among how many codes it chooses, 0 is all; share: how much of it the finer levels
    have, 0 is none. first, finer: the temperatures of level 1 and of the others.
    """

    guidance: float = 1.0
    plausible: int = 0
    share: float = 1.0
    first: float = 1.0
    finer: float = 1.0
    top_k: int = 200

    def sampling(self, levels: int) -> dict[str, Any]:
        """As a bundle's card has it."""
        temperature = [self.first, *[self.finer] * (levels - 1)]
        rest = 1 + self.share * (self.guidance - 1)
        guidance = self.guidance if rest == self.guidance else [self.guidance, *[rest] * (levels - 1)]
        drawn = {"temperature": temperature, "top_k": self.top_k, "guidance": guidance}
        return drawn | {"plausible": self.plausible} if self.plausible else drawn

    def but(self, field: str, value: Any) -> "Setting":
        """With another value of one field. Without guidance there is nothing to choose, nor to have a share of."""
        other = replace(self, **{field: value})
        return replace(other, share=1.0, plausible=0) if other.guidance == 1 else other

    @property
    def name(self) -> str:
        among = f"_p{self.plausible}" if self.plausible else ""
        return f"g{self.guidance:g}{among}_s{self.share:g}_t{self.first:g}-{self.finer:g}_top{self.top_k}"


SEARCHED = tuple(field.name for field in fields(Setting))  # in this order
REFERENCE = Setting()  # the paper's A.5


@dataclass(frozen=True)
class DecodingConfig:
    """The values that are tried of each field, in this order, ``rounds`` times round."""

    scoring: ScoreConfig
    t_f: tuple[float, ...] = (-1.0, -0.4, 0.0, 1.0)
    k: float = 0.1
    guidance: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    plausible: tuple[int, ...] = (10, 30, 0)
    share: tuple[float, ...] = (0.5, 1.0)
    first: tuple[float, ...] = (0.7, 0.85, 1.0)
    finer: tuple[float, ...] = (0.8, 0.9, 1.0)
    top_k: tuple[int, ...] = (50, 100, 200)
    rounds: int = 1
    places: PlacesConfig = PlacesConfig(split="valid")
    clips: int = 64
    batch: int = 32
    device: str = "cpu"


@dataclass(frozen=True)
class Search:
    """A bundle to be tried on clips in ``out``."""

    bundle: Bundle
    rendered: Path
    out: Path
    config: DecodingConfig

    def run(self, tell: Tell = lambda done, of: None) -> list[Row]:
        """Rows of every setting that was tried, by t_f; those on disk are not tried again."""
        c = self.config
        store = RowStore(self.out, self.settings(), "name", KEPT)
        tried: list[Row] = []
        for t_f in c.t_f:
            best, reference = REFERENCE, self.score(REFERENCE, t_f, store, None)
            tried.append(reference)
            scores = {REFERENCE: reference}
            for field in SEARCHED * c.rounds:
                for setting in self.around(best, field):
                    if setting not in scores:
                        scores[setting] = self.score(setting, t_f, store, reference)
                        tried.append(scores[setting])
                        tell(len(tried), len(c.t_f) * self.most)
                best = max(scores, key=lambda each: value_of(scores[each]))
        return tried

    def around(self, best: Setting, field: str) -> list[Setting]:
        """The settings that differ from the best so far in one field; the first guidance has the first ``plausible``."""
        c = self.config
        begin = best if best.guidance != 1 else replace(best, plausible=c.plausible[0])
        return [begin.but(field, value) for value in getattr(c, field)]

    @property
    def most(self) -> int:
        """Settings per t_f at most."""
        c = self.config
        return 1 + c.rounds * sum(len(getattr(c, field)) for field in SEARCHED)

    def settings(self) -> dict[str, Any]:
        c = self.config
        about = {"model": self.bundle.name, "weights": fingerprint(self.bundle.codec, self.bundle.model)}
        return about | {
            "k": c.k,
            "clips": c.clips,
            "device": c.device.partition(":")[0],
            "networks": about_networks(c.scoring),
            "rendered": str(self.rendered),
            "places": asdict(self.places),
        }

    @property
    def places(self) -> PlacesConfig:
        """With inputs that go on long enough for the freshest t_f."""
        c = self.config
        points = [Point(StreamSpec.from_seconds(t_f, c.k)) for t_f in c.t_f]
        return replace(c.places, post=max(c.places.post, frames_after(points, c.places.frames)))

    def score(self, setting: Setting, t_f: float, store: RowStore, reference: Row | None) -> Row:
        """Generates and measures, or reads what was measured before."""
        name = f"tf{t_f:+g}_{setting.name}"
        if name not in store:
            folder = self.generate(setting, t_f, self.out / "clips" / name)
            heard = hear(name, [folder], self.config.scoring)
            row = {"name": name, "t_f": t_f, "k": self.config.k} | asdict(setting)
            store.add(row | measured(heard.rows["whole"], heard.songs, reference))
        return store.rows[name]

    def generate(self, setting: Setting, t_f: float, folder: Path) -> Path:
        c = self.config
        base = self.out / "clips" / f"tf{c.t_f[0]:+g}_{REFERENCE.name}"
        spec = StreamSpec.from_seconds(t_f, c.k)
        like = None if folder == base else base
        config = GenerationConfig(self.places, c.clips, spec, 0, c.batch, c.device, like=like)
        card = self.bundle.card | {"sampling": setting.sampling(self.bundle.codec.levels)}
        generate_folder(replace(self.bundle, card=card), self.rendered, folder, config, memory=MEMORY)
        return folder


def measured(rows: Sequence[Scored], songs: Sequence[str], reference: Row | None) -> Row:
    """The objective, what it is made of, and whether the setting may be taken."""
    by_name = {row.name: row for row in rows}
    played, truth, random = rows[-1], by_name["ground truth"], by_name.get("random pairing")
    values = over_seeds(played.values)
    told: Row = {}
    parts: dict[str, float] = {}
    for metric in OBJECTIVE:
        column = METRICS.index(metric)
        told[metric] = {"mean": mean_over_songs(values[:, column], songs)}
        if random is not None:
            zero, one = (over_seeds(side.values)[:, column] for side in (random, truth))
            share = normalised(values[:, column], zero, one, songs)
            told[f"normalised_{metric}"] = share
            if share is not None:
                parts[metric] = share["mean"]
    distance = fad(truth.embeddings[0][0], played.embeddings[0][0])
    silent = mean_over_songs(values[:, METRICS.index("silent")], songs)
    taken = reference is None or (
        distance <= FAD_ROOM * reference["fad"] and silent <= reference["silent_share"] + SILENCE_ROOM
    )
    objective = float(np.mean(list(parts.values()))) if parts else None
    return told | {
        "objective": objective,
        "of": sorted(parts),
        "fad": distance,
        "silent_share": silent,
        "may_be_taken": taken,
    }


def value_of(row: Mapping[str, Any]) -> float:
    """What is searched for; a setting that may not be taken, or that has no objective, never wins."""
    return float(row["objective"]) if row["may_be_taken"] and row["objective"] is not None else -np.inf


def best_by_t_f(rows: Sequence[Row]) -> dict[float, Row]:
    """t_f -> the row that won; the reference where nothing has an objective."""
    result: dict[float, Row] = {}
    for row in rows:
        kept = result.get(row["t_f"])
        if kept is None or value_of(row) > value_of(kept):
            result[row["t_f"]] = row
    return result


def to_store(rows: Sequence[Row], levels: int) -> dict[str, Any]:
    """What goes into a bundle's config.yaml: the setting of the t_f nearest to -0.4 s, and under by_t_f that of each."""
    best = {t_f: setting_of(row) for t_f, row in sorted(best_by_t_f(rows).items())}
    nearest = best[min(best, key=lambda t_f: abs(t_f - DEFAULT_T_F))]
    by_t_f = {t_f: setting.sampling(levels) for t_f, setting in best.items()}
    common = set.intersection(*map(set, by_t_f.values()))  # what one of them leaves out must not be inherited
    everywhere = {name: value for name, value in nearest.sampling(levels).items() if name in common}
    return {"sampling": everywhere | {"by_t_f": by_t_f}}


def setting_of(row: Mapping[str, Any]) -> Setting:
    return Setting(**{field: row[field] for field in SEARCHED})


def markdown(rows: Sequence[Row]) -> str:
    """Every setting by t_f; the reference first, the winner marked."""
    best = {row["name"] for row in best_by_t_f(rows).values()}
    head = ["", "t_f (s)", "guidance", "plausible", "share", "T level 1", "T finer", "top-k"]
    head += ["objective", "NC", "NB", "chroma", "onsets", "Fréchet distance", "silent share"]
    lines = [head]
    for row in rows:
        mark = "reference" if setting_of(row) == REFERENCE else ""
        mark = "best" if row["name"] in best else mark if row["may_be_taken"] else "not taken"
        shares = [
            plain(share, 2) if (share := row.get(f"normalised_{metric}")) else "–" for metric in OBJECTIVE
        ]
        drawn = [f"{row[field]:g}" for field in SEARCHED]
        sound = [number(row["fad"], 2), number(row["silent_share"], 3)]
        lines.append([mark, seconds(row["t_f"]), *drawn, number(row["objective"], 3), *shares, *sound])
    used = sorted({metric for row in rows for metric in row["of"]})
    what = ", ".join(used) or "nothing that could be told"
    text = f"Objective: mean of {what}, each 0 at random pairing and 1 at the ground truth."
    return f"{text}\n\n{table(lines)}\n"
