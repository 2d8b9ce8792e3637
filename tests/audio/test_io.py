import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bandmate.audio import io
from bandmate.audio.io import AudioWriter, open_audio, read_audio

RATES = (8000, 22050, 32000, 44100, 48000, 96000, 192000)


def tone(samples: int, rate: int = 32000, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading.


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_reads_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int) -> None:
    audio = np.stack([tone(rate // 10, rate, 200.0 * (c + 1)) for c in range(channels)], axis=1)
    soundfile.write(tmp_path / "in.wav", audio, rate, subtype="FLOAT")
    with open_audio(tmp_path / "in.wav") as reader:
        assert (reader.rate, reader.channels, reader.frames) == (rate, channels, rate // 10)
        blocks = list(reader.blocks(777))
        assert reader.delivered == reader.frames
        assert reader.seconds == pytest.approx(0.1)
    assert all(len(block) == 777 for block in blocks[:-1])
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), audio.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_U8"),
        ("wav", "PCM_16"),
        ("wav", "PCM_32"),
        ("wav", "DOUBLE"),
        ("aiff", "PCM_24"),
        ("flac", "PCM_16"),
        ("ogg", "VORBIS"),
        ("ogg", "OPUS"),
        ("mp3", "MPEG_LAYER_III"),
        ("au", "PCM_16"),
        ("w64", "PCM_16"),
    ],
)
def test_reads_any_format(tmp_path: Path, suffix: str, subtype: str) -> None:
    audio = tone(48000, 48000)
    soundfile.write(tmp_path / f"in.{suffix}", audio, 48000, subtype=subtype)
    read, rate = read_audio(tmp_path / f"in.{suffix}")
    assert rate == 48000
    assert len(read) == len(audio)
    middle = slice(4800, 43200)  # lossy codecs ring at the ends
    assert np.abs(read[middle] - audio[middle]).max() < 0.02


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("size", [1, 640, 4410, 1 << 20])
def test_the_size_of_the_blocks_changes_nothing(
    tmp_path: Path, rng: np.random.Generator, suffix: str, size: int
) -> None:
    soundfile.write(tmp_path / f"in.{suffix}", 0.1 * rng.standard_normal(10_000), 44100)
    whole, _ = read_audio(tmp_path / f"in.{suffix}")
    with open_audio(tmp_path / f"in.{suffix}") as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(size))), whole)


def test_what_is_no_number_is_read_as_0_and_counted(tmp_path: Path) -> None:
    audio = np.full((1000, 2), 0.5, np.float32)
    audio[10:20, 0] = np.nan
    audio[15, 1] = np.inf
    audio[999] = -np.inf
    soundfile.write(tmp_path / "in.wav", audio, 32000, subtype="FLOAT")
    with open_audio(tmp_path / "in.wav") as reader:
        read = np.concatenate(list(reader.blocks(64)))
        assert reader.bad_samples == 13
    expected = np.full(1000, 0.5)
    expected[10:20], expected[15], expected[999] = 0.25, 0.0, 0.0
    np.testing.assert_array_equal(read, expected)


def test_huge_samples_stay_finite(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.full((10, 4), 3e38, np.float32), 32000, subtype="FLOAT")
    read, _ = read_audio(tmp_path / "in.wav")
    assert np.isfinite(read).all()


@pytest.mark.parametrize("samples", [1, 80, 320])
def test_reads_the_very_short_and_the_silent(tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(samples), 8000)
    read, _ = read_audio(tmp_path / "in.wav")
    np.testing.assert_array_equal(read, np.zeros(samples))


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_reads_at_the_rate_that_is_asked_for(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "in.wav", tone(rate, rate), rate, subtype="FLOAT")
    read, got = read_audio(tmp_path / "in.wav", rate=32000)
    assert got == 32000
    assert len(read) == 32000
    np.testing.assert_allclose(read[1600:-1600], tone(32000)[1600:-1600], atol=1e-4)


