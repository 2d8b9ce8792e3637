"""The floor of a step: bytes that it must read, and how fast this machine reads memory."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bandmate.stream.measure import PARTS, Probe

LARGE = 256 << 20  # bytes: more than any cache holds
ROUNDS = 5

GATHERS = ("embedding", "index", "index_select", "gather")  # read what they give, not all they are given


@dataclasses.dataclass(frozen=True)
class Bandwidth:
    """Bytes per second: of a large read, of a large copy (read and written bytes), of a read of ``resident_bytes``."""

    read: float
    copy: float
    resident: float
    resident_bytes: int


def fastest(call: Callable[[], Any], clock: Callable[[], float], rounds: int = ROUNDS) -> float:
    """Seconds of the quickest of some calls; what disturbs only makes them slower."""
    times = []
    for _ in range(rounds):
        began = clock()
        call()
        times.append(clock() - began)
    return max(min(times), 1e-12)


def bandwidth(
    resident: int, clock: Callable[[], float] = time.perf_counter, large: int = LARGE, rounds: int = ROUNDS
) -> Bandwidth:
    """Measured with the threads that torch has. ``resident``: bytes of what a step reads, read again and again."""
    one, two = torch.ones(large // 16, dtype=torch.int64), torch.ones(large // 8, dtype=torch.float32)
    other = torch.ones_like(two)
    small = torch.ones(max(1, resident // 8), dtype=torch.int64)
    again = max(1, large // 16 // max(1, resident))
    reads = [
        one.nbytes / fastest(one.sum, clock, rounds),
        2 * two.nbytes / fastest(lambda: torch.dot(two, other), clock, rounds),
    ]
    copied = 2 * two.nbytes / fastest(lambda: other.copy_(two), clock, rounds)

    def read_small() -> None:
        for _ in range(again):
            small.sum()

    near = again * small.nbytes / fastest(read_small, clock, rounds)
    return Bandwidth(max(reads), copied, near, small.nbytes)


class Traffic(TorchDispatchMode):
    """A meter that counts the bytes of weights and of state that the operations of each part read.

    A matrix counts each time it is an operand, a lookup only with the rows that it takes, a view not at all. What a step
    makes and reads itself is not counted: it stays in the nearest cache.
    """

    def __init__(self, weights: set[int]) -> None:
        """``weights``: addresses of their storages, see :func:`weights_of`."""
        super().__init__()
        self._weights, self._state = weights, set[int]()
        self._part = PARTS[0]
        self.weight_bytes, self.state_bytes = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)

    def run(self, part: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self._part, self._state = part, {address(tensor) for tensor in tensors_in(arguments)}
        with self:
            return call(*arguments)

    @property
    def total(self) -> int:
        return sum(self.weight_bytes.values()) + sum(self.state_bytes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = list(tensors_in(out))
        own = {address(tensor) for tensor in made}
        gathers = func.overloadpacket.__name__ in GATHERS
        most = sum(tensor.nbytes for tensor in made) if gathers else None
        for tensor in tensors_in((args, kwargs or {})):
            if address(tensor) not in own:  # neither a view nor written in place
                self._count(tensor, most)
        return out

    def _count(self, tensor: Tensor, most: int | None) -> None:
        size = min(tensor.nbytes, tensor.untyped_storage().nbytes())
        size = size if most is None else min(size, most)
        if address(tensor) in self._weights:
            self.weight_bytes[self._part] += size
        elif address(tensor) in self._state:
            self.state_bytes[self._part] += size


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of nested containers and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in(tuple(vars(value).values()))


def weights_of(*networks: Any) -> set[int]:
    """Addresses of the storages of all parameters and buffers; of what is no network, none."""
    modules = [network for network in networks if isinstance(network, nn.Module)]
    return {address(each) for module in modules for each in (*module.parameters(), *module.buffers())}


def bytes_per_step(probe: Probe, weights: set[int]) -> Traffic:
    """Counted over the probe's next call, which is not timed."""
    before, traffic = probe.meter, Traffic(weights)
    probe.meter = traffic
    try:
        probe.call()
    finally:
        probe.meter = before
    return traffic
