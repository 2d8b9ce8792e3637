"""Runs as folders: begun from a preset, gone on with after a kill, read back as modules, bundled."""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from bandmate.checkpoint import SECTIONS, load_bundle, save_bundle
from bandmate.configs import CODEC_KINDS, MODEL_KINDS, build
from bandmate.data.files import replacing
from bandmate.spec import FRAME_RATE
from bandmate.train.loop import fit, keep_others_runs
from bandmate.train.machine import Machine
from bandmate.train.samples import Samples
from bandmate.train.settings import check_heads, fitting

PARTS = {"codec": CODEC_KINDS, "model": MODEL_KINDS}  # sections of a config that describe a module
DEFAULT_KINDS = {"codec": "spectral", "model": "duet"}  # of runs that name none
SHAPING = (*PARTS, "encoder", "adversaries")  # sections that a checkpoint fits, or does not
# Settings of a begun run that stay: a checkpoint counts epochs, and a specialist is made for one place.
LASTING = ("steps_per_epoch", "only_t_f", "only_k")

Config = TypeVar("Config")


def override(config: Config, settings: list[str]) -> Config:
    """``["steps=100", "model.width=128"]`` applied to a frozen config; an unknown field is an error that names it."""
    for setting in settings:
        name, _, value = setting.partition("=")
        config = replaced(config, name.split("."), plain_value(value), setting)
    check_heads(config)
    return config


def plain_value(text: str) -> Any:
    """What YAML makes of a value; the word itself where it makes nothing of it."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def replaced(config: Config, path: list[str], value: Any, setting: str) -> Config:
    """The config with one field, perhaps of a config within it, changed."""
    fields = {field.name for field in dataclasses.fields(config) if field.init}  # type: ignore[arg-type]
    if path[0] not in fields:
        raise ValueError(f"{setting}: there is no field {path[0]!r}; known are {', '.join(sorted(fields))}")
    if len(path) > 1 and not dataclasses.is_dataclass(getattr(config, path[0])):
        raise ValueError(f"{setting}: {path[0]} has no fields of its own")
    if len(path) > 1:
        value = replaced(getattr(config, path[0]), path[1:], value, setting)
    else:
        value = fitting(config, path[0], value, setting)
    return dataclasses.replace(config, **{path[0]: value})  # type: ignore[type-var]


def placed(config: Any, t_f: int | None, k: int | None) -> list[str]:
    """Settings that make a training one for a single place of the plane, in frames: of duet itself, of others' models."""
    at = "only_" if hasattr(config, "only_t_f") else "model."
    return [f"{at}{name}={value}" for name, value in (("t_f", t_f), ("k", k)) if value is not None]


def has_place(config: Any, name: str) -> bool:
    """Whether a training can be made for a single ``t_f`` or ``k``."""
    model = getattr(config, "model", None)
    return hasattr(config, f"only_{name}") or name in {field.name for field in dataclasses.fields(model)}  # type: ignore[arg-type]


def train(
    config: Any,
    data: Path,
    run_dir: Path,
    resume: bool,
    progress: bool,
    machine: Machine | None = None,
    callbacks: tuple[Any, ...] = (),
    init: str | None = None,
) -> None:
    """Trains (or goes on training) whatever ``config.build(data)`` gives, in a folder that remembers the config.

    init: a run's folder or a bundle, whose weights a new run begins with; see :func:`begin_with`.
    """
    machine = machine or Machine()
    keep_others_runs(run_dir, resume, machine)
    kept = settings_of(run_dir) if machine.is_first else None
    torch.manual_seed(config.seed)
    module = config.build(data)
    if kept is not None:
        refuse_another(module.config, kept, run_dir)
    for codec in [each.codec for each in callbacks if isinstance(each, Samples)]:
        if codec is not None and module.product == "model":
            refuse_strangers(codec, module.config.model)
    if init is not None and not (resume and (run_dir / "last.ckpt").exists()):
        module.say(begin_with(module, init))
    if machine.is_first:
        remember(module.config, run_dir)
    fit(module, run_dir, resume, progress, machine, callbacks)


