"""The delay of a sound card, measured: sweeps out, the same sweeps back in, found again by cross-correlation.

`delay_of` is a function of arrays; `play_and_record` is all that knows a device.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating]  # [S]

SWEEP_SECONDS, LOUDNESS = 0.25, 0.5
LOW, HIGH = 150.0, 12_000.0  # Hz, what loudspeakers and microphones carry
LONGEST = 2.0  # seconds: no sound card has more
SILENT = 1e-4  # full scale, -80 dB
HEARD, CLEAR = 6.0, 10.0  # peak of the correlation over the RMS of the rest; noise alone reaches about 5
APART = 0.005  # seconds by which the repeats may differ: 50 ppm between two clocks are 0.0005 in ten seconds


@dataclass(frozen=True)
class Delay:
    """Seconds from playing a sample to reading it back: median of the repeats, largest minus smallest of them.

    ``clearness``: the least peak of the correlation over the RMS of the rest. ``clipped``: the recording was.
    """

    seconds: float
    spread: float
    repeats: int
    clearness: float
    clipped: bool


def sweep(rate: int) -> Samples:
    """A logarithmic sweep with soft ends, [S] float32 within LOUDNESS."""
    count = round(SWEEP_SECONDS * rate)
    t = np.arange(count) / rate
    growth = np.log(min(HIGH, 0.45 * rate) / LOW)
    phase = 2 * np.pi * LOW * SWEEP_SECONDS / growth * np.expm1(growth * t / SWEEP_SECONDS)
    fade = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.02 * rate))
    return (LOUDNESS * np.sin(phase) * np.sin(0.5 * np.pi * fade) ** 2).astype(np.float32)


def interval(rate: int) -> int:
    """Samples from one sweep to the next: the longest delay and the sweep itself."""
    return round((LONGEST + SWEEP_SECONDS) * rate)


def sweeps(rate: int, repeats: int) -> Samples:
    """What is played, [repeats * interval] float32: sweeps, and silence long enough for the slowest card."""
    one = np.zeros(interval(rate), dtype=np.float32)
    own = sweep(rate)
    one[: len(own)] = own
    return np.tile(one, repeats)


def delay_of(recording: Samples, rate: int, repeats: int) -> Delay:
    """recording [S], taken from the first sample of `sweeps` on -> where the sweeps lie in it.

    Any polarity, any level; to a small part of a sample. ValueError in one sentence when they cannot be found.
    """
    recording = np.nan_to_num(np.asarray(recording, dtype=np.float64), posinf=0.0, neginf=0.0)
    loudest = float(np.abs(recording).max(initial=0.0))
    if loudest < SILENT:
        raise ValueError(
            "no signal came back, only silence: connect the output to the input, or a loudspeaker to a "
            "microphone, and turn both up"
        )
    own, size = sweep(rate).astype(np.float64), interval(rate)
    windows = [recording[start : start + size] for start in range(0, repeats * size, size)]
    found = [peak(window, own, round(LONGEST * rate)) for window in windows if len(window) >= len(own)]
    clear = [(place, height) for place, height in found if height >= CLEAR]
    if 2 * len(clear) <= repeats:
        raise ValueError(not_found([height for _, height in found], recording))
    delays = [place / rate for place, _ in clear]
    check(delays, rate)
    return Delay(
        statistics.median(delays),
        max(delays) - min(delays),
        len(delays),
        min(height for _, height in clear),
        bool(np.count_nonzero(np.abs(recording) >= 0.999) > 3),
    )


def peak(window: Samples, own: Samples, most: int) -> tuple[float, float]:
    """Where ``own`` lies in the window, in samples and parts of one, at most ``most``; peak over RMS of the rest."""
    size = 1 << (len(window) + len(own) - 1).bit_length()
    product = np.fft.rfft(window, size) * np.fft.rfft(own, size).conj()
    correlation = np.abs(np.fft.irfft(product, size)[: min(most, len(window)) + 1])
    at = int(np.argmax(correlation))
    near = len(own) // 5
    rest = np.concatenate([correlation[: max(0, at - near)], correlation[at + near :]])
    level = float(np.sqrt(np.mean(rest**2))) if len(rest) else 0.0
    return at + vertex(correlation, at), float(correlation[at]) / max(
        level, 1e-12 * float(correlation[at]), 1e-30
    )


def vertex(values: Samples, at: int) -> float:
    """Where a parabola through the greatest value and its neighbours is highest, from -0.5 to 0.5 beside it."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend else 0.0


def not_found(heights: Sequence[float], recording: Samples) -> str:
    """Why the sweeps were not found, and what to do."""
    level = 20 * np.log10(np.sqrt(np.mean(recording**2)))
    if statistics.median(heights or [0.0]) < HEARD:
        return (
            f"something was recorded ({level:.0f} dB), but none of the sweeps within {LONGEST:g} s: output and "
            "input are not wired, or noise covers them: choose others with --output and --input, or turn the output up"
        )
    return (
        f"the sweeps came back, but too noisy to be trusted ({level:.0f} dB recorded): turn the output up, "
        "or connect output and input by a cable"
    )


def check(delays: Sequence[float], rate: int) -> None:
    """ValueError for delays that no sound card has."""
    if max(delays) - min(delays) > APART:
        raise ValueError(
            f"the repeats differ: {1000 * min(delays):.1f} to {1000 * max(delays):.1f} ms; too noisy, or the sound "
            "card dropped samples: close what else uses it and try again"
        )
    if min(delays) * rate < 0.5:
        raise ValueError(
            "the sweeps came back without any delay: the input is a copy of the output made in software; "
            "choose the input that hears the output"
        )


Exchange = Callable[[int], tuple[Samples, int]]  # repeats -> recording [S], rate


def measured_delay(exchange: Exchange, repeats: int) -> Delay:
    """Plays and records through ``exchange``, and finds the delay."""
    recording, rate = exchange(repeats)
    return delay_of(recording, rate, repeats)


def play_and_record(
    repeats: int, output: str | int | None, input: str | int | None, block: float
) -> tuple[Samples, int]:
    """Plays `sweeps` at the output's own rate in blocks of ``block`` seconds and records meanwhile.

    None is the system's default device. Returns the recording [S] and the rate. ValueError for a device that is not
    there, OSError when sound cannot be played here.
    """
    sound = sounddevice()
    try:
        rate = round(sound.query_devices(output, "output")["default_samplerate"])
        sound.query_devices(input, "input")
        recording = sound.playrec(
            sweeps(rate, repeats),
            samplerate=rate,
            channels=1,
            device=(input, output),
            blocksize=round(block * rate),
            latency="low",
            blocking=True,
        )
    except sound.PortAudioError as error:
        raise OSError(f"the sound card refuses: {' '.join(str(error).split())}") from None
    return recording[:, 0], rate


def sounddevice() -> Any:
    """The module; OSError that says what to install."""
    from bandmate.stream.device_process import sound_library

    try:
        return sound_library()
    except ImportError as error:
        raise OSError(str(error)) from None
