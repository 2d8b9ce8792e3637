"""The bundled clip is what it says: an unseen song, its bass missing, at a sane level."""

import json
from pathlib import Path

import numpy as np
import soundfile

from bandmate.audio.loudness import activity
from bandmate.data import pack
from bandmate.data.demo import best_start, write_demo
from bandmate.data.midi import read_midi
from bandmate.data.stems import Stem, Track
from bandmate.instruments import BASS, lookup
from tests.data.midi_files import band

DEMO = pack.ASSETS.parent / "demo"


def test_the_bundled_clip() -> None:
    about = json.loads((DEMO / "demo.json").read_text(encoding="utf-8"))
    (heard, rate), (target, target_rate) = (
        soundfile.read(DEMO / f"{n}.flac") for n in ("demo", "demo_target")
    )
    assert rate == target_rate == about["sample_rate"] == 32000
    assert heard.shape == target.shape == (24 * rate,)
    assert abs(20 * np.log10(np.sqrt(np.mean(heard**2))) + 20) < 1
    assert np.abs(heard + target).max() < 1
    assert activity(heard).mean() > 0.95
    assert activity(target).mean() > 0.8
    assert len(about["heard"]) >= 5
    assert "Percussive" in about["heard"]
    assert lookup(about["missing"]) == BASS
    assert all(lookup(name) != BASS for name in about["heard"])
    assert {entry.path: entry.split for entry in pack.read_split()}[about["midi"]] == "test" == about["split"]


def test_the_clip_is_cut_without_its_bass(tmp_path: Path) -> None:
    time = np.arange(32000) / 32000
    stems = [
        Stem(np.float32(0.1) * np.sin(2 * np.pi * f * time).astype(np.float32), k)
        for f, k in ((80, BASS), (440, 0))
    ]
    write_demo(Track("t", "s", "c", "test", tuple(stems)), tmp_path, {"missing": "Bass"})
    for name, hertz, level in (("demo", 440, -20.0), ("demo_target", 80, -20.0)):
        audio, _ = soundfile.read(tmp_path / f"{name}.flac")
        assert np.abs(np.fft.rfft(audio)).argmax() == hertz
        assert abs(20 * np.log10(np.std(audio)) - level) < 0.1


def test_the_excerpt_starts_on_a_beat_where_all_play(tmp_path: Path) -> None:
    song = read_midi(band(tmp_path / "a.mid"))
    start = best_start(song, 4.0)
    assert start in song.beats
    assert all(part.sounding(start, start + 4.0) >= 2.0 for part in song.parts)