def bad_inputs(folder: Path) -> dict[str, tuple[Path, type[Exception], str]]:
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no sound\n" * 40)
    (folder / "headerless.raw").write_bytes(bytes(100))
    soundfile.write(folder / "none.wav", np.zeros(0), 32000)
    return {
        "missing": (folder / "missing.wav", FileNotFoundError, "there is no file"),
        "folder": (folder, ValueError, "is a folder"),
        "empty": (folder / "empty.wav", ValueError, "is empty"),
        "text": (folder / "text.wav", ValueError, "as audio"),
        "headerless": (folder / "headerless.raw", ValueError, "as audio"),
        "zero-length": (folder / "none.wav", ValueError, "holds no sound"),
    }


@pytest.mark.parametrize("case", ["missing", "folder", "empty", "text", "headerless", "zero-length"])
def test_bad_input_gives_one_clear_line(tmp_path: Path, case: str) -> None:
    path, kind, text = bad_inputs(tmp_path)[case]
    with pytest.raises(kind, match=text) as caught:
        open_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom nothing is refused
    with pytest.raises(PermissionError, match="may not be read: check its permissions"):
        open_audio(tmp_path / "secret.wav")


def test_a_file_damaged_half_way_says_where(tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "in.flac", 0.1 * rng.standard_normal(64000), 32000)
    data = (tmp_path / "in.flac").read_bytes()
    (tmp_path / "in.flac").write_bytes(data[: len(data) // 2])
    with open_audio(tmp_path / "in.flac") as reader:
        with pytest.raises(ValueError, match=r"damaged after 0\.\d s"):
            list(reader.blocks(3200))


def test_a_block_has_a_size(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(10), 32000)
    with open_audio(tmp_path / "in.wav") as reader, pytest.raises(ValueError, match="at least 1 sample"):
        next(reader.blocks(0))


# Writing.


@pytest.mark.parametrize(
    ("name", "subtype", "atol"),
    [
        ("out.wav", None, 2e-7),
        ("out.wav", "FLOAT", 0),
        ("out.wav", "PCM_16", 4e-5),
        ("out.flac", None, 2e-7),
        ("OUT.FLAC", "PCM_16", 4e-5),
        ("out.ogg", None, 0.02),
        ("out.mp3", None, 0.02),
    ],
)
def test_what_was_written_is_read(tmp_path: Path, name: str, subtype: str | None, atol: float) -> None:
    audio = tone(32000)
    with AudioWriter(tmp_path / name, 32000, subtype) as writer:
        for start in range(0, len(audio), 999):
            writer.write(audio[start : start + 999])
        assert writer.frames == len(audio)
    read, rate = read_audio(tmp_path / name)
    assert rate == 32000
    assert len(read) == len(audio)
    middle = slice(3200, 28800) if atol > 1e-3 else slice(None)
    assert np.abs(read[middle] - audio[middle]).max() <= atol
    assert left_in(tmp_path) == [name]


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_equal_samples_give_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        with AudioWriter(tmp_path / f"{name}.{suffix}", 32000) as writer:
            writer.write(tone(5000))
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_very_long_block_is_written(tmp_path: Path, rng: np.random.Generator) -> None:
    audio = (0.1 * rng.standard_normal(3_000_000)).astype(np.float32)
    with AudioWriter(tmp_path / "out.ogg", 44100) as writer:
        writer.write(audio)
    assert open_audio(tmp_path / "out.ogg").frames == len(audio)


def test_the_target_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    target.write_text("old")
    writer = AudioWriter(target, 32000)
    writer.write(tone(100))
    assert target.read_text() == "old"
    writer.close()
    writer.close()  # again: nothing
    assert open_audio(target).frames == 100
    assert left_in(tmp_path) == ["out.wav"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_new(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old.wav").write_text("old")
    for name in ("old.wav", "new.wav"):
        with pytest.raises(error), AudioWriter(tmp_path / name, 32000) as writer:
            writer.write(tone(100))
            raise error
    assert left_in(tmp_path) == ["old.wav"]
    assert (tmp_path / "old.wav").read_text() == "old"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond `size` bytes: like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("seconds", [1, 20])  # the first fails at the end only, for some formats
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, suffix: str, seconds: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(32000)
    with largest_file(2000), pytest.raises(OSError, match="File too large"):
        with AudioWriter(tmp_path / f"out.{suffix}", 32000) as writer:
            for _ in range(seconds):
                writer.write(noise)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_disk_without_any_room(tmp_path: Path, suffix: str) -> None:
    with largest_file(0), pytest.raises(OSError, match="File too large"):
        with AudioWriter(tmp_path / f"out.{suffix}", 32000) as writer:
            writer.write(tone(10))
    assert left_in(tmp_path) == []


def test_closing_by_hand_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "out.wav", 32000)
    with largest_file(1000):
        with pytest.raises(OSError, match="File too large"):
            writer.write(tone(100_000))
        with pytest.raises(OSError, match="File too large"):
            writer.close()
    writer.close()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no/such/folder/out.wav", "there is no folder"),
        ("file.txt/out.wav", "there is no folder"),
        ("out", "use one of .wav, .flac, .ogg, .mp3"),
        ("out.aac", "use one of .wav, .flac, .ogg, .mp3"),
        ("folder.wav", "is a folder"),
        ("pipe.wav", "not an ordinary file"),
    ],
)
def test_a_target_that_cannot_be_gives_one_clear_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    before = left_in(tmp_path)
    with pytest.raises(ValueError, match=text) as caught:
        AudioWriter(tmp_path / name, 32000)
    assert str(tmp_path / name) in str(caught.value)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("code", ["EACCES", "EROFS"])
def test_a_folder_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(getattr(io.errno, code), "refused")

    monkeypatch.setattr(io.os, "open", refuse)  # the tests may run as root, whom nothing is refused
    with pytest.raises(PermissionError, match="is not writable"):
        AudioWriter(tmp_path / "out.wav", 32000)


def test_a_rate_or_encoding_that_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot write 192000 Hz as \.mp3"):
        AudioWriter(tmp_path / "out.mp3", 192000)
    with pytest.raises(ValueError, match="with encoding OPUS"):
        AudioWriter(tmp_path / "out.wav", 48000, "OPUS")
    assert left_in(tmp_path) == []


def test_a_wav_file_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "_WAV_LIMIT", 200_000)  # 4 GiB take too long
    with pytest.raises(ValueError, match=r"the most that a WAV file can hold: write \.flac"):
        with AudioWriter(tmp_path / "out.wav", 32000) as writer:
            for _ in range(10):
                writer.write(tone(32000))
    assert left_in(tmp_path) == []
    with AudioWriter(tmp_path / "out.flac", 32000) as writer:
        writer.write(np.random.default_rng(0).uniform(-1, 1, 100_000))


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real" / "out.wav")
    with AudioWriter(tmp_path / "link.wav", 32000) as writer:
        writer.write(tone(10))
    assert (tmp_path / "link.wav").is_symlink()
    assert open_audio(tmp_path / "real" / "out.wav").frames == 10


