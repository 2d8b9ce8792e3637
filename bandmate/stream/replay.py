"""A recorded session played once more: the same calls at the same instants, so the same sound, bit by bit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandmate.stream.recording import COLUMNS
from bandmate.stream.scheduler import Call

NEEDED = ("spec", "model", "instrument", "options", "shift_samples", "calls")


@dataclass(frozen=True)
class Replay:
    """session.json: ``facts`` as they stand there, a row of ``COLUMNS`` per call."""

    facts: dict[str, Any]
    rows: list[dict[str, float]]

    @classmethod
    def read(cls, path: Path) -> "Replay":
        """FileNotFoundError or ValueError with one sentence."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no file {path}: check the name") from None
        except IsADirectoryError:
            raise ValueError(f"{path} is a folder: give its session.json") from None
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or not all(name in facts for name in NEEDED):
            raise ValueError(f"{path} is no session of bandmate jam: give the session.json of a recording")
        try:
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in facts["calls"]["rows"]]
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{path} is damaged: its calls cannot be read") from None
        return cls(facts, rows)

    def _row(self, call: Call) -> dict[str, float]:
        if call.index >= len(self.rows) or self.rows[call.index]["index"] != call.index:
            raise ValueError(
                f"the session ends before call {call.index}: give the input that was recorded with it"
            )
        return self.rows[call.index]

    # What a session asks its clock, answered as it was then.

    def begin(self, call: Call) -> float:
        return self._row(call)["begin"]

    def end(self, call: Call, seconds: float, skipped: bool) -> float:
        row = self._row(call)
        if bool(row["skipped"]) != skipped or row["ready"] != call.ready:
            raise ValueError(
                f"call {call.index} went another way than in the session: it is of another version"
            )
        return row["finish"]

    def resting(self, call: Call) -> bool:
        return bool(self._row(call)["rest"])
