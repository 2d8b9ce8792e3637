"""The commands `bench` and `plan` on fakes whose every call takes a known time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from bandmate import cli
from bandmate.stream.bandwidth import Bandwidth
from tests.stream.ticking import Ticker, TickingCodec, TickingModel

LOAD = 0.25


@dataclasses.dataclass(frozen=True)
class FakeBundle:
    name: str
    codec: Any
    model: Any
    card: dict[str, Any]


class FakeSleeper:
    """Wakes a millisecond late, and once thirty."""

    def __init__(self, block: float) -> None:
        self.lateness: list[float] = []

    def __enter__(self) -> "FakeSleeper":
        return self

    def __exit__(self, *_: object) -> None:
        self.lateness = [0.001] * 1999 + [0.03]


def install(monkeypatch: pytest.MonkeyPatch) -> Ticker:
    """Replaces what loads, tells the time and knows the machine. The ticker's speed may be set."""
    ticker = Ticker()

    def load(name: str) -> FakeBundle:
        if name == "offline":
            return FakeBundle(name, TickingCodec(ticker), object(), {"sampling": {}})
        if name != "duet-small":
            raise ValueError(f"there is no model {name!r}; did you mean 'duet-small'?")
        return FakeBundle(name, TickingCodec(ticker), TickingModel(ticker), {"sampling": {"guidance": 1.0}})

    def speed(resident: int, *_: object) -> Bandwidth:
        return Bandwidth(read=10e9, copy=8e9, resident=40e9, resident_bytes=resident)

    monkeypatch.setattr("bandmate.checkpoint.load_bundle", load)
    monkeypatch.setattr("bandmate.commands.measuring.clocks", ticker.clocks)
    monkeypatch.setattr("bandmate.stream.jitter.Sleeper", FakeSleeper)
    monkeypatch.setattr("bandmate.stream.bandwidth.bandwidth", speed)
    monkeypatch.setattr("bandmate.stream.host.load_average", lambda: LOAD)
    monkeypatch.setattr("bandmate.stream.host.processor", lambda: "Abacus 2")
    return ticker


def runner(verb: str) -> Callable[..., int]:
    return lambda *arguments: cli.main([verb, *map(str, arguments)])


def complaint(capsys: pytest.CaptureFixture[str], verb: str) -> str:
    """What was said on stderr, once it is shown to be a single line and no traceback."""
    said = capsys.readouterr().err
    assert said.startswith(f"bandmate {verb}: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said
