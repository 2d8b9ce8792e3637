"""What the device's callback does with a block, exactly."""

import tracemalloc

import numpy as np
import pytest

from bandmate.stream.exchange import MOST, Control, Count, Exchange, Shared

RATE = 32_000
FADE = 256


def exchange() -> tuple[Shared, Exchange]:
    capacity = Shared.capacity(RATE)
    shared = Shared(bytearray(Shared.size(capacity)), capacity)
    shared.reset()
    tested = Exchange(shared, RATE)
    run(tested, 320)  # the volume comes up
    return shared, tested


def run(tested: Exchange, count: int, heard: np.ndarray | None = None, channels: int = 1) -> np.ndarray:
    sounding = np.full((count, channels), np.nan, np.float32)
    tested.run(np.zeros((count, 1), np.float32) if heard is None else heard, sounding)
    return sounding[:, 0]


def steady(count: int, level: float = 0.5) -> np.ndarray:
    return np.full(count, level, np.float32)


def test_input_is_averaged_and_output_goes_to_every_channel() -> None:
    shared, tested = exchange()
    shared.played.write(320, steady(100, 0.3))
    shared.counts[Count.PLAY_FROM] = 320
    heard = np.stack([steady(100, 0.2), steady(100, 0.6)], 1)
    sounding = np.zeros((100, 3), np.float32)
    tested.run(heard, sounding)
    np.testing.assert_array_equal(sounding, np.full((100, 3), 0.3, np.float32))
    got = np.zeros(100, np.float32)
    assert shared.heard.read_into(320, got) == 0
    np.testing.assert_allclose(got, 0.4, atol=1e-7)
    assert shared.counts[Count.CLAIMED] == shared.sent.written == 420


def test_a_block_longer_than_any_is_taken_in_pieces() -> None:
    shared, tested = exchange()
    samples = np.linspace(-0.9, 0.9, 2 * MOST + 77, dtype=np.float32)
    shared.played.write(320, samples)
    shared.counts[Count.PLAY_FROM] = 320
    np.testing.assert_array_equal(run(tested, len(samples)), samples)
    assert shared.counts[Count.UNDERRUNS] == 0


def test_where_nothing_is_there_the_spare_sound_goes_on_and_the_next_fades_in() -> None:
    shared, tested = exchange()
    shared.counts[Count.PLAY_FROM] = 320
    shared.played.write(320, steady(200))
    spare = np.linspace(0.5, 0.0, 480, dtype=np.float32)
    shared.spare.write(520, spare)
    first, second = run(tested, 400), run(tested, 700)
    np.testing.assert_array_equal(first[:200], 0.5)
    np.testing.assert_array_equal(np.concatenate([first[200:], second[:280]]), spare)
    assert not second[280:].any()
    assert (shared.counts[Count.UNDERRUNS], shared.counts[Count.MISSING]) == (1, 900)
    shared.played.write(520, steady(3000))  # late: only what is in the future sounds
    third = run(tested, 1000)
    np.testing.assert_allclose(third[:FADE], 0.5 * np.arange(1, FADE + 1) / FADE, atol=1e-6)
    np.testing.assert_array_equal(third[FADE:], 0.5)
    assert shared.counts[Count.UNDERRUNS] == 1


def test_silence_before_anything_is_expected_is_no_underrun() -> None:
    shared, tested = exchange()
    assert not run(tested, 1000).any()
    shared.played.write(2000, np.zeros(0, np.float32))
    shared.counts[Count.PLAY_FROM] = 2000
    assert not run(tested, 680).any()
    assert shared.counts[Count.UNDERRUNS] == 0
    run(tested, 10)
    assert shared.counts[Count.UNDERRUNS] == 1


@pytest.mark.parametrize("flag", [Count.MUTED, Count.STOPPED])
@pytest.mark.parametrize("block", [16, 64, 1024])
def test_mute_and_stop_end_within_the_block(flag: Count, block: int) -> None:
    shared, tested = exchange()
    shared.played.write(320, steady(10_000))
    shared.counts[Count.PLAY_FROM] = 320
    assert (run(tested, block) == 0.5).all()
    shared.counts[flag] = 1
    fading = run(tested, block)
    assert fading[-1] == 0.0
    assert (np.diff(fading) <= 0).all()
    assert not run(tested, block).any()
    shared.counts[flag] = 0
    assert run(tested, block)[-1] == 0.5


def test_monitor_is_undelayed_and_everything_stays_below_full_scale() -> None:
    shared, tested = exchange()
    shared.controls[Control.MONITOR] = 0.5
    run(tested, 320)
    heard = np.random.default_rng(0).uniform(-1, 1, (500, 1)).astype(np.float32)
    np.testing.assert_allclose(run(tested, 500, heard), 0.5 * heard[:, 0], atol=1e-7)
    odd = np.array([[np.nan], [np.inf], [-np.inf], [1e38], [-9.0]], np.float32)
    np.testing.assert_array_equal(run(tested, 5, odd), [0.0, 0.0, 0.0, 1.0, -1.0])
    assert shared.counts[Count.BAD] == 3


def test_a_ring_that_holds_nonsense_does_no_harm() -> None:
    shared, tested = exchange()
    shared.played.write(320, steady(100, 7.0))
    shared.counts[Count.PLAY_FROM] = 320
    assert run(tested, 100).max() == 1.0


def test_no_sample_is_allocated_in_a_callback() -> None:
    """A block of 4096 samples takes 16 KiB; all that a callback makes are views and numbers."""
    shared, tested = exchange()
    shared.counts[Count.PLAY_FROM] = 320
    heard, sounding = np.zeros((4096, 2), np.float32), np.zeros((4096, 2), np.float32)
    shared.played.write(320, steady(4096 * 2 + 100))
    tested.run(heard, sounding)
    tracemalloc.start()
    for _ in range(4):  # whole, cut short, missing
        tested.run(heard, sounding)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8192
