"""A file of any rate through a session: lengths, the mix, and memory over a long one."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.file import FileOutput, play_file
from bandmate.stream.limiter import clean, limit
from bandmate.stream.overview import Overview, log_bands
from bandmate.stream.scheduler import VirtualClock
from bandmate.stream.session import Session
from tests.stream.fakes import FakeCodec, FakeModel, FakeSampler, music


class Source:
    """A file that is never on disk."""

    def __init__(self, rate: int, samples: int) -> None:
        self.rate, self.samples, self._second = rate, samples, music(1.0, rate=rate)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.samples, size):
            place = np.arange(start, min(start + size, self.samples)) % self.rate
            yield self._second[place]


class Sink:
    """Keeps what is written, or only counts it."""

    def __init__(self, keep: bool = True) -> None:
        self.frames, self._keep, self._blocks = 0, keep, [np.zeros(0)]

    def write(self, block: np.ndarray) -> None:
        self.frames += len(block)
        assert np.isfinite(block).all()
        if self._keep:
            self._blocks.append(block)

    @property
    def samples(self) -> np.ndarray:
        return np.concatenate(self._blocks)


def play(source: Source, out: Sink, mix: Sink | None = None, t_f: int = -20, **listeners: object) -> Session:
    engine = Engine(FakeCodec(), FakeModel(), StreamSpec(t_f, 5), FakeSampler(), 4)
    session = Session(engine, VirtualClock(32_000), ignore_first=True)
    output = FileOutput(out, mix, 32_000, source.rate)  # type: ignore[arg-type]
    assert play_file(source, session, output, **listeners) == source.samples  # type: ignore[arg-type]
    return session


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("samples", [1, 2, 3, 101, 4_410, 30_001])
@pytest.mark.parametrize("t_f", [-200, 200])
def test_exactly_as_long_at_any_rate(rate: int, samples: int, t_f: int) -> None:
    out, mix, source = Sink(), Sink(), Source(rate, samples)
    play(source, out, mix, t_f)
    assert out.frames == mix.frames == samples
    heard = np.concatenate(list(source.blocks(1000)))
    np.testing.assert_allclose(mix.samples, limit(heard + out.samples), atol=1e-6)


def test_listeners_get_everything_at_the_engines_rate() -> None:
    seen: dict[str, int] = {"input": 0, "output": 0}
    done: list[float] = []

    def count(name: str) -> object:
        return lambda block: seen.__setitem__(name, seen[name] + len(block))

    play(
        Source(48_000, 48_000),
        Sink(),
        on_input=count("input"),
        on_output=count("output"),
        progress=done.append,
    )
    assert seen == {"input": 32_000, "output": 32_000}
    assert done == sorted(done)
    assert done[-1] == 1.0


@pytest.mark.slow
def test_memory_stays_flat_over_a_long_file() -> None:
    minutes, sizes = 12, []
    heard = Overview(room=500)

    def watch(done: float) -> None:
        if done % 60 < 0.05:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    play(Source(44_100, minutes * 60 * 44_100), Sink(False), Sink(False), on_input=heard.push, progress=watch)
    assert len(sizes) == minutes
    assert max(sizes[3:]) - sizes[2] < 10
    assert heard.levels_db.shape[1] <= 500


def test_limiter_leaves_alone_what_is_not_too_loud() -> None:
    quiet = np.linspace(-0.98, 0.98, 1001, dtype=np.float32)
    assert limit(quiet) is quiet
    loud = np.array([0.5, 0.99, 1.0, 3.0, 3e38, -np.inf, np.nan, -0.99], np.float32)
    out = limit(loud)
    assert out[0] == np.float32(0.5)
    assert np.abs(out).max() <= 1.0
    assert out[6] == 0.0
    assert (np.diff(limit(np.linspace(0.9, 1.1, 500))) > 0).all()
    assert out.dtype == np.float32


def test_clean_counts() -> None:
    samples, count = clean(np.array([1.0, np.nan, np.inf, -np.inf, 2.0]))
    assert count == 3
    np.testing.assert_array_equal(samples, [1, 0, 0, 0, 2])


def test_overview_shows_a_tone_where_it_is_and_stays_small() -> None:
    overview, t = Overview(room=64), np.arange(32_000 * 4) / 32_000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    for start in range(0, len(tone), 777):
        overview.push(tone[start : start + 777])
    levels = overview.levels_db
    assert levels.shape[1] <= 64
    assert levels.shape[1] * overview.seconds_per_column == pytest.approx(4.0, abs=0.1)
    loudest = overview.band_frequencies[levels[:, 5].argmax()]
    assert loudest == pytest.approx(1000, rel=0.06)
    assert overview.loudest == pytest.approx(0.5, abs=1e-3)
    assert overview.peaks.max() == pytest.approx(0.5, abs=1e-3)


def test_every_band_hears_something() -> None:
    assert (log_bands(32_000).sum(1) > 0.99).all()


def test_the_peak_of_less_than_a_frame_counts() -> None:
    overview = Overview()
    overview.push(np.zeros(0, dtype=np.float32))
    assert overview.loudest == 0
    overview.push(np.full(100, -0.5, dtype=np.float32))
    assert overview.loudest == 0.5
    overview.push(np.full(700, 0.25, dtype=np.float32))
    assert overview.loudest == 0.5
