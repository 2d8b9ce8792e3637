"""Runs as folders: begun from a preset, gone on with after a kill, read back as modules, bundled."""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from bandmate.checkpoint import plain, save_bundle
from bandmate.codec.spectral import SpectralCodec, SpectralConfig
from bandmate.configs import from_mapping
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig
from bandmate.train.codec import CodecTrainConfig, CodecTraining
from bandmate.train.lm import DuetTrainConfig, DuetTraining
from bandmate.train.loop import fit

Config = TypeVar("Config")


def override(config: Config, settings: list[str]) -> Config:
    """``["steps=100", "model.width=128"]`` applied to a frozen config; an unknown field is an error that names it."""
    for setting in settings:
        name, _, value = setting.partition("=")
        config = replaced(config, name.split("."), yaml.safe_load(value), setting)
    return config


def replaced(config: Config, path: list[str], value: Any, setting: str) -> Config:
    """The config with one field, perhaps of a config within it, changed."""
    fields = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if path[0] not in fields:
        raise ValueError(f"{setting}: there is no field {path[0]!r}; known are {', '.join(sorted(fields))}")
    if len(path) > 1:
        value = replaced(getattr(config, path[0]), path[1:], value, setting)
    elif isinstance(value, list):
        value = tuple(value)
    return dataclasses.replace(config, **{path[0]: value})  # type: ignore[type-var]


def train_codec(
    config: CodecTrainConfig, rendered: Path, run_dir: Path, resume: bool, progress: bool
) -> None:
    """Trains (or goes on training) a codec on a folder of rendered tracks."""
    torch.manual_seed(config.seed)
    fit(CodecTraining(config, rendered), remember(config, run_dir), resume, progress)


def train_duet(config: DuetTrainConfig, store: Path, run_dir: Path, resume: bool, progress: bool) -> None:
    """Trains (or goes on training) a duet on a prepared store."""
    torch.manual_seed(config.seed)
    fit(DuetTraining(config, store), remember(config, run_dir), resume, progress)


def remember(config: Any, run_dir: Path) -> Path:
    """Writes the run's settings beside its checkpoint, as plain data."""
    run_dir.mkdir(parents=True, exist_ok=True)
    plain_data = yaml.safe_load(yaml.safe_dump(listed(dataclasses.asdict(config))))
    (run_dir / "config.yaml").write_text(yaml.safe_dump(plain_data, sort_keys=False), encoding="utf-8")
    return run_dir


def listed(value: Any) -> Any:
    """Tuples as lists, all the way down: what YAML can say."""
    if isinstance(value, dict):
        return {key: listed(part) for key, part in value.items()}
    return [listed(part) for part in value] if isinstance(value, tuple | list) else value


def read_run(run_dir: Path, part: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Settings and weights (those under ``part.``) of a run's last checkpoint."""
    file = run_dir / "last.ckpt"
    if not file.is_file():
        raise FileNotFoundError(f"{run_dir} holds no finished epoch of a run (no last.ckpt)")
    state = torch.load(file, map_location="cpu", weights_only=False)["state_dict"]
    settings = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    return settings, {
        name[len(part) + 1 :]: value for name, value in state.items() if name.startswith(f"{part}.")
    }


def load_codec(run_dir: Path) -> SpectralCodec:
    """The codec of a run as it stands."""
    settings, state = read_run(run_dir, "codec")
    codec = SpectralCodec(from_mapping(SpectralConfig, settings["codec"], f"{run_dir}/config.yaml"))
    codec.load_state_dict(state)
    return codec.eval()


def load_duet(run_dir: Path) -> Duet:
    """The model of a run as it stands."""
    settings, state = read_run(run_dir, "model")
    model = Duet(from_mapping(DuetConfig, settings["model"], f"{run_dir}/config.yaml"))
    model.load_state_dict(state)
    return model.eval()


def bundle(
    codec_run: Path, duet_run: Path, out: Path, sampling: dict[str, Any], about: dict[str, Any]
) -> None:
    """A playable bundle from two runs. The codec's decoder may be newer than the codes the model was trained on."""
    save_bundle(out, load_codec(codec_run), load_duet(duet_run), sampling, about)


def encoder_fingerprint(codec: SpectralCodec) -> str:
    """Names what makes the codes: encoder and codebooks, not the decoder, which may go on learning."""
    import hashlib

    digest = hashlib.sha256()
    for name, value in sorted(plain(codec, half=False).items()):
        if name.startswith(("encoder.", "quantizer.")):
            digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:16]
