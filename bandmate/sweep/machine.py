"""What a machine can hold, from measured times: t_gen(k) between the chunk lengths that were timed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.spec import FRAME_RATE, Latency, StreamSpec

PARTS = ("device_in", "device_out", "pattern", "synthesis", "jitter")


@dataclass(frozen=True)
class Machine:
    """k [N] and t_gen [N] in seconds, by k; everything else of the latency; where it is from."""

    k: tuple[float, ...]
    t_gen: tuple[float, ...]
    latency: Latency
    source: str

    def chunk_seconds(self, k: float) -> float:
        """Wall time of a chunk of k seconds: straight lines between what was timed.

        Above the longest it grows with k; below the shortest it stays, as every call has a cost of its own.
        """
        longest = self.k[-1]
        return self.t_gen[-1] * k / longest if k > longest else float(np.interp(k, self.k, self.t_gen))

    def holds(self, t_f: float, k: float) -> bool:
        """Whether both conditions of section 3.4 are met; t_f and k in seconds."""
        spec = StreamSpec.from_seconds(t_f, k)
        return spec.is_deployable(self.spent(spec))

    def spent(self, spec: StreamSpec) -> Latency:
        """The latency with the time that one of the spec's chunks takes."""
        return Latency(**{**vars(self.latency), "t_gen": self.chunk_seconds(spec.k / FRAME_RATE)})


def read(paths: Sequence[Path]) -> Machine:
    """From reports of ``bandmate stream --json`` (one per k; p99 of a step), and files with parts of the latency.

    A file with a latency: {"t_gen": {"0.1": seconds, ...}, "device_in": seconds, ...}, all optional. ValueError or
    FileNotFoundError with one sentence.
    """
    timed: dict[float, float] = {}
    parts: dict[str, float] = {}
    for path in paths:
        content = content_of(path)
        try:
            if "step_ms" in content:
                timed[float(content["k"])] = float(content["step_ms"]["p99"]) / 1000
            timed |= {float(k): float(seconds) for k, seconds in content.get("t_gen", {}).items()}
            parts |= {name: float(content[name]) for name in PARTS if name in content}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path} tells no times ({error}): give a report of bandmate stream --json"
            ) from None
    if not timed:
        raise ValueError(
            f"{paths[0]} tells no time of a chunk: give a report of bandmate stream --json, or t_gen"
        )
    if min(timed) <= 0 or not all(np.isfinite(value) and value >= 0 for value in timed.values()):
        raise ValueError(f"{paths[0]}: t_gen wants k above 0 and seconds of 0 or more")
    k = tuple(sorted(timed))
    return Machine(
        k, tuple(timed[each] for each in k), Latency(**parts), ", ".join(path.name for path in paths)
    )


def content_of(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give a report of bandmate stream --json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object: give a report of bandmate stream --json")
    return content
