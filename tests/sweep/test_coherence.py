"""The ranking of true and wrong stems, with networks that know what to say."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.cli import main
from bandmate.data.render import load_track
from bandmate.perceive.coherence import CoherenceConfig, CoherenceEncoder, save_encoder
from bandmate.perceive.hpss import MODES
from bandmate.sweep.clips import Place
from bandmate.sweep.coherence import (
    RankingConfig,
    above,
    half_beat,
    make_case,
    markdown,
    measure,
    shifted,
    transposed,
)
from tests.evaluate.sounds import tone


class Deaf:
    """Gives every pair the same score."""

    def features(self, audio: Tensor) -> Tensor:
        return audio

    def embed(self, features: Tensor, mode: str) -> Tensor:
        return torch.ones(len(features), 2)

    def similarity(self, mix: Tensor, stem: Tensor) -> Tensor:
        return mix @ stem.T


class Knowing(Deaf):
    """Goes by the order in which a case is given: the mix and the true stem score 1 together, all else 0."""

    def __init__(self) -> None:
        self.songs: dict[float, int] = {}

    def embed(self, features: Tensor, mode: str) -> Tensor:
        song = float(features[1].abs().sum())
        rows = torch.zeros(len(features), 64)
        rows[:2, self.songs.setdefault(song, len(self.songs))] = 1.0
        return rows


@pytest.fixture(scope="module")
def cases(rendered: Path) -> RankingConfig:
    return RankingConfig(clips=8)


def test_chance_is_a_half(rendered: Path, cases: RankingConfig) -> None:
    report = measure(Deaf(), rendered, "test", cases)
    means = [row[mode]["mean"] for row in report["rows"] for mode in MODES if row[mode]["values"]]
    assert means
    assert set(means) == {0.5}


def test_who_knows_is_always_right(rendered: Path, cases: RankingConfig) -> None:
    report = measure(Knowing(), rendered, "test", cases)
    rows = {(row["wrong"], row["group"]): row for row in report["rows"]}
    for wrong in ("other", "shifted", "semitone"):
        assert rows[wrong, "all"]["both"]["mean"] == 1.0
    assert rows["semitone, same vocoder", "all"]["both"]["mean"] == 0.5
    counted = [rows["shifted", group]["both"]["values"] for group in ("all", "drums", "others")]
    assert counted[0] == counted[1] + counted[2] == 8
    assert "8 clips of 5 s of 4 songs" in markdown(report)


def test_the_sounds_of_a_case(rendered: Path) -> None:
    track = load_track(sorted((rendered / "test").glob("*.json"))[0])
    place = Place(track.id, 25, 250, 0, (1, 2))
    case = make_case(track, place, np.random.default_rng(0))
    assert {len(sound) for sound in case.sounds.values()} == {80_000}
    lag = half_beat(track, 16_000)
    assert lag == round(0.31 / 2 * 16_000)
    true, late = case.sounds["true"], case.sounds["shifted"]
    best = max(
        np.abs(np.corrcoef(true[lag:], late[:-lag])[0, 1]), np.abs(np.corrcoef(true[:-lag], late[lag:])[0, 1])
    )
    assert best > 0.99
    untimed = dataclasses.replace(track, meta={})
    assert np.isnan(make_case(untimed, place, np.random.default_rng(0)).sounds["shifted"]).all()


def test_a_shift_stays_within_the_track() -> None:
    audio = np.arange(240_000, dtype=np.float32)
    assert shifted(audio, 0, 80_000, -100, 16_000)[0] == 100
    assert shifted(audio, 160_000, 80_000, 100, 16_000)[0] == 159_900
    assert np.isnan(shifted(audio[:80_050], 0, 80_000, 100, 16_000)).all()


def test_a_semitone_is_a_semitone() -> None:
    moved = transposed(tone(440.0, 3.0)[:80_000], 1)  # made for 32 kHz: 220 Hz at 16 kHz
    spectrum = np.abs(np.fft.rfft(moved * np.hanning(len(moved))))
    assert len(moved) == 80_000
    assert np.argmax(spectrum) / 5 == pytest.approx(220 * 2 ** (1 / 12), abs=1.0)


def test_draws_and_gaps() -> None:
    found = above(np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.0, 1.0, 2.0, np.nan]))
    np.testing.assert_array_equal(found, [1.0, 0.5, 0.0, np.nan])


def test_command(rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", CoherenceEncoder(CoherenceConfig(16, 1, 16, 1, 2, 4, 8)), {})
    arguments = ["evaluate", "coherence", "--rendered", str(rendered), "--network", str(tmp_path / "encoder")]
    assert main([*arguments, "--clips", "4", "--json", str(tmp_path / "out.json")]) == 0
    assert "same class, another song" in capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["clips"] == 4
    assert report["split"] == "test"
    assert main([*arguments[:-1], str(tmp_path / "nothing")]) == 2
    assert "holds no config.yaml" in capsys.readouterr().err
