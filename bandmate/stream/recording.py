"""A live session kept: what was heard, what was played, both together, and every call, so that it can be replayed."""

import os
import queue
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.audio.io import AudioWriter
from bandmate.stream.file import FileOutput
from bandmate.stream.limiter import limit
from bandmate.stream.scheduler import Timing

FILES = {"input": "input.flac", "accompaniment": "accompaniment.flac", "mix": "mix.flac"}
SESSION = "session.json"
COLUMNS = ("index", "ready", "begin", "finish", "seconds", "late", "skipped", "rest")
WAITING = 2000  # jobs that may wait for the disk: a minute or more


class CallLog:
    """Every call in order, 64 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("d")

    def add(self, timing: Timing) -> None:
        call = timing.call
        self._numbers.extend((call.index, call.ready, timing.begin, timing.finish, timing.seconds))
        self._numbers.extend((timing.late, timing.skipped, timing.rest))

    def rows(self) -> list[list[float]]:
        """A row of ``COLUMNS`` for each call; instants in samples of the engine, work in seconds."""
        width = len(COLUMNS)
        rows = (self._numbers[start : start + width] for start in range(0, len(self._numbers), width))
        return [[int(row[0]), int(row[1]), *row[2:5], *map(int, row[5:])] for row in rows]


class Recording:
    """Files in a folder, written by a thread of their own: a slow disk must not hold up the music.

    Each file appears under its name when it is whole. A disk that fails ends the recording, not the playing:
    ``error`` then says why.
    """

    def __init__(self, folder: Path, rate: int, engine_rate: int) -> None:
        """``rate`` of the files in Hz. Errors as of AudioWriter."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.error, self.calls = folder, None, CallLog()
        self._writers = {name: AudioWriter(folder / file, rate) for name, file in FILES.items()}
        self._output = FileOutput(self._writers["accompaniment"], None, engine_rate, rate)
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        self._thread.start()

    error: OSError | ValueError | None

    def heard(self, samples: np.ndarray, sent: np.ndarray) -> None:
        """Input and what sounded beside it, [S] each, at the files' rate."""

        def write() -> None:
            self._writers["input"].write(samples)
            self._writers["mix"].write(limit(samples + sent))
            self._output.heard(samples)

        self._put(write)

    def played(self, samples: np.ndarray) -> None:
        """Output of the session [S], at the engine's rate, never ahead of the input."""
        self._put(lambda: self._output.played(samples))

    def call(self, timing: Timing) -> None:
        self.calls.add(timing)

    def finish(self) -> None:
        """Completes the files. OSError or ValueError when they could not be written."""
        self._jobs.put(self._output.finish)
        self._jobs.put(None)
        self._thread.join()
        for writer in self._writers.values():
            self._try(writer.close if self.error is None else writer.abort)
        if self.error is not None:
            raise self.error

    def _put(self, job: Callable[[], None]) -> None:
        try:
            if self.error is None:
                self._jobs.put_nowait(job)
        except queue.Full:
            self.error = OSError(f"the disk of {self.folder} is too slow to record")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self.error is None:
                self._try(job)

    def _try(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (OSError, ValueError) as error:
            self.error = self.error or error


def check_folder(folder: Path) -> None:
    """Refuses a folder that holds a session already or cannot be made. ValueError or PermissionError."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder to record to")
    taken = [name for name in (*FILES.values(), SESSION) if (folder / name).exists()]
    if taken:
        raise ValueError(f"{folder} holds a recording already ({taken[0]}): give another folder")
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise PermissionError(f"cannot record to {folder}: {above} is no folder to write to")


def session_document(calls: CallLog, **facts: Any) -> dict[str, Any]:
    """The content of session.json: the facts, then the calls."""
    return {"format": 1, **facts, "calls": {"columns": list(COLUMNS), "rows": calls.rows()}}
