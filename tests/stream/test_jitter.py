"""Wake-ups on a made-up clock; one real process, of which only that it ends is asked."""

import itertools

import pytest

from bandmate.stream import jitter
from bandmate.stream.jitter import Sleeper, wakes, worst


class Waking:
    """A clock whose sleeps last as long as asked, and then so much more."""

    def __init__(self, *late: float) -> None:
        self.now, self.late = 0.0, iter(late)
        self.asked: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.now += seconds + next(self.late)


def test_lateness_is_counted_from_a_grid() -> None:
    clock = Waking(0.0, 0.002, 0.001)
    told = list(itertools.islice(wakes(0.01, lambda: clock.now, clock.sleep, lambda: True), 3))
    assert told == pytest.approx([0, 0.002, 0.001])
    assert clock.asked == pytest.approx([0.01, 0.01, 0.008])  # what was late does not move the grid


def test_who_sleeps_past_the_next_end_goes_on_at_the_one_after() -> None:
    clock = Waking(0.025, 0.0)
    told = list(itertools.islice(wakes(0.01, lambda: clock.now, clock.sleep, lambda: True), 2))
    assert told == pytest.approx([0.025, 0.0])
    assert clock.now == pytest.approx(0.04)


def test_it_ends_when_it_is_told() -> None:
    going = iter([True, True, False])
    clock = Waking(0.0, 0.0, 0.0)
    assert len(list(wakes(0.01, lambda: clock.now, clock.sleep, lambda: next(going)))) == 2


def test_the_worst_of_a_thousand() -> None:
    assert worst([n / 1000 for n in range(1000)]) == pytest.approx(0.998)
    assert worst([0.001, 0.2]) == 0.2
    assert worst([]) == 0.0


def test_a_process_of_its_own() -> None:
    with Sleeper(0.001) as sleeper:
        assert sleeper.lateness == []
    assert all(late >= 0 for late in sleeper.lateness)
    assert not sleeper._process.is_alive()


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jitter, "sleep_beside", print)  # says nothing into the pipe and ends
    with pytest.raises(OSError, match="give --jitter SECONDS"), Sleeper(0.001):
        pass


def test_an_error_beside_it_is_the_one_that_is_raised() -> None:
    with pytest.raises(KeyError), Sleeper(0.001) as sleeper:
        raise KeyError("of the model")
    assert sleeper.lateness == []
    assert not sleeper._process.is_alive()
