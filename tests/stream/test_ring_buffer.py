"""The ring against an endless list of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.stream.ring_buffer import RingBuffer


def ramp(start: int, count: int) -> np.ndarray:
    return np.arange(start + 1, start + 1 + count, dtype=np.float32)


def test_what_goes_in_comes_out_around_the_end() -> None:
    ring = RingBuffer(10)
    for start in range(0, 70, 7):
        ring.write(ramp(start, 7))
        np.testing.assert_array_equal(ring.read(7), ramp(start, 7))
    assert (ring.overruns, ring.underruns) == (0, 0)


def test_a_late_reader_loses_the_oldest_and_keeps_its_place() -> None:
    ring = RingBuffer(4)
    ring.write(ramp(0, 6))
    np.testing.assert_array_equal(ring.read(6), [0, 0, 3, 4, 5, 6])
    assert (ring.overruns, ring.samples_lost, ring.underruns) == (1, 2, 0)


def test_an_early_reader_hears_silence_and_keeps_its_place() -> None:
    ring = RingBuffer(8)
    ring.write(ramp(0, 2))
    np.testing.assert_array_equal(ring.read(4), [1, 2, 0, 0])
    assert (ring.underruns, ring.samples_missing) == (1, 2)
    ring.write(ramp(2, 4))
    np.testing.assert_array_equal(ring.read(2), [5, 6])


def test_a_gap_is_silence_and_the_past_is_never_rewritten() -> None:
    ring = RingBuffer(8, start=100)
    ring.write(ramp(0, 2))
    ring.write(ramp(5, 2), at=105)
    np.testing.assert_array_equal(ring.read(7), [1, 2, 0, 0, 0, 6, 7])
    with pytest.raises(ValueError, match="written already"):
        ring.write(ramp(0, 1), at=106)


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        RingBuffer(0)


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=40))
def test_against_an_endless_list(capacity: int, steps: list[tuple[bool, int]]) -> None:
    """Whatever the order of reads and writes: each sample is right, or silent and counted."""
    ring, written, position, lost, missing = RingBuffer(capacity), 0, 0, 0, 0
    for is_write, count in steps:
        if is_write:
            ring.write(ramp(written, count))
            written += count
            continue
        expected = ramp(position, count)
        index = np.arange(position, position + count)
        early, late = index >= written, index < written - capacity
        expected[early | late] = 0
        lost, missing = lost + int(late.sum()), missing + int(early.sum())
        np.testing.assert_array_equal(ring.read(count), expected)
        position += count
    assert (ring.samples_lost, ring.samples_missing) == (lost, missing)
