"""The howl guard: what it must find, and what it must leave alone."""

import numpy as np

from bandmate.stream.guard import HowlGuard
from tests.stream.fakes import music

RATE = 32_000


def listen(guard: HowlGuard, heard: np.ndarray, sent: np.ndarray, block: int = 777) -> list[float]:
    return [guard.push(heard[i : i + block], sent[i : i + block]) for i in range(0, len(heard), block)]


def delayed(samples: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros(by, np.float32), samples])[: len(samples)]


def test_what_comes_back_as_loud_as_it_went_is_turned_down_within_two_seconds() -> None:
    for delay in (900, 5000, 20_000):
        sent = 2 * music(2.0)
        gains = listen(guard := HowlGuard(RATE), 1.2 * delayed(sent, delay), sent)
        assert guard.howls >= 1
        assert gains[-1] < 0.26
        assert gains == sorted(gains, reverse=True)


def test_the_howl_of_a_monitor_is_found() -> None:
    """Input and loudspeaker feed each other, 2 dB a round of 50 ms, until both are as loud as can be."""
    count, delay = 3 * RATE, 1600
    heard = np.zeros(count, np.float32)
    heard[:delay] = 0.02 * music(delay / RATE)
    for start in range(delay, count, delay):
        heard[start : start + delay] = np.clip(1.26 * heard[start - delay : start], -1, 1)
    guard = HowlGuard(RATE)
    listen(guard, heard, heard)
    assert guard.howls >= 1


def test_music_of_others_and_a_soft_return_are_left_alone() -> None:
    sent, other = 2 * music(4.0, seed=1), 2 * music(4.0, seed=2)
    for heard in (
        other,
        other + 0.4 * delayed(sent, 3000),
        0.6 * delayed(sent, 3000),
        0.001 * delayed(sent, 3000),
    ):
        guard = HowlGuard(RATE)
        assert set(listen(guard, heard, sent)) == {1.0}
        assert guard.howls == 0


def test_it_stays_down_until_reset() -> None:
    sent = 2 * music(2.0)
    guard = HowlGuard(44_100)
    listen(guard, delayed(sent, 2000), sent)
    assert guard.gain < 1.0
    quiet = np.zeros(RATE, np.float32)
    assert listen(guard, quiet, quiet)[-1] == guard.gain
    guard.reset()
    assert listen(guard, quiet, quiet)[-1] == 1.0
