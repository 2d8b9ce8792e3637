"""Delays that are known, put into recordings as bad as real ones, and found again."""

import sys
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmate.stream import loopback
from bandmate.stream.loopback import (
    Samples,
    delay_of,
    interval,
    measured_delay,
    play_and_record,
    sweep,
    sweeps,
)

RATE, REPEATS = 16_000, 3


def delayed(samples: float, rate: int = RATE, repeats: int = REPEATS) -> Samples:
    """The sweeps so many samples later, parts of one included."""
    played = np.pad(sweeps(rate, repeats).astype(float), (0, rate))
    turned = np.fft.rfft(played) * np.exp(-2j * np.pi * np.fft.rfftfreq(len(played)) * samples)
    return np.fft.irfft(turned, len(played))[: repeats * interval(rate)]


@settings(max_examples=15)
@given(st.floats(1, 2 * RATE - 1), st.sampled_from([-1.0, 1.0, 0.01]))
def test_any_delay_polarity_and_level(samples: float, gain: float) -> None:
    found = delay_of(gain * delayed(samples), RATE, REPEATS)
    assert found.seconds * RATE == pytest.approx(samples, abs=0.1)
    assert found.spread < 1e-6
    assert found.repeats == REPEATS
    assert not found.clipped


@pytest.mark.parametrize("rate", [32_000, 44_100, 96_000])
def test_any_rate(rate: int) -> None:
    assert delay_of(delayed(0.0213 * rate, rate, 1), rate, 1).seconds == pytest.approx(0.0213, abs=1e-5)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_noise(noise: float, rng: np.random.Generator) -> None:
    """At 0.3 it is 4 dB louder than the sweeps were before they lost half of their level."""
    recording = 0.5 * delayed(400.3)
    found = delay_of(recording + noise * rng.standard_normal(len(recording)), RATE, REPEATS)
    assert found.seconds == pytest.approx(400.3 / RATE, abs=2e-4)
    assert found.clearness > 10


def test_clock_drift_shows_as_spread() -> None:
    """A recorder whose clock runs 100 ppm fast: each repeat comes later by 225 µs."""
    recording, drift = delayed(320.0), 1e-4
    places = np.arange(len(recording) - 200) * (1 - drift)
    found = delay_of(np.interp(places, np.arange(len(recording)), recording), RATE, REPEATS)
    step = drift * interval(RATE) / RATE
    assert found.spread == pytest.approx(2 * step, rel=0.1)
    assert found.seconds == pytest.approx(320 / RATE + step, abs=1e-4)


def test_clipping() -> None:
    found = delay_of(np.clip(20 * delayed(500.0), -1, 1), RATE, REPEATS)
    assert found.seconds * RATE == pytest.approx(500, abs=0.2)
    assert found.clipped


def test_an_echo_and_hum_do_not_mislead(rng: np.random.Generator) -> None:
    """A wall 8 ms away throws half of it back, and the mains hum as loud as the sweeps."""
    direct = delayed(480.0)
    recording = (
        direct + 0.5 * np.roll(direct, 128) + 0.5 * np.sin(2 * np.pi * 50 * np.arange(len(direct)) / RATE)
    )
    assert delay_of(recording, RATE, REPEATS).seconds * RATE == pytest.approx(480, abs=0.5)


def test_numbers_that_are_none_are_silence() -> None:
    recording = delayed(480.0)
    recording[[5, 900, 7000]] = np.nan, np.inf, -np.inf
    assert delay_of(recording, RATE, REPEATS).seconds * RATE == pytest.approx(480, abs=0.2)


def test_one_repeat_that_was_lost_is_left_out(rng: np.random.Generator) -> None:
    recording = delayed(480.0)
    recording[: interval(RATE)] = 0.1 * rng.standard_normal(interval(RATE))
    found = delay_of(recording, RATE, REPEATS)
    assert found.repeats == REPEATS - 1
    assert found.seconds * RATE == pytest.approx(480, abs=0.1)


def lost_samples() -> Samples:
    """The card drops 20 ms between the repeats."""
    recording = delayed(480.0)
    return np.delete(recording, slice(interval(RATE) - 320, interval(RATE)))


@pytest.mark.parametrize(
    ("recording", "says"),
    [
        (np.zeros(REPEATS * interval(RATE)), "no signal came back, only silence: connect"),
        (np.zeros(0), "no signal came back"),
        (1e-5 * delayed(480.0), "no signal came back"),
        (0.1 * np.random.default_rng(0).standard_normal(REPEATS * interval(RATE)), "are not wired"),
        (np.sin(np.arange(REPEATS * interval(RATE))), "are not wired"),
        (
            0.03 * delayed(480.0) + 0.075 * np.random.default_rng(1).standard_normal(72_000 * 3 // 2),
            "too noisy",
        ),
        (lost_samples(), "the repeats differ: 10.0 to 30.0 ms"),
        (delayed(0.0), "without any delay: the input is a copy of the output"),
    ],
)
def test_what_is_wrong_is_told(recording: Samples, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        delay_of(recording, RATE, REPEATS)
    assert "\n" not in str(caught.value)


def test_the_sweeps_are_what_a_loudspeaker_bears() -> None:
    one, all_of_them = sweep(48_000), sweeps(48_000, 2)
    assert np.abs(one).max() <= 0.5
    assert abs(one[0]) < 1e-3 > abs(one[-1])
    assert len(all_of_them) == 2 * interval(48_000)
    np.testing.assert_array_equal(all_of_them[interval(48_000) :][: len(one)], one)


class PortAudioError(Exception):
    pass


def card(delay: int, **more: Any) -> types.ModuleType:
    """What sounddevice would be with a wire from output to input."""
    module: Any = types.ModuleType("sounddevice")
    module.PortAudioError, module.asked = PortAudioError, {}

    def query_devices(device: object, kind: str) -> dict[str, float]:
        if device == "none":
            raise ValueError(f"No {kind} device matching 'none'")
        return {"default_samplerate": 16_000.0}

    def playrec(signal: Samples, **options: Any) -> Samples:
        module.asked = options
        return np.concatenate([np.zeros(delay, np.float32), signal])[: len(signal), None]

    module.query_devices, module.playrec = query_devices, playrec
    for name, value in more.items():
        setattr(module, name, value)
    return module


def test_a_wire_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = card(delay=700)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    found = measured_delay(lambda repeats: play_and_record(repeats, "out", 3, 0.016), 2)
    assert found.seconds * 16_000 == pytest.approx(700, abs=1e-3)
    assert fake.asked == {
        "samplerate": 16_000, "channels": 1, "device": (3, "out"), "blocksize": 256, "latency": "low", "blocking": True,
    }  # fmt: skip


def test_a_device_that_is_not_there_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", card(0))
    with pytest.raises(ValueError, match="No output device matching 'none'"):
        play_and_record(1, "none", None, 0.01)


def test_a_card_that_refuses_is_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PortAudioError("Error opening Stream:\nDevice unavailable [-9985]")

    monkeypatch.setitem(sys.modules, "sounddevice", card(0, playrec=refuse))
    with pytest.raises(OSError, match=r"the sound card refuses: Error opening Stream: Device unavailable"):
        play_and_record(1, None, None, 0.01)


def test_without_the_package_or_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(OSError, match=r"pip install 'bandmate\[live\]'"):
        loopback.sounddevice()

    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(OSError, match="apt-get install libportaudio2"):
        loopback.sounddevice()
