"""A coder without a network, that other processes can import: codes that name the audio."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.data.layout import StoreConfig
from bandmate.data.parallel import Coder, Work
from bandmate.data.slakh import read
from bandmate.data.stems import LazyTrack
from tests.data.trees import slakh_track

CONFIG = StoreConfig(codes=4096, submixes=20, submix_codes=True, features=False, source="fake")


@dataclass(frozen=True)
class FakeCoder:
    """`pause`: seconds per call; `deadly`: the process kills itself, as the system does for want of memory.

    `nodes`: folder for an empty file per Ray node that worked.
    """

    pause: float = 0.0
    deadly: bool = False
    nodes: Path | None = None

    def __call__(self) -> Coder:
        return Coder(self.encode, None)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        time.sleep(self.pause)
        if self.nodes is not None:
            import ray

            (self.nodes / ray.get_runtime_context().get_node_id()).touch()
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        frames = np.abs(np.pad(audio, ((0, 0), (0, -audio.shape[1] % 640))).reshape(len(audio), -1, 640)).sum(
            -1
        )
        return (1000 * frames[:, None] * np.arange(1, 5)[:, None]).astype(np.int64) % 4096


def work(path: Path, coder: FakeCoder | None = None) -> Work:
    return Work(path, CONFIG, coder or FakeCoder())


def tracks(root: Path, count: int = 6) -> list[LazyTrack]:
    """Tracks of a small Slakh tree, made once."""
    if not (root / "train").exists():
        for number in range(1, count + 1):
            slakh_track(root / "train" / f"Track{number:05d}", seconds=0.2 + 0.1 * number)
    return [track.lazy() for track in read(root).tracks]


def die(job: Any) -> None:
    """In place of rendering: the process is killed, as the system does for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def linger(job: Any) -> None:
    """In place of rendering: takes a while, and leaves a file to tell that this process began."""
    job.out.mkdir(exist_ok=True)
    (job.out / f"begun-{os.getpid()}").touch()
    time.sleep(0.2)
