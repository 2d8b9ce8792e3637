"""The store of a study: lines appended to answers.jsonl, each on the disk before it is confirmed.

Two kinds of lines: {"participant", "list"} when somebody begins, {"participant", "trial", "choice"} for an answer.
Nothing else is known about anybody: no address, no browser, no time. Nothing is ever rewritten: a line that a
crash cut in half stays, is told, and does no harm.
"""

import fcntl
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bandmate.evaluate.study import PREFERRED
from bandmate.sweep.listening_study.design import Trial
from bandmate.sweep.listening_study.study import Study


@dataclass
class Answers:
    """participants: id -> list; given: (participant, trial id) -> choice, the first one where there are several.

    damaged: numbers of lines that cannot be read; repeated: answers to a trial that was answered; foreign: lines
    about participants or trials that the study does not have.
    """

    participants: dict[str, int] = field(default_factory=dict)
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    repeated: int = 0
    foreign: int = 0

    def add(self, line: dict[str, Any]) -> None:
        """One line of the store; KeyError or TypeError for what is none."""
        if "list" in line:
            self.participants.setdefault(str(line["participant"]), int(line["list"]))
            return
        key = str(line["participant"]), str(line["trial"])
        if line["choice"] not in PREFERRED:
            raise KeyError(line["choice"])
        if key in self.given:
            self.repeated += 1
        self.given.setdefault(key, line["choice"])


def read_answers(path: Path, study: Study) -> Answers:
    """All that can be read. FileNotFoundError without the file: nobody has answered."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: nobody has answered yet")
    told = Answers()
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                told.add(json.loads(line))
            except (ValueError, KeyError, TypeError):
                told.damaged.append(number)
    leave_out_foreign(told, study)
    return told


def leave_out_foreign(told: Answers, study: Study) -> None:
    """Keeps what the study knows: its lists, and of each participant the trials of the list they were given."""
    known = {person: number for person, number in told.participants.items() if 0 <= number < len(study.lists)}
    own = {(person, trial.id) for person, number in known.items() for trial in study.lists[number]}
    kept = {key: choice for key, choice in told.given.items() if key in own}
    told.foreign += len(told.participants) - len(known) + len(told.given) - len(kept)
    told.participants, told.given = known, kept


class Store:
    """The file, open for appending by this process alone; made when it is not there."""

    def __init__(self, path: Path, study: Study) -> None:
        """ValueError when another process holds it; OSError such as a full disk passes."""
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise ValueError(f"{path} is in use: this study is being served already") from None
        sync_folder(path.parent)
        self.answers = read_answers(path, study)
        size = os.fstat(self._file).st_size
        self._whole = size == 0 or os.pread(self._file, 1, size - 1) == b"\n"

    def append(self, line: dict[str, Any]) -> None:
        """Writes the line, waits until it is on the disk, then counts it. OSError when it could not be written."""
        content = json.dumps(line).encode() + b"\n"
        with self._lock:
            start = b"" if self._whole else b"\n"  # a half line stays alone
            self._whole = False
            written = os.write(self._file, start + content)
            if written < len(start + content):
                raise OSError(28, "the disk is full", str(self.path))
            os.fsync(self._file)
            self._whole = True
            self.answers.add(line)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sync_folder(folder: Path) -> None:
    """Makes a new file's name as safe as its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def waiting(trials: tuple[Trial, ...], person: str, answers: Answers) -> list[Trial]:
    """The trials of a list that are not answered, in order."""
    return [trial for trial in trials if (person, trial.id) not in answers.given]
