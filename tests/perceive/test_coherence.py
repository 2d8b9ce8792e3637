import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bandmate.checkpoint import available
from bandmate.perceive.coherence import (
    ASSET,
    CoherenceConfig,
    CoherenceEncoder,
    chroma,
    load_encoder,
    onsets,
    save_encoder,
)
from bandmate.perceive.hpss import CHUNK, MODES, RATE
from bandmate.perceive.two_windows import LOWEST, SPARE, joined, powers, tones_and_strokes

TIME = torch.arange(CHUNK) / RATE
SMALL = CoherenceConfig(16, 1, 16, 1, 2, 4, 8)


def note(midi: int) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * 440.0 * 2 ** ((midi - 69) / 12) * TIME)


def clicks(period: float, start: float = 0.1) -> torch.Tensor:
    audio = torch.zeros(CHUNK)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, 160)).float()
    for at in np.arange(start, 4.9, period):
        audio[round(at * RATE) : round(at * RATE) + 160] += noise
    return audio


@pytest.fixture(scope="module")
def encoder() -> CoherenceEncoder:
    torch.manual_seed(0)
    return CoherenceEncoder(SMALL).eval()


@pytest.fixture(scope="module")
def some() -> torch.Tensor:
    return tones_and_strokes(torch.stack([note(60), clicks(0.5), note(67) + clicks(0.4)]))


@pytest.mark.parametrize("midi", [45, 57, 69, 81, 96])
def test_a_note_lies_in_its_own_semitone_band(midi: int) -> None:
    tones, strokes = powers(note(midi))  # their edges, where the note begins and ends, are strokes
    middle = tones[:, 20:-20].mean(dim=1)
    assert int(middle.argmax()) == midi - LOWEST + SPARE
    assert middle.max() > strokes[:, 40:-40].max() + 20


def test_neighbouring_semitones_are_told_apart_from_200_hz_on() -> None:
    for midi in (56, 64, 76):
        bands = powers(note(midi))[0][:, 20:-20].mean(dim=1)
        place = midi - LOWEST + SPARE
        assert bands[place] - max(bands[place - 1], bands[place + 1]) > 3


def test_clicks_are_strokes() -> None:
    tones, strokes = powers(clicks(0.5))
    onsets = strokes.amax(dim=0)
    peaks = [int(onsets[frame - 3 : frame + 4].argmax()) + frame - 3 for frame in range(30, 230, 25)]
    assert [peak % 25 for peak in peaks] == [peaks[0] % 25] * len(peaks)
    assert strokes.max() > tones.max() + 10


def test_features_know_no_loudness_and_have_a_floor() -> None:
    quiet, loud = tones_and_strokes(torch.stack([0.02 * (note(60) + clicks(0.5)), note(60) + clicks(0.5)]))
    torch.testing.assert_close(quiet, loud, atol=0.05, rtol=0)
    assert loud.shape == (2, 64, 250)
    assert loud.amax(dim=(1, 2)).tolist() == [0.0, 0.0]
    assert loud.min() >= -80


def test_moving_the_bands_is_moving_the_pitch() -> None:
    up = joined(*powers(note(60)), moved=3)
    torch.testing.assert_close(
        up[0, :, 40:-40].mean(1).argmax(), joined(*powers(note(63)))[0, :, 40:-40].mean(1).argmax()
    )


def test_silence_is_finite() -> None:
    assert torch.equal(tones_and_strokes(torch.zeros(CHUNK)), torch.zeros(2, 64, 250))


@pytest.mark.parametrize(("mode", "masked"), [("harmonic", 1), ("percussive", 0)])
def test_a_mode_masks_the_other_half(
    encoder: CoherenceEncoder, some: torch.Tensor, mode: str, masked: int
) -> None:
    changed, other = some.clone(), some.clone()
    changed[:, masked] = torch.randn_like(changed[:, masked])
    other[:, 1 - masked] -= torch.rand_like(other[:, masked]) * 40
    floor = some.clone()
    floor[:, masked] = -80.0
    heard = encoder.embed(some, mode)
    assert torch.equal(heard, encoder.embed(changed, mode))
    torch.testing.assert_close(heard, encoder.embed(floor, "both"))
    assert not torch.allclose(heard, encoder.embed(other, mode), atol=1e-3)
    assert not torch.allclose(heard, encoder.embed(some, "both"), atol=1e-3)


def test_both_hears_both(encoder: CoherenceEncoder, some: torch.Tensor) -> None:
    for half in (0, 1):
        changed = some.clone()
        changed[:, half] = -80.0
        assert not torch.allclose(encoder.embed(some), encoder.embed(changed), atol=1e-3)


def test_embedding_does_not_depend_on_its_batch(encoder: CoherenceEncoder, some: torch.Tensor) -> None:
    for mode in MODES:
        together = encoder.embed(some, mode)
        torch.testing.assert_close(together[1:2], encoder.embed(some[1:2], mode), atol=1e-5, rtol=1e-4)


