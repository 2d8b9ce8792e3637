"""Stands in for sounddevice in a child process: a device that runs in a thread, with faults to order.

BANDMATE_STUB: words. ``missing``: PortAudio is not there. ``stalls``: it opens but never runs. ``dies``: the stream
ends after a second. ``gone FILE``: there is no device while the file exists.
"""

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

WORDS = os.environ.get("BANDMATE_STUB", "").split()
RATE, BLOCK = 16_000, 160

if "missing" in WORDS:
    raise OSError("PortAudio library not found")


class PortAudioError(Exception):
    pass


default = SimpleNamespace(device=(0, 1))


def query_hostapis() -> list[dict[str, str]]:
    return [{"name": "Stub"}]


def query_devices() -> list[dict[str, Any]]:
    if "gone" in WORDS and os.path.exists(WORDS[WORDS.index("gone") + 1]):
        return []
    both = [("stub in", 1, 0), ("stub out", 0, 2)]
    return [
        {
            "name": n,
            "hostapi": 0,
            "max_input_channels": i,
            "max_output_channels": o,
            "default_samplerate": RATE,
        }
        for n, i, o in both
    ]


class Stream:
    latency = (89_478.485, 0.02)

    def __init__(self, samplerate: int, channels: tuple[int, int], callback: Any, **options: Any) -> None:
        if samplerate != RATE:
            raise PortAudioError("Invalid sample rate", -9997)
        self.samplerate, self._channels, self._callback = float(samplerate), channels, callback
        self.active = False

    def start(self) -> None:
        self.active = True
        if "stalls" not in WORDS:
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        until = time.monotonic() + (0.5 if "dies" in WORDS else 1e9)
        heard = np.full((BLOCK, self._channels[0]), 0.25, np.float32)
        sounding = np.zeros((BLOCK, self._channels[1]), np.float32)
        while self.active and time.monotonic() < until:
            self._callback(heard, sounding, BLOCK, None, 0)
            time.sleep(0.005)
        self.active = False

    def close(self) -> None:
        self.active = False
