"""Pieces of work one after the other, in processes of this machine, or over a Ray cluster: results as they come."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from bandmate.data.parallel import stay_with_parent

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
TRIES = 4  # to begin a cluster of this machine
TOLD = 200  # characters of what Ray says, which may be pages

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """workers: processes here. cluster: a Ray address ("auto" or host:port), or "local" for one started here.

    On a cluster all machines must see the same folders and have the package. gpus: what Ray gives to each piece.
    """

    workers: int = 1
    cluster: str = ""
    gpus: float = 0.0

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the order in which they are ready. An error of a piece is raised here; what waits is dropped."""
        if self.cluster:
            yield from over_ray(work, items, self)
        elif self.workers > 1 and len(items) > 1:
            yield from in_processes(work, items, self.workers)
        else:
            yield from map(work, items)


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Fresh processes: a fork of one with threads may hang."""
    pool = ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), stay_with_parent)
    try:
        for done in as_completed([pool.submit(work, item) for item in items]):
            yield done.result()
    except BrokenProcessPool:
        raise OSError("a worker process died, maybe for want of memory: use fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def over_ray(work: Callable[[Item], Result], items: Sequence[Item], spread: Spread) -> Iterator[Result]:
    """One Ray task for each piece; a task that loses its machine is run again by Ray.

    OSError when it is lost for good: the worker died, was killed for its memory, or its machine went away.
    """
    ray = connect(spread)
    task = ray.remote(num_cpus=1, num_gpus=spread.gpus)(call)
    waiting = [task.remote(work, item) for item in items]
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(done[0])
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else OSError(str(error)) from None
    except ray.exceptions.RayError as error:  # of the cluster, not of the work
        what = " ".join(f"{type(error).__name__}: {error}".split())[:TOLD]
        raise OSError(f"the cluster lost a piece of work, maybe for want of memory ({what})") from None
    finally:
        for left in waiting:
            ray.cancel(left, force=True)


def call(work: Callable[[Item], Result], item: Item) -> Result:
    """What Ray runs: it takes functions only, no partial ones."""
    return work(item)


def connect(spread: Spread) -> Any:
    """The ray module, connected. ValueError when it is not installed or when nobody answers at that address."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("Ray is not installed: pip install 'bandmate[cluster]'") from None
    if ray.is_initialized():
        return ray
    try:
        if spread.cluster == "local":
            begin_here(ray, spread.workers)
        else:
            ray.init(address=spread.cluster, **QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"no Ray cluster answers at {spread.cluster!r} ({reason}); start one, or leave --cluster out"
        ) from None
    return ray


def begin_here(ray: Any, workers: int) -> None:
    """A cluster of this machine alone. Ray gives it 30 s to begin, which a busy machine may need more than once."""
    for left in reversed(range(TRIES)):
        try:
            ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=2**27, **QUIET)
            return
        except Exception as error:  # Ray has no class of its own for this
            ray.shutdown()
            if not left:
                raise OSError(f"Ray did not begin on this machine: {error}") from None