def test_similarity_is_bilinear_in_this_order(encoder: CoherenceEncoder, some: torch.Tensor) -> None:
    embedded = encoder.embed(some)
    torch.manual_seed(1)
    for form in encoder.forms:
        form.data += 0.5 * torch.randn_like(form)
    table = encoder.similarity(embedded, embedded[:2])
    assert table.shape == (3, 2)
    assert not torch.allclose(table[:2], table[:2].T, atol=1e-4)
    torch.testing.assert_close(encoder.similarity(2 * embedded[:1], embedded[:2]), 2 * table[:1])
    expected = sum(
        weight
        * torch.einsum("td,de,te->", a.unflatten(0, (-1, len(form))), form, b.unflatten(0, (-1, len(form))))
        for weight, form, a, b in zip(
            encoder.weights.exp(),
            encoder.forms,
            encoder.split(embedded)[:],
            encoder.split(embedded),
            strict=True,
        )
        for a, b in [(a[2], b[1])]
    )
    torch.testing.assert_close(table[2, 1], expected)


def test_onsets_and_chroma_know_time_and_key() -> None:
    beat, late = (onsets(tones_and_strokes(clicks(0.48, start))[None, 1]) for start in (0.1, 0.34))
    assert cosine(beat, late) < 0.1  # half a period, six frames, apart
    assert cosine(beat[..., 6:-6].roll(6, dims=2)[..., 6:], late[..., 12:-6]) > 0.8
    c_major, c_bass, c_sharp = (
        chroma(tones_and_strokes(sum(map(note, notes)))[None, 0, :, ::2])  # type: ignore[arg-type]
        for notes in ((60, 64, 67), (48,), (49,))
    )
    assert cosine(c_major, c_bass) > 0.4 > 0.2 > cosine(c_major, c_sharp)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_other_features_and_modes_are_refused(encoder: CoherenceEncoder, some: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not this encoder's features"):
        encoder.embed(torch.zeros(1, 2, 64, 501))
    with pytest.raises(ValueError, match="no mode 'bass'"):
        encoder.embed(some, "bass")  # type: ignore[arg-type]


def test_embeddings_for_a_distance(encoder: CoherenceEncoder) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 10 * 32_000).astype(np.float32)
    assert encoder.embeddings(audio, 32_000).shape == (3, SMALL.summary_size)
    assert encoder.embeddings(audio[:32_000], 32_000).shape == (1, SMALL.summary_size)


def test_saved_and_loaded(encoder: CoherenceEncoder, some: torch.Tensor, tmp_path: Path) -> None:
    save_encoder(tmp_path, encoder, {"songs": 3})
    again = load_encoder(tmp_path)
    assert again.config == encoder.config
    assert not again.training
    torch.testing.assert_close(again.embed(some), encoder.embed(some), atol=5e-3, rtol=0)


def test_what_cannot_be_loaded_is_told(encoder: CoherenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no config\.yaml"):
        load_encoder(tmp_path / "nothing")
    save_encoder(tmp_path, encoder, {})
    file = tmp_path / "encoder.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"does not fit its config\.yaml"):
        load_encoder(tmp_path)
    save_encoder(tmp_path, CoherenceEncoder(dataclasses.replace(SMALL, stroke_width=8)), {})
    file.write_bytes(whole)
    with pytest.raises(ValueError, match=r"does not fit its config\.yaml"):
        load_encoder(tmp_path)
    (tmp_path / "config.yaml").write_text("encoder: {depth: 3}\n")
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        load_encoder(tmp_path)


def test_the_bundled_encoder_is_small_and_no_model_to_play() -> None:
    files = sorted(path.name for path in ASSET.iterdir())
    assert files == ["MODEL_CARD.md", "config.yaml", "encoder.safetensors"]
    assert sum((ASSET / name).stat().st_size for name in files) < 6_000_000
    assert "coherence" not in available()
    assert load_encoder().config == CoherenceConfig()


def test_the_bundled_encoder_tells_time_and_key() -> None:
    bundled = load_encoder()
    chords = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
    basses = ((36,), (41,), (43,), (36,))
    drums = clicks(0.6, 0.05)
    mix = song(chords) + drums
    stems = {
        "bass": song(basses),
        "bass in another key": song([(note + 1,) for (note,) in basses]),
        "clicks": clicks(0.3, 0.05),
        "clicks between": clicks(0.6, 0.20),
        "on the beat": clicks(0.6, 0.05),
    }
    features = bundled.features(torch.stack([mix, *stems.values()]))
    scored = {}
    for mode in MODES:
        embedded = bundled.embed(features, mode)
        scored[mode] = dict(
            zip(stems, bundled.similarity(embedded[:1], embedded[1:])[0].tolist(), strict=True)
        )
    for mode in ("both", "harmonic"):
        assert scored[mode]["bass"] > scored[mode]["bass in another key"]
    for mode in ("both", "percussive"):
        assert scored[mode]["on the beat"] > scored[mode]["clicks between"]
        assert scored[mode]["clicks"] > scored[mode]["clicks between"]


def song(bars: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Each of four chords or notes for 1.2 s, with overtones."""
    audio = torch.zeros(CHUNK)
    for index, notes in enumerate(bars):
        part = slice(round(index * 1.2 * RATE), round((index + 1) * 1.2 * RATE))
        fade = torch.exp(-torch.arange(part.stop - part.start) / RATE)
        for midi in notes:
            for overtone, shift in ((1, 0), (2, 12), (3, 19), (4, 24)):
                audio[part] += note(midi + shift)[part] * fade / overtone / len(notes)
    return audio
