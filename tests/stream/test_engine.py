"""The engine on fakes that notice any error of order, place or visibility."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmate.spec import StreamSpec
from bandmate.stream.decoding import FADE, ChunkDecoder
from bandmate.stream.engine import Engine, OutputBlock
from tests.stream.fakes import FakeCodec, FakeModel, FakeSampler, music

SPECS = [(-20, 5), (-4, 1), (-7, 3), (0, 1), (0, 5), (10, 5), (3, 50), (-60, 10), (60, 7)]


def engine(spec: StreamSpec, ears: str = "mel", seed: int = 0, **options: float) -> Engine:
    return Engine(FakeCodec(), FakeModel(ears), spec, FakeSampler(seed=seed), 4, **options)  # type: ignore[arg-type]


def play(engine: Engine, samples: np.ndarray, sizes: Iterable[int] = ()) -> list[OutputBlock]:
    """Pushes the samples in blocks of these sizes, what remains in one."""
    blocks, position = [], 0
    for size in sizes:
        blocks += engine.push(samples[position : position + size])
        position += size
    return blocks + engine.push(samples[position:]) + engine.finish()


def join(blocks: list[OutputBlock]) -> np.ndarray:
    """The samples, once they are shown to be gapless from 0 on."""
    assert not blocks or blocks[0].start_sample == 0
    assert all(a.start_sample + len(a.samples) == b.start_sample for a, b in pairwise(blocks))
    return np.concatenate([np.zeros(0, np.float32)] + [b.samples for b in blocks])


@pytest.mark.parametrize(("t_f", "k"), SPECS)
@pytest.mark.parametrize("length", [1, 160, 639, 640, 641, 32_000, 33_333])
def test_output_is_exactly_as_long_as_the_input(t_f: int, k: int, length: int) -> None:
    out = join(play(engine(StreamSpec(t_f, k)), music(2)[:length]))
    assert out.shape == (length,)
    assert out.dtype == np.float32


def test_no_input_no_output() -> None:
    assert play(engine(StreamSpec(-20, 5)), np.zeros(0, np.float32)) == []


@settings(max_examples=30)
@given(st.sampled_from(SPECS), st.lists(st.integers(0, 3000), max_size=12))
def test_block_sizes_do_not_matter(spec: tuple[int, int], sizes: list[int]) -> None:
    samples = music(0.7)
    whole = join(play(engine(StreamSpec(*spec)), samples))
    np.testing.assert_array_equal(join(play(engine(StreamSpec(*spec)), samples, sizes)), whole)


def test_seed_and_input_matter() -> None:
    spec, samples = StreamSpec(-20, 5), music(2)
    first = join(play(engine(spec), samples))
    assert np.array_equal(first, join(play(engine(spec), samples)))
    assert not np.array_equal(first, join(play(engine(spec, seed=1), samples)))
    assert not np.array_equal(first, join(play(engine(spec), music(2, seed=1))))


@pytest.mark.parametrize(("t_f", "k"), SPECS)
def test_nothing_is_heard_too_early(t_f: int, k: int) -> None:
    """A change of input frame i alters no output whose call saw x[: i] at most, and does alter the next
    call's.
    """
    samples, frame = music(2.5), 70
    changed = samples.copy()
    changed[frame * 640 :] *= -0.5
    one, two = (join(play(engine(StreamSpec(t_f, k)), s)) for s in (samples, changed))
    first = next(c for c in range(0, 400, k) if c + t_f > frame)
    # The first sample that this call touches: 3 frames of pattern and 480 samples of overlap before it.
    border = max(0, (first - 3) * 640 - 480)
    np.testing.assert_array_equal(one[:border], two[:border])
    if border < len(one):
        assert not np.array_equal(one[border:], two[border:])


@pytest.mark.parametrize("ears", ["mel", "codes"])
def test_output_is_what_the_codec_decodes_from_the_codes(ears: str) -> None:
    codes: list[torch.Tensor] = []

    class Recorder(FakeModel):
        def play(self, *args: object) -> tuple:
            result = super().play(*args)  # type: ignore[arg-type]
            codes.append(result[0])
            return result

    samples = music(1.99)
    out = join(play(Engine(FakeCodec(), Recorder(ears), StreamSpec(-20, 5), FakeSampler(), 0), samples))
    frames = -(-len(samples) // 640)
    expected = FakeCodec().decode(torch.cat(codes, 2)[:, :, :frames])[0, : len(out)]
    # The last 480 samples are those of the next frame's beginning where the calls ran ahead of the end.
    np.testing.assert_array_equal(out[:-480], expected[:-480].numpy())


def test_the_end_is_flushed_and_nothing_is_played_beyond_it() -> None:
    codes: list[torch.Tensor] = []

    class Recorder(FakeModel):
        def play(self, *args: object) -> tuple:
            result = super().play(*args)  # type: ignore[arg-type]
            codes.append(result[0])
            return result

    out = join(play(Engine(FakeCodec(), Recorder(), StreamSpec(10, 4), FakeSampler(), 0), music(0.99)))
    assert sum(c.shape[2] for c in codes) == 50
    np.testing.assert_array_equal(out, FakeCodec().decode(torch.cat(codes, 2))[0, : len(out)].numpy())


def test_pushed_ahead_output_waits_for_its_input() -> None:
    stream = engine(StreamSpec(-100, 5))
    total = 0
    for start in range(0, 32_000, 1000):
        total += sum(len(b.samples) for b in stream.push(music(1)[start : start + 1000]))
        assert total <= stream.received


def test_broken_samples_are_silence_and_counted() -> None:
    samples = music(1)
    broken, silent = samples.copy(), samples.copy()
    broken[[100, 5000, 20_000]] = [np.nan, np.inf, -np.inf]
    silent[[100, 5000, 20_000]] = 0
    stream = engine(StreamSpec(-20, 5))
    np.testing.assert_array_equal(join(play(stream, broken)), join(play(engine(StreamSpec(-20, 5)), silent)))
    assert stream.bad_samples == 3


def test_output_is_finite_and_within_full_scale_whatever_the_codec_does() -> None:
    class Broken(FakeCodec):
        def decode_chunk(self, codes: torch.Tensor, state: tuple) -> tuple:
            audio, state = super().decode_chunk(codes, state)
            audio[:, ::7], audio[:, 1::7], audio[:, 2::7] = torch.nan, torch.inf, audio[:, 2::7] * 1e30
            return audio, state

    out = join(play(Engine(Broken(), FakeModel(), StreamSpec(-20, 5), FakeSampler(), 0), music(1) * 1e6))
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0


def test_gain_is_applied_before_listening_and_not_undone() -> None:
    spec, samples = StreamSpec(-20, 5), music(1)
    loud = join(play(engine(spec, gain_db=20 * np.log10(2)), samples))
    np.testing.assert_array_equal(loud, join(play(engine(spec), samples * np.float32(2))))


@pytest.mark.parametrize(("t_f", "k"), [(-20, 5), (0, 1), (25, 4), (-100, 7)])
def test_listening_first(t_f: int, k: int) -> None:
    """Silence, then the part sets in at its column with a fade, having heard everything before."""
    samples, column = music(3), 60
    out = join(play(engine(StreamSpec(t_f, k), first_column=column), samples))
    assert out.shape == samples.shape
    assert not out[: column * 640].any()
    assert out[column * 640 :].any()
    assert np.abs(np.diff(out[: column * 640 + FADE])).max() < 0.1
    other = samples.copy()
    other[:640] = 0.3
    assert not np.array_equal(out, join(play(engine(StreamSpec(t_f, k), first_column=column), other)))


def test_listening_longer_than_the_input_is_silence() -> None:
    assert not join(play(engine(StreamSpec(-20, 5), first_column=500), music(1))).any()


def test_memory_is_constant() -> None:
    stream = engine(StreamSpec(-4, 10))
    room = stream._ring.capacity
    for _ in range(30):
        stream.push(music(1))
        assert len(stream._held) <= 2
    assert stream._ring.capacity == room < 32_000


def test_misuse_is_refused() -> None:
    stream = engine(StreamSpec(50, 1))
    with pytest.raises(ValueError, match="no room"):
        stream.feed(np.zeros(200_000, np.float32))
    stream.finish()
    with pytest.raises(ValueError, match="has ended"):
        stream.push(np.zeros(10, np.float32))


def test_skipped_frames_fade_out_and_in_again() -> None:
    codes = torch.full((1, 4, 30), 900)
    codes[:, :, 10:20] = -1
    decoder = ChunkDecoder(FakeCodec())
    out = np.concatenate([decoder.decode(part) for part in codes.split([3, 7, 4, 11, 5], dim=2)])
    whole = ChunkDecoder(FakeCodec()).decode(torch.full((1, 4, 30), 900))
    assert out.shape == (30 * 640,)
    np.testing.assert_array_equal(out[: 10 * 640], whole[: 10 * 640])
    assert np.abs(out[10 * 640 : 10 * 640 + 200]).max() > 0.3  # what the codec still held
    assert not out[10 * 640 + 480 : 20 * 640 + 480].any()
    assert np.abs(np.diff(out)).max() <= 1.05 * np.abs(np.diff(whole)).max()
    np.testing.assert_array_equal(out[22 * 640 :], whole[22 * 640 :])
    onset = 20 * 640 + 480
    assert np.abs(out[onset : onset + 40]).max() < 0.1 < 0.5 < np.abs(whole[onset : onset + 40]).max()
