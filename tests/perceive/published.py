"""What is known of the published networks: names and shapes of their parameters, and answers of their own code.

The fixtures were made by running the authors' code (COCOLA e73a2d0 over efficientnet_pytorch 0.7.1, Beat This 1.1.0,
torchvggish f3f9096) once with the made-up weights of `made_up`. A name in braces stands for each of its alternatives.
"""

import itertools
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

FIXTURES = Path(__file__).parent / "fixtures"


def fixture(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def shapes(name: str) -> dict[str, list[int]]:
    """Parameter -> shape, the braces written out."""
    return {
        full: shape for short, shape in fixture(name)["parameters"].items() for full in written_out(short)
    }


def written_out(pattern: str) -> list[str]:
    """ "a.{0,1}.{w,b}" -> a.0.w, a.0.b, a.1.w, a.1.b"""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def shapes_of(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def made_up(wanted: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights that depend on their names only, sized so that signals neither vanish nor explode."""
    state = {}
    for name, shape in wanted.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        value = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(4099)
        if name.endswith("running_var"):
            value = 0.5 + value**2
        elif name.endswith("freqs"):
            value = 1 / (1 + value**2)
        elif name.endswith(("bias", "running_mean")):
            value = 0.1 * value
        elif len(shape) >= 2:
            value = value * np.sqrt(2 / np.prod(shape[1:]))
        else:
            value = 1 + 0.1 * value
        repeated = np.resize(value.astype(np.float32), int(np.prod(shape)))
        state[name] = torch.from_numpy(repeated.reshape(shape))
    return state


def bare(make: Callable[[], Network]) -> Network:
    """A network whose large weights are whatever was in memory: made at once."""
    convolution = nn.modules.conv._ConvNd
    with (
        mock.patch.object(nn.Linear, "reset_parameters", return_value=None),
        mock.patch.object(convolution, "reset_parameters", return_value=None),
    ):
        return make()


def filled(make: Callable[[], Network], name: str) -> Network:
    """A network with made-up weights under the published names, which must all fit."""
    network = bare(make)
    network.load_state_dict(made_up(shapes(name)), assign=True)
    return network.eval()


def noise(low: float, high: float, *sizes: tuple[int, ...]) -> list[Tensor]:
    """Inputs as the fixtures were made with, float64."""
    draw = np.random.RandomState(7)
    return [torch.tensor((high - low) * draw.uniform(size=size) + low) for size in sizes]
