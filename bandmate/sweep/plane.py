"""A grid of (t_f, k) through generation and measurement: one row per point, as soon as it is there."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bandmate.checkpoint import load_bundle
from bandmate.spec import StreamSpec
from bandmate.sweep.generation import GenerationConfig, Memory, Precision, fingerprint, generate_folder
from bandmate.sweep.grid import Grid, Point, frames_after
from bandmate.sweep.material import PlacesConfig
from bandmate.sweep.row_store import Row, RowStore, settings_of
from bandmate.sweep.scoring import MEASURED, ScoreConfig, about_networks, anchor_rows, system_row
from bandmate.sweep.specialists import Specialists, digest
from bandmate.sweep.spread import Spread

Tell = Callable[[int, int], None]  # points done, points wanted
MEMORY = Memory()  # of this process


class Models(Protocol):
    """Which model plays at a point: one for all, or one of the point's own."""

    def model(self, point: Point) -> str: ...

    def own_model(self, point: Point) -> Path | None: ...


@dataclass(frozen=True)
class PlaneConfig:
    """``clips`` clips with ``seeds`` samplings each. discard: what a point played is deleted once it is measured."""

    scoring: ScoreConfig
    places: PlacesConfig = field(default_factory=PlacesConfig)
    clips: int = 256
    seeds: int = 3
    batch: int = 32
    device: str = "cpu"
    threads: int = 0
    discard: bool = False
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Sweep:
    """All that a piece of work needs to know; it travels to other processes and machines."""

    rendered: Path
    out: Path
    models: Models
    config: PlaneConfig
    base: Point  # its first seed's clips are what all others are like; a folder that was begun keeps its own

    def folder(self, point: Point, seed: int) -> Path:
        return self.out / "clips" / point.name / f"seed{seed}"


def run(sweep: Sweep, grid: Grid, spread: Spread, tell: Tell = lambda done, of: None) -> list[Row]:
    """Rows of all anchors and points in the order of the grid; those on disk are not made again.

    Raises ValueError when ``sweep.out`` holds rows of other settings, or of a point whose own model was another; what was
    finished stays.
    """
    sweep = replace(sweep, base=base_of(sweep.out) or sweep.base)
    wanted = settings(sweep)
    store = RowStore(sweep.out, wanted, "point", MEASURED)
    if not any(row["kind"] == "anchor" for row in store.rows.values()):
        for rows in spread(partial(first, sweep), [sweep.base]):
            store.add(*(alike(row, wanted) for row in rows))
    for point in grid:
        check_own_model(sweep, point, store.rows.get(point.name, {}))
    waiting = [point for point in grid if point.name not in store]
    tell(len(grid) - len(waiting), len(grid))
    for done, row in enumerate(spread(partial(measure, sweep), waiting), len(grid) - len(waiting) + 1):
        store.add(alike(row, wanted))
        tell(done, len(grid))
        discard(sweep, row["point"])
    anchors = [row for row in store.rows.values() if row["kind"] == "anchor"]
    return [*anchors, *(store.rows[point.name] for point in grid)]


def base_of(folder: Path) -> Point | None:
    """The point whose clips those of a folder that was begun are like."""
    place = (settings_of(folder) or {}).get("base")
    return Point(StreamSpec(*place)) if place else None


def alike(row: Row, wanted: dict[str, Any]) -> Row:
    """The row. ValueError if it was heard by other networks than those of the settings, as another machine may have."""
    if row["networks"] != wanted["networks"]:
        raise ValueError(
            f"a worker listened with {row['networks']}, not {wanted['networks']}: fetch the same weights"
        )
    return row


def check_own_model(sweep: Sweep, point: Point, row: Row) -> None:
    """ValueError if the point's own model is not the one that played what the row tells."""
    played, folder = row.get("digest"), sweep.models.own_model(point)
    if played and folder and (now := digest(folder)) not in ("", played):
        raise ValueError(
            f"{sweep.out} holds a row {point.name!r} that another model played than {folder} is now "
            f"({played}, {now}): give another --out"
        )


