"""Bundles: a folder with a codec, a model and how to sample from it, as safetensors and plain data.

    config.yaml  codec.safetensors  model.safetensors  MODEL_CARD.md

The bundles that come with the package are known by the names of their folders.
"""

import contextlib
import dataclasses
import difflib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from bandmate.configs import CODEC_KINDS, MODEL_KINDS, build, describe, describe_config
from bandmate.model.sampling import Sampler

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT = "duet-small"
SECTIONS = ("codec", "model", "sampling")
DRAWING = ("temperature", "top_k", "guidance", "plausible")
COUNTS = ("top_k", "plausible")  # those of whole numbers
PAPER_SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_k": 200, "guidance": 1.0}  # appendix A.5
DUET_GUIDANCE = {
    0.0: (8.0, 1.0),
    1.0: (6.0, 1.0),
}  # t_f -> of level 1 and of the finer: what suits the bundled duet
DUET_PLAUSIBLE = 10  # codes that it chooses among


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Everything needed to play: a codec and a model of any kind (:mod:`bandmate.configs`).

    ``card["sampling"]`` holds the advised fields of DRAWING; :func:`sampling_for` reads it.
    """

    name: str
    codec: Any
    model: Any
    card: dict[str, Any]


def available() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.yaml"))


def resolve(name_or_path: str) -> Path:
    """Folder of a bundle by name or path; ValueError that suggests the nearest name, FileNotFoundError for a path."""
    if name_or_path in available():
        return BUNDLED / name_or_path
    path = Path(name_or_path)
    if (path / "config.yaml").is_file():
        return path
    if path.exists() or len(path.parts) > 1:
        raise FileNotFoundError(f"{path} is not a model: a folder with a config.yaml is wanted")
    near = difflib.get_close_matches(name_or_path, available(), n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else "; no model is bundled, so give the path of one"
    raise ValueError(f"there is no model {name_or_path!r}{hint}")


def load_bundle(name_or_path: str = DEFAULT) -> Bundle:
    """Reads a bundle in float32, ready for use. Errors are ValueError or FileNotFoundError, one clear line each."""
    folder = resolve(name_or_path)
    card = read_card(folder / "config.yaml")
    codec = build(CODEC_KINDS, card["codec"], "spectral", f"{folder / 'config.yaml'}, codec")
    model = build(MODEL_KINDS, card["model"], "duet", f"{folder / 'config.yaml'}, model")
    check_lists(card["sampling"], codec.levels, folder / "config.yaml")
    load_weights(codec, folder / "codec.safetensors")
    load_weights(model, folder / "model.safetensors")
    return Bundle(folder.name, codec.eval(), model.eval(), card)


def read_card(path: Path) -> dict[str, Any]:
    """config.yaml with exactly the known sections, and a section ``sampling`` that can be drawn by."""
    try:
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(card, dict) or any(not isinstance(card.get(section), dict) for section in SECTIONS):
        raise ValueError(f"{path} must hold the sections {', '.join(SECTIONS)}")
    unknown = sorted(set(card) - {*SECTIONS, "about"})
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known are about, {', '.join(SECTIONS)}")
    check_sampling(card["sampling"], path)
    return card


def check_sampling(section: dict[str, Any], path: Path) -> None:
    """ValueError for a name that is none of DRAWING, and for a value that cannot be drawn by."""
    unknown = sorted(str(name) for name in section if name not in (*DRAWING, "by_t_f"))
    if unknown:
        raise ValueError(
            f"{path}: sampling, unknown key {unknown[0]!r}; known are {', '.join(DRAWING)}, by_t_f"
        )
    check_by_t_f(section, path)
    for where, values in drawings(section).items():
        for name, value in values.items():
            check_value(name, value, f"{path}: {where}")
        try:
            Sampler(**sampling_for({"sampling": values}, None))
        except ValueError as error:
            raise ValueError(f"{path}: {where}, {error}") from None


def drawings(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Fields of DRAWING by where they stand: those for all t_f, and those of each ``by_t_f``."""
    found = {"sampling": {name: value for name, value in section.items() if name != "by_t_f"}}
    return found | {f"sampling, by_t_f {t_f:g}": own for t_f, own in section.get("by_t_f", {}).items()}


def check_value(name: str, value: Any, where: str) -> None:
    """ValueError unless it is a number or a list of them; whole ones where codes are counted."""
    numbers = int if name in COUNTS else (int, float)
    each = value if isinstance(value, list) else [value]
    if not each or any(isinstance(one, bool) or not isinstance(one, numbers) for one in each):
        what = "a whole number" if name in COUNTS else "a number"
        raise ValueError(f"{where}, {name} wants {what}, or a list with one for each level, not {value!r}")


