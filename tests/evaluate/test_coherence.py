"""Chunks, pairs and what silence scores; the network is a stand-in."""

import math

import numpy as np
import pytest
import soxr

from bandmate.evaluate.coherence import (
    chunks,
    coherence,
    embed,
    pair_scores,
    silence_floor,
    sounding_chunks,
)
from tests.evaluate.fakes import Encoder, music
from tests.evaluate.sounds import RATE, tone


@pytest.mark.parametrize(
    ("seconds", "count"), [(5.0, 1), (7.4, 2), (7.5, 2), (7.6, 3), (10.0, 3), (20.0, 7), (2.0, 1)]
)
def test_a_chunk_of_5_s_every_2_5_s(seconds: float, count: int) -> None:
    audio = tone(440, seconds)
    assert chunks(audio, RATE).shape == (count, 80_000)
    assert sounding_chunks(audio, RATE, count).shape == (count,)


def test_chunks_are_where_they_should_be() -> None:
    audio = np.zeros(10 * RATE, np.float32)
    audio[6 * RATE :] = tone(440, 4)
    assert [bool(chunk.abs().max() > 0.05) for chunk in chunks(audio, RATE)] == [False, True, True]
    np.testing.assert_array_equal(sounding_chunks(audio, RATE, 3), [False, True, True])


def test_a_click_or_two_is_silence_but_a_tenth_of_a_second_is_not() -> None:
    audio = np.zeros(5 * RATE, np.float32)
    audio[:1280] = 0.1  # 40 ms
    assert not sounding_chunks(audio, RATE, 1).any()
    audio[:6400] = tone(1000, 0.2)
    assert sounding_chunks(audio, RATE, 1).all()


def test_the_rate_does_not_matter() -> None:
    network = Encoder()
    high, low = embed(network, music(1), RATE), embed(network, soxr.resample(music(1), RATE, 16_000), 16_000)
    for mode in ("both", "harmonic", "percussive"):
        assert high[mode].shape == low[mode].shape == (3, 264)
        np.testing.assert_allclose(high[mode], low[mode], atol=0.05)


def test_a_mode_leaves_out_the_other_half() -> None:
    embedded = embed(Encoder(), music(1), RATE)
    assert not embedded["harmonic"][:, 64:].any()
    assert not embedded["percussive"][:, :64].any()


def test_the_true_stem_scores_above_another_songs() -> None:
    network = Encoder()
    mix, own, other = (embed(network, audio, RATE) for audio in (music(0), music(0, 0.5), music(2)))
    for mode in mix:
        assert (
            pair_scores(network, mix[mode], own[mode]) > pair_scores(network, mix[mode], other[mode])
        ).all()


def test_pairs_are_scored_row_by_row_across_blocks(rng: np.random.Generator) -> None:
    mix, stem = rng.normal(size=(2, 150, 6)).astype(np.float32)
    np.testing.assert_allclose(pair_scores(Encoder(), mix, stem), 10 * (mix * stem).sum(axis=1), rtol=1e-4)


def test_silence_scores_the_floor_or_less_whatever_the_network_likes() -> None:
    yes, no = np.ones(3, bool), np.zeros(3, bool)
    assert coherence(np.array([900.0, 900, 900]), no, yes, floor=2.0) == 2
    assert coherence(np.array([1.0, 900, 900]), no, yes, floor=2.0) == pytest.approx(5 / 3)
    assert coherence(np.array([6.0, 900, 6.0]), np.array([True, False, True]), yes, 0.0) == 4
    assert coherence(np.array([6.0, 7.0, 8.0]), yes, yes, 0.0) == 7


def test_chunks_without_input_are_left_out() -> None:
    yes, no = np.ones(2, bool), np.zeros(2, bool)
    assert math.isnan(coherence(np.ones(2), yes, no, 0.0))
    assert coherence(np.array([4.0, 100.0]), yes, np.array([True, False]), 0.0) == 4
    assert math.isnan(coherence(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 0.0))


def test_the_floor_is_the_5th_percentile_of_random_pairings() -> None:
    assert silence_floor(np.arange(101.0)) == 5
    assert silence_floor(np.array([3.0, np.nan])) == 3
    with pytest.raises(ValueError, match="random pairing"):
        silence_floor(np.zeros(0))


def test_bad_input_is_refused() -> None:
    for bad in (np.zeros((2, RATE)), np.zeros(0), np.full(6 * RATE, np.nan)):
        with pytest.raises(ValueError, match="mono audio"):
            chunks(bad, RATE)
    with pytest.raises(ValueError, match="equally many"):
        pair_scores(Encoder(), np.zeros((2, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="NaN"):
        coherence(np.array([np.nan]), np.ones(1, bool), np.ones(1, bool), 0.0)
    with pytest.raises(ValueError, match="one score"):
        coherence(np.zeros(2), np.ones(1, bool), np.ones(1, bool), 0.0)