def begin_with(module: Any, init: str) -> str:
    """Gives the module's product the weights of another run or bundle wherever name and shape agree; says what did."""
    product = getattr(module, module.product)
    other = find_codec(init) if module.product == "codec" else find_model(init)
    own, found = product.state_dict(), other.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise ValueError(f"{init} has nothing in common with what is to be trained")
    product.load_state_dict(fitting, strict=False)
    new = sorted(set(own) - set(fitting))
    return f"begun with {len(fitting)} of {len(own)} tensors of {init}" + (
        f"; new: {', '.join(new)}" if new else ""
    )


def remember(config: Any, run_dir: Path) -> Path:
    """Writes the run's settings beside its checkpoint, as plain data; the module's own with its kind."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with replacing(run_dir / "config.yaml") as file:
        file.write_text(yaml.safe_dump(plain_settings(config), sort_keys=False), encoding="utf-8")
    return run_dir


def plain_settings(config: Any) -> dict[str, Any]:
    """All settings of a run as plain data; sections that describe a module begin with its kind."""
    settings = dataclasses.asdict(config)
    for part, kinds in PARTS.items():
        if part in settings:
            kind = next(
                (name for name, (made, _) in kinds.items() if made is type(getattr(config, part))), None
            )
            settings[part] = ({"kind": kind} if kind else {}) | settings[part]
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(listed(settings)))
    return plain


def settings_of(folder: Path) -> dict[str, Any] | None:
    """What a run's folder remembers; None for a folder without config.yaml. ValueError for somebody else's."""
    found = plain_file(folder / "config.yaml")
    if found is None or (isinstance(found, dict) and "steps_per_epoch" in found):
        return found
    what = "a bundle" if is_card(found) else "something else than a run"
    raise ValueError(f"{folder} is {what}, going by its config.yaml: choose another folder")


def plain_file(file: Path) -> Any:
    """What a YAML file says; None without one, "" for one that cannot be read or is empty."""
    try:
        return (yaml.safe_load(file.read_text(encoding="utf-8")) or "") if file.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return ""


def is_card(found: Any) -> bool:
    """Whether plain data are those of a bundle."""
    return isinstance(found, dict) and set(SECTIONS) <= set(found)


def refuse_another(config: Any, kept: dict[str, Any], run_dir: Path) -> None:
    """ValueError that names the setting by which the run in a folder is another than this one.

    Before its first checkpoint a run may still become one of another size, not one of another kind. ``ema`` counts by
    whether there are averages, LASTING settings by what they are.
    """
    begun = (run_dir / "last.ckpt").exists()
    for part, own in plain_settings(config).items():
        if part not in SHAPING or not isinstance(own, dict):
            continue
        if not isinstance(kept.get(part), dict):
            raise ValueError(
                f"{run_dir} is the run of something else: its config.yaml has no section {part!r}"
            )
        default = {"kind": DEFAULT_KINDS[part]} if part in PARTS else {}
        theirs = default | kept[part]
        if theirs.get("kind") == own.get("kind"):  # fields that came later are as they were before them
            theirs = listed(dataclasses.asdict(type(getattr(config, part))())) | theirs
        for name in ("kind", *sorted({*own, *theirs} - {"kind"})) if begun else ("kind",):
            if theirs.get(name) != own.get(name):
                raise another(run_dir, f"{part}.{name}", theirs.get(name), own.get(name))
    if begun:
        refuse_another_course(config, kept, run_dir)


def refuse_another_course(config: Any, kept: dict[str, Any], run_dir: Path) -> None:
    """The same of the settings that no module shows."""
    ours = getattr(config, "ema", 0.0)
    if bool(ours) != bool(kept.get("ema", 0.0)):
        raise another(run_dir, "ema", kept.get("ema", 0.0), ours)
    for name in LASTING:
        if kept.get(name) != getattr(config, name, None):
            raise another(run_dir, name, kept.get(name), getattr(config, name, None))


def another(run_dir: Path, name: str, theirs: Any, ours: Any) -> ValueError:
    return ValueError(
        f"{run_dir} is a run with {name} = {theirs}, not {ours}: go on with it by its own --preset, --set, --t-f, --k "
        "and --data, or choose another folder"
    )


def listed(value: Any) -> Any:
    """Tuples as lists, all the way down: what YAML can say."""
    if isinstance(value, dict):
        return {key: listed(part) for key, part in value.items()}
    return [listed(part) for part in value] if isinstance(value, tuple | list) else value


def find_codec(name: str) -> Any:
    """The codec of a run's folder, or of a bundle by name or path."""
    return load_codec(Path(name)) if (Path(name) / "last.ckpt").exists() else load_bundle(name).codec


