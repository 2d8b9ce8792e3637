"""Published checkpoints into our networks: every parameter found, with its shape, or one clear line."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bandmate import weights


def load_published(network: nn.Module, path: Path, prefix: str = "") -> dict[str, Any]:
    """Reads `path` (a state dict or a Lightning checkpoint) into `network` in evaluation mode; returns what else it held.

    ``prefix`` is taken off the file's names. ValueError that names the first parameter that is missing, left over or
    of another shape.
    """
    content = weights.read_pickled(path)
    state = content.get("state_dict", content)
    state = {name.removeprefix(prefix): value for name, value in state.items() if isinstance(value, Tensor)}
    complain_about(network.state_dict(), state, path)
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    return {name: value for name, value in content.items() if name != "state_dict"}


def complain_about(expected: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    """ValueError when two state dicts differ in names or shapes."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise ValueError(f"{path} is not this network: it lacks {missing[0]} ({len(missing)} in all)")
    if extra:
        raise ValueError(f"{path} is not this network: {extra[0]} has no place in it ({len(extra)} in all)")
    for name, value in expected.items():
        if value.shape != found[name].shape:
            shapes = f"{list(found[name].shape)} instead of {list(value.shape)}"
            raise ValueError(f"{path} is not this network: {name} is {shapes}")
