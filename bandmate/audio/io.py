"""Audio files in and out, in constant memory: mono float32 blocks, whatever libsndfile reads and writes."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from bandmate.audio.resample import StreamResampler

Mono = NDArray[np.float32]  # [S]

READ_BLOCK = 1 << 16  # samples, where the caller does not choose
_WRITE_BLOCK = 1 << 14  # libsndfile's Vorbis encoder overruns its stack on blocks of a few million samples

_WAV_LIMIT = (1 << 32) - (
    1 << 20
)  # bytes: its sizes are 32-bit numbers, and libsndfile writes on beyond them

# Suffix → libsndfile's container and default encoding. 24 bits instead of floats for .wav: equal samples then
# give equal files, while libsndfile stamps the time of day into a float file.
FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


class _Forward(soundfile.SoundFile):
    """Reads from front to end only: SoundFile seeks after each read, and an MP3 then decodes differently."""

    def seekable(self) -> bool:
        return False


class AudioReader:
    """A file as mono float32 blocks, from front to end, once.

    rate: Hz. channels, frames: as the file declares them (a broken MP3 may deliver fewer frames).
    bad_samples: NaN and infinite samples met so far; they were read as 0. delivered: frames read so far.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        _refuse_unreadable(self.path)
        try:
            self._file = _Forward(self.path)
        except (
            soundfile.LibsndfileError,
            TypeError,
        ) as error:  # TypeError: headerless formats want more arguments
            raise ValueError(
                f"cannot read {self.path} as audio: give a WAV, FLAC, OGG, MP3 or AIFF file"
            ) from error
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self.bad_samples = 0
        self.delivered = 0
        if self.frames < 1:
            self.close()
            raise ValueError(f"{self.path} holds no sound: it is 0 samples long")

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def blocks(self, size: int = READ_BLOCK) -> Iterator[Mono]:
        """Yield [size] samples at a time, the last block maybe shorter; channels are averaged.

        Raises ValueError where the file turns out damaged.
        """
        if size < 1:
            raise ValueError(f"a block holds at least 1 sample, not {size}")
        while len(block := self._read(size)):  # [S, C]
            self.delivered += len(block)
            yield self._mono(block)

    def _read(self, size: int) -> NDArray[np.float32]:
        try:
            return self._file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = self.delivered / self.rate
            raise ValueError(f"{self.path} is damaged after {at:.1f} s: repair or re-export it") from error

    def _mono(self, block: NDArray[np.float32]) -> Mono:
        finite = np.isfinite(block)
        if not finite.all():
            self.bad_samples += int(block.size - np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        if self.channels == 1:
            return block[:, 0]
        # In double: the sum of two finite float32 samples need not be finite.
        return block.mean(axis=1, dtype=np.float64).astype(np.float32)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_unreadable(path: Path) -> None:
    """One sentence for what libsndfile would call 'System error' or 'Format not recognised'."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: check the name") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: give an audio file") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read: check its permissions") from None
    if empty:
        raise ValueError(f"{path} is empty (0 bytes): give an audio file")


def open_audio(path: str | os.PathLike[str]) -> AudioReader:
    """Open a file for reading, whatever its format, rate and number of channels.

    Raises FileNotFoundError, PermissionError or ValueError with one sentence that says what to do.
    """
    return AudioReader(path)


def read_audio(path: str | os.PathLike[str], rate: int | None = None) -> tuple[Mono, int]:
    """A whole file as (mono float32 [S], its rate), resampled if `rate` is given. Errors as `open_audio`."""
    with open_audio(path) as reader:
        if rate is None:
            return np.concatenate(list(reader.blocks())), reader.rate
        resampler = StreamResampler(reader.rate, rate)
        blocks = [resampler.push(block) for block in reader.blocks()]
        return np.concatenate([*blocks, resampler.flush()]), rate


class _Sink:
    """The file that libsndfile writes to. It cannot pass on exceptions: the first is kept for the writer."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                return self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)  # nothing is kept any more; libsndfile may go on to its end

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.error is None:
            try:
                return self.file.seek(offset, whence)
            except OSError as error:  # a seek flushes
                self.error = error
        return 0

    def tell(self) -> int:
        return self.file.tell()


class AudioWriter:
    """Write mono float32 blocks to a new file that appears under its name only when it is complete.

    The suffix of `path` chooses the format (see FORMATS), `subtype` another encoding of libsndfile, such as
    "PCM_16" or "FLOAT". Equal samples give equal bytes except for .ogg (random stream number) and FLOAT (time
    stamp). Until `close`, or the end of a `with` block, the samples are in a hidden file beside the target;
    after an exception nothing is left.

    Raises ValueError or PermissionError for a target that cannot be; OSError such as a full disk passes
    unchanged.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int, subtype: str | None = None) -> None:
        self.path = Path(path)
        self.rate = rate
        self.frames = 0  # written so far
        container, default = _format_of(self.path)
        self._limit = _WAV_LIMIT if container == "WAV" else None
        self._target = _target(self.path)
        self._part = self._target.parent / f".bandmate-{os.getpid()}-{secrets.token_hex(4)}.part"
        self._sink = _Sink(_create(self._part, self.path))
        try:
            self._file = soundfile.SoundFile(self._sink, "w", rate, 1, subtype or default, format=container)
        except (soundfile.LibsndfileError, ValueError) as error:
            self._discard()
            encoding = f" with encoding {subtype}" if subtype else ""
            raise self._sink.error or ValueError(
                f"cannot write {rate} Hz as {self.path.suffix}{encoding}: choose .wav or another rate"
            ) from error

    def write(self, block: NDArray[np.floating]) -> None:
        """Append samples [S], clipped at ±1. ValueError for another shape and for NaN or infinity."""
        if block.ndim != 1:
            raise ValueError(f"a block is one channel [S], not {list(block.shape)}")
        if not np.isfinite(block).all():
            raise ValueError(f"{self.path} was to hold a sample that is not a number")
        for start in range(0, len(block), _WRITE_BLOCK):
            self._write(np.ascontiguousarray(block[start : start + _WRITE_BLOCK], dtype=np.float32))
        self.frames += len(block)

    def _write(self, block: Mono) -> None:
        if self._limit and self._sink.tell() > self._limit:
            raise ValueError(f"{self.path} would pass 4 GiB, the most that a WAV file can hold: write .flac")
        try:
            self._file.write(block)
        except (soundfile.LibsndfileError, AssertionError) as error:
            raise self._sink.error or OSError(errno.EIO, f"writing {self.path} failed") from error
        if self._sink.error:
            raise self._sink.error

    def close(self) -> None:
        """Finish the file and give it its name; again: nothing. On an error nothing is left behind."""
        if self._sink.file.closed:
            return
        try:
            self._file.close()
            if self._sink.error:
                raise self._sink.error
            self._sink.file.flush()
            os.fsync(self._sink.file.fileno())
            self._sink.file.close()
            os.replace(self._part, self._target)
        except BaseException:
            self._discard()
            raise

    def abort(self) -> None:
        """Leave nothing behind; what stood under the name before stays."""
        with suppress(soundfile.LibsndfileError, AssertionError):
            self._file.close()
        self._discard()

    def _discard(self) -> None:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._sink.file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _format_of(path: Path) -> tuple[str, str]:
    found = FORMATS.get(path.suffix.lower())
    if found is None or found[0] not in soundfile.available_formats():
        known = ", ".join(
            suffix for suffix, (name, _) in FORMATS.items() if name in soundfile.available_formats()
        )
        raise ValueError(f"cannot tell the format of {path} by its ending: use one of {known}")
    return found


def _target(path: Path) -> Path:
    """The file to replace, behind any links; refuses what is not an ordinary file, such as a device."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ValueError(f"{path} is a folder: give a file name")
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is not an ordinary file: give another name")
    return target


def _create(part: Path, path: Path) -> BinaryIO:
    """A new file with the usual permissions; errors speak of `path`, the name that the user gave."""
    try:
        return os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b")
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}, create it first") from None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise PermissionError(f"cannot write {path}: the folder {path.parent} is not writable") from None
