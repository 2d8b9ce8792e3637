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

DELAY = 30  # frames; enough for every t_f >= -0.4 s with k <= 0.2 s


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
    with mock.patch("bandmate.checkpoint.load_bundle", load_echo):
        sys.exit(cli.main(sys.argv[1:]))
