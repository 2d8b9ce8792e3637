"""A store, or a folder of tracks, written by many processes: those of this machine, or those of a Ray cluster.

Every track is a job of its own: read, encoded and written by one process, complete or absent. So a kill at any moment
costs the tracks that were in hand, and how many processes there were does not show in the bytes.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bandmate.data.layout import StoreConfig
from bandmate.data.prepare import Encode, Listen, Report, is_finished, prepare_track
from bandmate.data.stems import LazyTrack

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Coder:
    """What a store is written with; `listen` is None for a store without features."""

    encode: Encode
    listen: Listen | None


class Job(Protocol):
    """What is done with each track, in whichever process: it is pickled."""

    def run(self, track: LazyTrack) -> str | None:
        """One track; why it was left out, or None. OSError when the disk is full."""


@dataclass(frozen=True)
class Work:
    """A store being written: where, how, and how to make the coder in another process (it must be hashable)."""

    path: Path
    config: StoreConfig
    make_coder: Callable[[], Coder]

    def unfinished(self, tracks: Sequence[LazyTrack]) -> list[LazyTrack]:
        return [track for track in tracks if not is_finished(self.path, track.id)]

    def run(self, track: LazyTrack) -> str | None:
        """One track; why it was left out, or None. OSError when the disk is full."""
        coder = _coder(self.make_coder)
        return prepare_track(track, coder.encode, coder.listen, self.path, self.config)


@cache
def _coder(make: Callable[[], Coder]) -> Coder:
    return make()


def on_this_machine(work: Job, tracks: Sequence[LazyTrack], workers: int, report: Report) -> dict[str, str]:
    """Write the tracks with that many processes; {track id: why it was left out}.

    On an error, such as a full disk, tracks in hand are finished and the others left for the next time.
    """
    with closing(shared_out(work.run, tracks, workers)) as outcomes:
        return _collect(((track.id, reason) for track, reason in outcomes), report)


def shared_out(
    run: Callable[[Item], Outcome], items: Sequence[Item], workers: int
) -> Generator[tuple[Item, Outcome], None, None]:
    """Each item with what `run` returned of it, as they end: in that many processes, or in this one for 1.

    `run` and the items are pickled. OSError when a process is killed. Closed early, it waits for the items in hand.
    """
    if workers <= 1:
        yield from ((item, run(item)) for item in items)
        return
    with _pool(run, min(workers, len(items) or 1)) as pool:
        waiting = {pool.submit(_run, item): item for item in items}
        try:
            for job in as_completed(waiting):
                yield waiting[job], job.result()
        except BrokenProcessPool:
            raise OSError(
                "a process was killed, perhaps for want of memory: run the command again with fewer --workers, "
                "what was finished is kept"
            ) from None


def _collect(outcomes: Iterator[tuple[str, str | None]], report: Report) -> dict[str, str]:
    failed = {}
    for done, (name, reason) in enumerate(outcomes, 1):
        if reason is not None:
            failed[name] = reason
        report(done, name)
    return failed


@contextmanager
def _pool(run: Callable[[Any], Any], workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (run,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: Callable[[Any], Any] | None = None  # of this worker process


def _begin(run: Callable[[Any], Any]) -> None:
    global _job
    _job = run
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    stay_with_parent()


def stay_with_parent() -> None:
    """For a worker process, which would else wait for ever for work of a parent that was killed."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(item: Any) -> Any:
    assert _job is not None
    return _job(item)


def on_cluster(work: Job, tracks: Sequence[LazyTrack], address: str, report: Report) -> dict[str, str]:
    """The same on Ray: one track per CPU at a time; `address` as of ray.init.

    All nodes see the data, the codec and the store under the same paths, and have bandmate installed. A node that is
    lost costs its tracks in hand, which others take over. ValueError without Ray or a cluster at that address.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--cluster needs Ray: pip install 'bandmate[cluster]'") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"no Ray cluster at {address!r}; start one with `ray start --head` ({reason})"
        ) from None
    try:
        return _collect(_from_ray(ray, work, tracks), report)
    finally:
        ray.shutdown()


def _from_ray(ray: Any, work: Job, tracks: Sequence[LazyTrack]) -> Iterator[tuple[str, str | None]]:
    """Outcomes as they come; twice as many tracks are handed out as there are CPUs."""
    graphics = 0.25 if ray.cluster_resources().get("GPU") else 0  # four processes keep one device busy
    remote = ray.remote(num_cpus=1, num_gpus=graphics, max_retries=3)(_run_on_node)
    shared, left = ray.put(work), list(reversed(tracks))
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: dict[Any, str] = {}
    while left or waiting:
        while left and len(waiting) < at_once:
            track = left.pop()
            waiting[remote.remote(shared, track)] = track.id
        ready, _ = ray.wait(list(waiting), num_returns=1)
        for job in ready:
            yield waiting.pop(job), _outcome(ray, job)


def _outcome(ray: Any, job: Any) -> str | None:
    """What a job returned; its own OSError rather than Ray's wrapper."""
    try:
        return ray.get(job)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        raise OSError(f"the cluster lost a track's process: {' '.join(str(error).split())}") from None


def _run_on_node(work: Job, track: LazyTrack) -> str | None:
    return work.run(track)
