"""One model per point, as in the paper: found in a folder, or trained into it from the paper's presets."""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandmate.checkpoint import advised_sampling, read_card, resolve
from bandmate.configs import preset
from bandmate.sweep.grid import Point


@dataclass(frozen=True)
class Training:
    """data: a prepared store; codec: the bundle or run whose codes it holds.

    presets: for k = 1 frame and for larger k. settings: FIELD=VALUE over them.
    """

    data: Path
    codec: str
    presets: tuple[str, str] = ("decoder", "prefix-decoder")
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Specialists:
    """A folder with a bundle for each point, named as the point is; made there where ``training`` says how."""

    folder: Path
    training: Training | None = None

    def model(self, point: Point) -> str:
        """Path of the point's bundle. FileNotFoundError when there is none and none is to be trained."""
        own = self.own_model(point)
        if not point.model and not (own / "config.yaml").is_file():
            if self.training is None:
                raise FileNotFoundError(
                    f"{own} holds no model for {point.spec}: train it by --train, or put a bundle there"
                )
            with alone(own):
                if not (own / "config.yaml").is_file():  # nor made by another while this one waited
                    train(own, point, self.training)
        return str(own)

    def own_model(self, point: Point) -> Path:
        """Where it is, or will be."""
        if point.model:
            return resolve(point.model)
        assert point.spec is not None
        return self.folder / Point(point.spec).name


@dataclass(frozen=True)
class OneModel:
    """The same bundle at every point."""

    name: str

    def model(self, point: Point) -> str:
        return point.model or self.name

    def own_model(self, point: Point) -> Path | None:
        """Path of the model that plays at this point and not at all of them, if there is such a one."""
        return resolve(point.model) if point.model else None


def digest(bundle: Path) -> str:
    """A short hash of a bundle's weights and of how it is drawn from; empty where it is gone."""
    files = [bundle / f"{name}.safetensors" for name in ("codec", "model")]
    if not all(file.is_file() for file in (*files, bundle / "config.yaml")):
        return ""
    found = hashlib.sha256(repr(read_card(bundle / "config.yaml")["sampling"]).encode())
    for file in files:
        with file.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()[:16]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Held by one at a time, process or thread, by way of <folder>.lock: several points may be played by one model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def train(folder: Path, point: Point, training: Training) -> None:
    """Trains, or goes on training, in <folder>.run, and bundles the model with the codec in ``folder``."""
    from bandmate.train import runs

    run = folder.with_name(folder.name + ".run")
    config = config_of(point, training)
    codec = runs.find_codec(training.codec)
    try:
        runs.train(config, training.data, run, resume=True, progress=False)
    except FloatingPointError as error:
        raise ValueError(f"the training of {folder.name} went astray: {error}") from None
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model = runs.load_model(run)
    runs.bundle(codec, model, part, advised_sampling(model), runs.about(run))
    part.rename(folder)


def config_of(point: Point, training: Training) -> Any:
    """The preset for the point's k, made for its t_f and k, and with the settings. ValueError for wrong names."""
    try:
        from bandmate.train import presets, runs
    except ModuleNotFoundError as missing:
        raise ValueError(f"{missing.name} is not installed: pip install 'bandmate[train]'") from None
    assert point.spec is not None
    k = point.spec.k
    config = preset(presets.LM, training.presets[k > 1])
    told_k = k > 1 or hasattr(config, "only_k")  # the paper's decoder knows of one k only
    return runs.override(
        config, [*runs.placed(config, point.spec.t_f, k if told_k else None), *training.settings]
    )
