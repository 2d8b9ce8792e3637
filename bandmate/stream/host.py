"""What a measurement is worth: the machine it was taken on, and what else ran there."""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

BUSY = 0.8  # a process that had a processor for less of its time was disturbed


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor, or what the system calls it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), platform.processor() or platform.machine())


def load_average() -> float | None:
    """Processes that ran or wanted to, mean of the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def describe() -> dict[str, Any]:
    """Processor, its cores, threads of torch, load average."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": load_average(),
    }


def peak_memory() -> float:
    """The most that this process held in memory so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def memory() -> float:
    """What it holds now, MB; where the system does not tell, the most that it held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def in_words(about: dict[str, Any], share: float) -> str:
    """``about`` from `describe`, taken before; ``share`` of the wall time in which the work had a processor, 1 = all."""
    threads = about["threads"]
    load = about["load_average"]
    text = f"{about['processor']}, {about['cores']} cores, {threads} thread{'s' if threads > 1 else ''}"
    text += "" if load is None else f", load average {load:g} before"
    if share >= BUSY:
        return text
    return (
        f"{text}\nbusy: the work had a processor {100 * share:.0f} % of its time, so these times are longer than on an "
        "idle machine"
    )
