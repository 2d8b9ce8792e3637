"""Steps timed by a clock that moves only when work is done: every number is exact."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.measure import (
    BEYOND,
    PARTS,
    UNCOUNTED,
    Loop,
    Probe,
    Times,
    Watched,
    measure,
    quantile,
    read_sound,
)
from tests.stream.fakes import FakeSampler, music
from tests.stream.ticking import (
    COLUMN,
    DECODE,
    ENCODE,
    FLUSH,
    LISTEN,
    Ticker,
    TickingCodec,
    TickingModel,
    step_seconds,
)


def probe(t_f: int, k: int, ticker: Ticker) -> tuple[Probe, TickingModel]:
    codec, model = TickingCodec(ticker), TickingModel(ticker)

    def build(run: Any) -> Engine:
        spec, sampler = StreamSpec(t_f, k), FakeSampler()
        return Engine(Watched(codec, run), Watched(model, run), spec, sampler, 4)

    return Probe(build, StreamSpec(t_f, k), music(1.0), ticker.clocks()), model


@pytest.mark.parametrize(("t_f", "k"), [(-20, 1), (-20, 5), (0, 2), (10, 5), (-7, 50)])
def test_a_step_is_the_sum_of_its_parts(t_f: int, k: int) -> None:
    timed, _ = probe(t_f, k, Ticker())
    timed.warm(0)
    timed.run(4)
    times = timed.times
    assert times.steps == pytest.approx([step_seconds(k)] * 4)
    assert times.parts == pytest.approx(
        {"encode": 4 * ENCODE, "listen": 4 * LISTEN, "play": 4 * k * COLUMN, "decode": 4 * (DECODE + FLUSH)}
    )
    assert sum(times.shares().values()) == pytest.approx(1)
    assert times.shares()["play"] == pytest.approx(k * COLUMN / step_seconds(k))
    assert times.shares()["other"] == pytest.approx(0, abs=1e-9)
    assert times.real_time_factor == pytest.approx(step_seconds(k) / (0.02 * k))
    assert times.cpu == pytest.approx(sum(times.steps) / 2)


def test_the_first_call_is_told_apart() -> None:
    timed, _ = probe(-20, 5, Ticker())
    timed.warm(0)
    timed.run(3)
    # The cold one hears nothing yet; it plays five columns, ten times the first, and decodes the frames they complete.
    assert timed.times.first == pytest.approx(14 * COLUMN + DECODE + FLUSH)
    assert max(timed.times.steps) == pytest.approx(step_seconds(5))


@pytest.mark.parametrize(("t_f", "k", "window"), [(-20, 5, 256), (10, 1, 30), (0, 50, 300)])
def test_caches_are_full_and_have_rolled_over_before_anything_counts(t_f: int, k: int, window: int) -> None:
    timed, model = probe(t_f, k, Ticker())
    timed.warm(window)
    passed = [n for what, n in model.calls if what == "skip"]
    assert sum(passed) >= window + BEYOND
    assert [what for what, _ in model.calls[-UNCOUNTED:]] == ["play"] * UNCOUNTED
    assert timed.engine.next_call.horizon >= window + BEYOND
    assert timed.times.steps == []


def test_rest_before_a_call_is_no_work() -> None:
    ticker = Ticker()
    timed, _ = probe(-20, 5, ticker)
    timed.warm(0)
    timed.run(6, pause=0.01)
    assert ticker.slept == pytest.approx(0.06)
    assert timed.times.steps == pytest.approx([step_seconds(5)] * 6)


def test_probes_take_turns_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticker, order, run = Ticker(), list[tuple[int, int]](), Probe.run

    def noted(self: Probe, calls: int, pause: float = 0.0) -> None:
        order.append((self.spec.k, calls))
        run(self, calls, pause)

    monkeypatch.setattr(Probe, "run", noted)
    probes = [probe(-20, k, ticker)[0] for k in (10, 25)]
    told: list[float] = []
    measure(probes, 2.0, progress=told.append)
    assert order == [(10, 5), (25, 2), (10, 5), (25, 2)]
    assert told == pytest.approx([1, 2, 3, 4])


def test_measuring_ends_when_there_was_work_enough() -> None:
    ticker = Ticker()
    probes = [probe(-20, k, ticker)[0] for k in (5, 50)]
    for each in probes:
        each.warm(0)
    measure(probes, 60.0, most=0.5)
    first, second = (each.times for each in probes)
    assert len(second.steps) >= 1
    assert len(first.steps) < 100
    assert sum(first.steps) + sum(second.steps) < 0.5 + 10 * step_seconds(5) + step_seconds(50)


def test_each_is_timed_once_however_little_is_asked_for() -> None:
    timed, _ = probe(-20, 50, Ticker())
    timed.warm(0)
    measure([timed], 0.1)
    assert len(timed.times.steps) == 1


def test_quantiles_are_elements() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [quantile(values, q) for q in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert quantile([3.0], 0.99) == 3.0
    assert quantile([float(n) for n in range(1000)], 0.999) == 998
    with pytest.raises(ValueError, match="nothing"):
        quantile([], 0.5)


def test_what_follows_from_the_times() -> None:
    times = Times(5, steps=[0.01] * 98 + [0.05, 0.07], cpu=2.0)
    assert times.audio == pytest.approx(10)
    assert times.t_gen == 0.05
    assert times.summary() == {"p50": 10, "p95": 10, "p99": 50, "max": 70}
    assert times.players_per_core == 5
    assert Times(5, steps=[0.2], cpu=0.2).players_per_core == 0
    assert set(times.parts) == set(PARTS)


def test_a_loop_goes_on_where_it_ended() -> None:
    loop = Loop(np.arange(5.0))
    assert loop.take(3).tolist() == [0, 1, 2]
    assert loop.take(12).tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert loop.take(1).tolist() == [0]
    with pytest.raises(ValueError, match="no sound"):
        Loop(np.zeros(0))


def test_a_file_is_read_at_the_rate_of_the_codec(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([music(2.0, rate=48_000)] * 2, axis=1), 48_000)
    assert read_sound(tmp_path / "a.wav", 32_000).shape == (64_000,)
    assert read_sound(tmp_path / "a.wav", 32_000, most=1.0).shape == (32_000,)
