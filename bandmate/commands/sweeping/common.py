"""What several actions of ``bandmate sweep`` share: lists of numbers, and progress with an estimate."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from bandmate.commands.parsing import in_range

Tell = Callable[[int, int], None]  # done, wanted


def seconds_list(name: str, values: tuple[float, ...], least: float = -60.0, most: float = 60.0) -> None:
    """ValueError for a list that is empty or holds something out of range."""
    if not values:
        raise ValueError(f"{name} needs at least one value")
    for value in values:
        in_range({name: (value, least, most)})


@contextlib.contextmanager
def progress(what: str) -> Iterator[Tell]:
    """A bar with an estimate on stderr when that is a terminal; else a line each time."""
    if not sys.stderr.isatty():
        yield lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, speed_estimate_period=36_000
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def lines(what: str) -> Tell:
    began, first = time.perf_counter(), -1

    def tell(done: int, total: int) -> None:
        nonlocal first
        took = time.perf_counter() - began
        first = done if first < 0 else first
        left = f", about {took / (done - first) * (total - done):.0f} s left" if done > first else ""
        print(f"sweep: {done} of {total} {what} after {took:.0f} s{left}", file=sys.stderr, flush=True)

    return tell


def set_threads(threads: int) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
