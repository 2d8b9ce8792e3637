"""``bandmate`` with a model that gives back what it heard: python jam_echo.py jam --input ..."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bandmate import cli  # noqa: E402
from tests.stream.live_fakes import Echo  # noqa: E402

DELAY = 60  # frames; enough for t_f = -1 s with k = 0.2 s


@dataclass(frozen=True)
class EchoBundle:
    name: str
    codec: Any
    model: Any
    card: dict[str, Any] = field(default_factory=dict)


def load_echo(name: str) -> EchoBundle:
    echo = Echo(DELAY)
    return EchoBundle(name, echo, echo)


if __name__ == "__main__":
    # A machine as quick as it is said to be: no test depends on how busy this one is.
    quick = mock.patch("bandmate.commands.jamming.step_times", return_value=[0.02] * 20)
    with mock.patch("bandmate.checkpoint.load_bundle", load_echo), quick:
        sys.exit(cli.main(sys.argv[1:]))
