from pathlib import Path

import numpy as np
import pytest
import soundfile

from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, numbered, read_stem, slug, split_of
from tests.data.trees import cut, damage, forget_length, sound, write


def test_any_rate_and_channels_become_mono_at_32_khz(tmp_path: Path) -> None:
    for rate in (16000, 44100, 48000):
        audio = read_stem(write(tmp_path / f"{rate}.wav", seed=3, rate=rate, channels=2))
        assert audio.dtype == np.float32
        assert audio.shape == (32000,)
        assert np.argmax(np.abs(np.fft.rfft(audio))) == 200 + 37 * 3  # one bin is 1 Hz


@pytest.mark.parametrize("suffix", ["flac", "wav"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_samples_are_read_as_they_are(tmp_path: Path, suffix: str, subtype: str) -> None:
    file, audio = tmp_path / f"a.{suffix}", sound(0, rate=32000, channels=2)
    audio[:, 1] *= -0.5
    soundfile.write(file, audio, 32000, subtype)
    np.testing.assert_allclose(read_stem(file), audio.mean(axis=1), atol=2.0**-14)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_damaged_flac_is_named(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.flac", sound(0), 44100, subtype)
    read_stem(tmp_path / "a.flac")
    with pytest.raises(ValueError, match=r"a\.flac is .*damaged"):
        read_stem(damage(tmp_path / "a.flac"))


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_a_file_cut_short_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is (cut short|damaged)"):
        read_stem(cut(write(tmp_path / name, seconds=3)))


def test_what_is_no_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.flac").write_bytes(b"")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 32000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 32000, "FLOAT")
    for name, what in {"text.wav": "damaged", "empty.flac": "damaged", "nothing.wav": "short",
                       "nan.wav": "no numbers", "none.wav": "missing"}.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"{name}.*{what}"):
            read_stem(tmp_path / name)


def track(*files: tuple[Path, ...]) -> TrackFiles:
    stems = tuple(StemFiles(f"s{number}", number, each) for number, each in enumerate(files))
    return TrackFiles("t", "t", "t", "train", stems, ("told before",))


def test_stems_of_unequal_length_end_in_silence(tmp_path: Path) -> None:
    short, long = write(tmp_path / "a.wav", seconds=0.5), write(tmp_path / "b.wav", 1, seconds=2)
    read = track((short,), (long,), (short, long)).load()
    assert read.samples == 64000
    assert not read.stems[0].audio[16000:].any()
    np.testing.assert_allclose(read.stems[2].audio, read.stems[0].audio + read.stems[1].audio, atol=1e-7)
    assert read.meta["left_out"] == ["told before"]


def test_a_damaged_stem_is_left_out_and_named(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.flac"), damage(write(tmp_path / "b.flac", 1))
    read = track((bad,), (good,), (good, bad)).load()
    assert [stem.name for stem in read.stems] == ["s1"]
    assert len(read.meta["left_out"]) == 3
    assert all("b.flac" in reason for reason in read.meta["left_out"][1:])
    with pytest.raises(ValueError, match=r"b\.flac"):
        track((bad,)).load()


def test_the_length_is_that_of_the_first_readable_header(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("")
    assert track((tmp_path / "bad.wav",), (write(tmp_path / "a.wav", seconds=1.5),)).seconds == 1.5
    assert track((tmp_path / "bad.wav",)).seconds == 0


def test_names_of_files_are_plain(tmp_path: Path) -> None:
    assert slug("Bö & Co - Zwei (2)") == "Bo-Co---Zwei-2"
    assert slug("雨") == slug("雨") != slug("雪")
    a = track((write(tmp_path / "a.wav"),))
    with pytest.raises(ValueError, match="two tracks are named 't'"):
        numbered([a, a])


def test_a_split_by_name_keeps_its_shares() -> None:
    splits = [split_of(f"artist {number}") for number in range(2000)]
    assert splits == [split_of(f"artist {number}") for number in range(2000)]
    assert 0.77 < splits.count("train") / 2000 < 0.83
    assert 0.06 < splits.count("valid") / 2000 < 0.10


def test_a_flac_from_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    told = write(tmp_path / "told.flac", seconds=3, channels=2)
    piped = forget_length(write(tmp_path / "piped.flac", seconds=3, channels=2))
    assert soundfile.info(piped).frames > 1e18
    np.testing.assert_array_equal(read_stem(piped), read_stem(told))
    assert track((piped,)).seconds == 0
    assert track((piped,), (told,)).seconds == 3
    assert Listing((track((piped,)), track((told,)))).mean_seconds() == 3