def find_model(name: str) -> Any:
    """The model of a run's folder, or of a bundle by name or path."""
    return load_model(Path(name)) if (Path(name) / "last.ckpt").exists() else load_bundle(name).model


def load_codec(run_dir: Path, average: bool = False) -> Any:
    """The codec of a run, of any kind, as it stands; ``average``: the averaged copy of its weights."""
    return load_part(run_dir, "codec", average)


def load_model(run_dir: Path, average: bool = False) -> Any:
    """The model of a run, of any kind, as it stands; ``average``: the averaged copy of its weights."""
    return load_part(run_dir, "model", average)


def load_part(run_dir: Path, part: str, average: bool) -> Any:
    """What a run's last checkpoint holds under the name of a part."""
    settings, state = read_run(run_dir)
    if part not in settings:
        raise ValueError(f"{run_dir} is the run of something else: its config.yaml has no section {part!r}")
    prefix = "average.module." if average else f"{part}."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if average and not own:
        raise ValueError(f"{run_dir} keeps no averaged weights: train it with --set ema=0.999, or do without")
    module = build(PARTS[part], settings[part], DEFAULT_KINDS[part], f"{run_dir}/config.yaml, {part}")
    module.load_state_dict(own)
    return module.eval()


def read_run(run_dir: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Settings and weights of a run's last checkpoint."""
    file = run_dir / "last.ckpt"
    if not file.is_file():
        raise FileNotFoundError(f"{run_dir} holds no finished epoch of a run (no last.ckpt)")
    state = torch.load(file, map_location="cpu", weights_only=False)["state_dict"]
    return yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")), state


def about(run_dir: Path) -> dict[str, Any]:
    """What a bundle tells of its run: t_f and k in seconds for which a specialist of duet was made, if it is one."""
    settings = settings_of(run_dir) or {}
    frames = {name: settings.get(f"only_{name}") for name in ("t_f", "k")}
    place = {name: value / FRAME_RATE for name, value in frames.items() if value is not None}
    return {"made_for": place} if place else {}


def bundle(codec: Any, model: Any, out: Path, sampling: dict[str, Any], about: dict[str, Any]) -> None:
    """A playable bundle. The codec's decoder may be newer than the codes the model was trained on.

    It takes the place of another bundle; ValueError for a folder in which there is something else.
    """
    if out.is_dir() and any(out.iterdir()) and not is_card(plain_file(out / "config.yaml")):
        raise ValueError(f"{out} holds something else than a bundle: choose another folder")
    refuse_strangers(codec, model.config)
    save_bundle(out, codec, model, sampling, about)


def refuse_strangers(codec: Any, model: Any) -> None:
    """ValueError unless a codec decodes what a model with this config plays."""
    for name in ("levels", "codes"):
        ours, theirs = getattr(model, name), getattr(codec, name)
        if ours != theirs:
            raise ValueError(
                f"the model was made for {ours} {name}, the codec has {theirs}: they are no pair"
            )