def settings(sweep: Sweep) -> dict[str, Any]:
    """What rows depend on, but for the grid: it may grow."""
    c = sweep.config
    own: dict[str, Any] = {"format": 1, "clips": c.clips, "seeds": c.seeds, "rendered": str(sweep.rendered)}
    own |= {f"clips_{name}": value for name, value in asdict(c.places).items()}
    assert sweep.base.spec is not None
    own |= {
        "base": [sweep.base.spec.t_f, sweep.base.spec.k],
        "device": c.device.partition(":")[0],
        "precision": c.precision,
        "networks": about_networks(c.scoring),
    }
    if isinstance(sweep.models, Specialists):
        training = sweep.models.training  # without it nothing is trained, whatever was before
        made = {"training": {f: str(value) for f, value in vars(training).items()}} if training else {}
        return own | {"model": str(sweep.models.folder), "weights": "one model per point"} | made
    bundle = load_bundle(sweep.models.model(sweep.base))
    about = {"model": bundle.name, "weights": fingerprint(bundle.codec, bundle.model)}
    return own | about | {"sampling": bundle.card["sampling"]}


def first(sweep: Sweep, point: Point) -> list[Row]:
    """The clips that all others are like, and the anchors' rows."""
    prepare_machine(sweep)
    folder = generate(sweep, point, 0)
    return [{"point": row["system"]} | row for row in anchor_rows(folder, sweep.config.scoring)]


def measure(sweep: Sweep, point: Point) -> Row:
    """A point's row: generated with every seed, listened to, measured."""
    prepare_machine(sweep)
    folders = [generate(sweep, point, seed) for seed in range(sweep.config.seeds)]
    row = system_row(point.name, folders, sweep.config.scoring)
    place: dict[str, float | None] = {"t_f": None, "k": None}
    if point.spec is not None:
        place = {"t_f": point.spec.t_f_seconds, "k": point.spec.k_seconds}
    own = sweep.models.own_model(point)
    return {"point": point.name} | row | {"kind": point.kind, "digest": digest(own) if own else ""} | place


def prepare_machine(sweep: Sweep) -> None:
    if sweep.config.threads:
        import torch

        torch.set_num_threads(sweep.config.threads)


def generate(sweep: Sweep, point: Point, seed: int) -> Path:
    """The folder of a point's clips of one seed, completed."""
    c, folder, base = sweep.config, sweep.folder(point, seed), sweep.folder(sweep.base, 0)
    config = GenerationConfig(
        c.places, c.clips, point.spec, seed, c.batch, c.device,
        null_input=point.kind == "unconditional", shuffle_input=point.kind == "shuffled",
        like=None if folder == base else base, precision=c.precision,
    )  # fmt: skip
    bundle = load_bundle(sweep.models.model(point))
    generate_folder(bundle, sweep.rendered, folder, config, memory=MEMORY)
    return folder


def discard(sweep: Sweep, name: str) -> None:
    if sweep.config.discard and name != sweep.base.name:
        shutil.rmtree(sweep.out / "clips" / name, ignore_errors=True)


def begin(grid: Grid, sweep: Sweep) -> tuple[Grid, Sweep]:
    """The grid without what its models cannot play, and inputs long enough for the freshest point."""
    if isinstance(sweep.models, Specialists):  # they were never trained to hear nothing
        grid = tuple(point for point in grid if point.kind != "unconditional")
    systems = [point for point in grid if point.kind == "system"]
    if not systems:
        raise ValueError("the grid holds no point: give t_f and k of one or more")
    places = sweep.config.places
    post = max(places.post, frames_after(grid, places.frames))
    config = replace(sweep.config, places=replace(places, post=post))
    return grid, replace(sweep, config=config, base=systems[0])


def rows_of(rows: list[Row], kind: str) -> Iterator[Row]:
    yield from (row for row in rows if row["kind"] == kind)