def check_lists(section: dict[str, Any], levels: int, path: Path) -> None:
    """ValueError unless every list of a section has an entry for each of the codec's levels."""
    for where, values in drawings(section).items():
        for name, value in values.items():
            if isinstance(value, list) and len(value) != levels:
                raise ValueError(
                    f"{path}: {where}, {name} has {len(value)} entries, the codec {levels} levels"
                )


def check_by_t_f(sampling: dict[str, Any], path: Path) -> None:
    """ValueError unless ``by_t_f`` is absent or {seconds: {a field of DRAWING: value}}."""
    by_t_f = sampling.get("by_t_f", {})
    numbers = isinstance(by_t_f, dict) and all(
        isinstance(t_f, int | float) and not isinstance(t_f, bool) and math.isfinite(t_f) for t_f in by_t_f
    )
    if not numbers or not all(isinstance(own, dict) and set(own) <= {*DRAWING} for own in by_t_f.values()):
        raise ValueError(
            f"{path}: sampling, by_t_f wants seconds, each with {', '.join(DRAWING)}, "
            "as in {-0.4: {guidance: 2.0}}"
        )


def sampling_for(card: dict[str, Any], t_f: float | None) -> dict[str, Any]:
    """How to draw at t_f (seconds; None: an offline model), as :class:`bandmate.model.sampling.Sampler` takes it.

    What the section says for all, and over it what its ``by_t_f`` says for the t_f nearest to this one (of two equally
    near the lower). Lists of YAML come as tuples.
    """
    section = dict(card.get("sampling", {}))
    by_t_f = section.pop("by_t_f", None) or {}
    if by_t_f and t_f is not None:
        section |= by_t_f[min(sorted(by_t_f), key=lambda each: abs(each - t_f))]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}


def made_for(card: dict[str, Any]) -> dict[str, float]:
    """t_f and k in seconds, as far as ``about`` names the place of the plane that a duet was made for."""
    about = card.get("about")
    place = about.get("made_for") if isinstance(about, dict) else None
    if not isinstance(place, dict):
        return {}
    found = {name: place.get(name) for name in ("t_f", "k")}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def advised_sampling(model: Any) -> dict[str, Any]:
    """The section ``sampling`` for a model for which nobody has searched a better one, by its kind.

    The paper's for its models, none of which is guided but StemGen; for duet what suits the bundled one.
    """
    kind = describe_config(MODEL_KINDS, model.config)
    if kind == "stemgen":
        return PAPER_SAMPLING | {"top_k": model.config.codes, "guidance": 2.0}
    if kind != "duet":
        return dict(PAPER_SAMPLING)
    finer = model.config.levels - 1
    by_t_f = {t_f: {"guidance": [first, *[rest] * finer]} for t_f, (first, rest) in DUET_GUIDANCE.items()}
    return PAPER_SAMPLING | by_t_f[0.0] | {"plausible": DUET_PLAUSIBLE, "by_t_f": by_t_f}


def load_weights(module: nn.Module, path: Path) -> None:
    """Strict: a missing, damaged or ill-fitting file is told in one line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the model is not complete")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); fetch or train it anew") from None
    expected = module.state_dict()
    wrong = sorted(set(weights) ^ set(expected)) or sorted(
        k for k in weights if weights[k].shape != expected[k].shape
    )
    if wrong:
        raise ValueError(
            f"{path} does not fit its config.yaml: parameter {wrong[0]!r} differs ({len(wrong)} in all)"
        )
    module.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )


def save_bundle(
    folder: Path,
    codec: nn.Module,
    model: nn.Module,
    sampling: dict[str, Any],
    about: dict[str, Any],
    half: bool = True,
) -> None:
    """Writes a bundle, whole or not at all; weights in float16 unless ``half`` is False.

    It takes the place of a bundle that was there; files of other names in the folder stay.
    """
    card = {
        "codec": describe(CODEC_KINDS, codec),
        "model": describe(MODEL_KINDS, model),
        "sampling": sampling,
        "about": about,
    }
    with replacing_folder(folder) as new:
        for name, module in (("codec", codec), ("model", model)):
            save_file(plain(module, half), new / f"{name}.safetensors")
        (new / "config.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
        keep_others(folder, new)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder`` that takes its place if the block ends well, else vanishes.

    A folder cannot take the place of one that is not empty, so the old one is moved away first. Killed between the two
    moves, it is put back the next time.
    """
    folder = folder.resolve()
    new, old = (folder.with_name(f".{folder.name}.{what}") for what in ("unfinished", "replaced"))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def keep_others(folder: Path, new: Path) -> None:
    """Copies into ``new`` what ``folder`` holds under names that ``new`` does not, such as a model card."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def plain(module: nn.Module, half: bool) -> dict[str, torch.Tensor]:
    """The state as contiguous tensors of its own."""
    state = module.state_dict()
    return {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().clone()
        for name, value in state.items()
    }