def test_refuses_blocks_that_are_no_mono_sound(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "out.wav", 32000) as writer:
        with pytest.raises(ValueError, match="one channel"):
            writer.write(np.zeros((10, 2)))
        with pytest.raises(ValueError, match="not a number"):
            writer.write(np.array([0.0, np.nan]))
        writer.write(np.array([2.0, -2.0]))  # clipped, never wrapped round
    read, _ = read_audio(tmp_path / "out.wav")
    np.testing.assert_allclose(read, [1, -1], atol=1e-6)


HOUR = """
import resource, sys
import numpy as np
from bandmate.audio.io import AudioWriter, open_audio
from bandmate.audio.resample import StreamResampler

def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

second = 0.1 * np.random.default_rng(0).standard_normal(44100)
with AudioWriter(sys.argv[1], 44100, "PCM_16") as writer:
    for _ in range(int(sys.argv[3])):
        writer.write(second)
with open_audio(sys.argv[1]) as reader, AudioWriter(sys.argv[2], 44100) as writer:
    there, back = StreamResampler(reader.rate, 32000), StreamResampler(32000, reader.rate)
    for n, block in enumerate(reader.blocks(44100)):
        writer.write(back.push(there.push(block)))
        if n == 20:
            warm = resident()
    writer.write(back.push(there.flush()))
    writer.write(back.flush())
print(reader.frames, writer.frames, resident() - warm)
"""


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOUR, str(tmp_path / "in.wav"), str(tmp_path / "out.flac"), "3600"]
    root = Path(io.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    read, written, grown = map(int, done.stdout.split())
    assert read == written == 3600 * 44100
    assert grown < 16 * 1024  # KiB; the file itself is 300 MB
