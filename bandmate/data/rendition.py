"""One rendition of a song: what is drawn (excerpt, key, tempo, sounds, levels) and its rendering to stems."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from bandmate.audio.loudness import SILENCE_DB, a_weighted_rms, activity
from bandmate.data.midi import Control, Note, Part, Song
from bandmate.data.soundfonts import Voice, load_player
from bandmate.data.stems import Stem, Track
from bandmate.instruments import BASS, DRUMS_PROGRAM, INSTRUMENTS, from_program

ODD_PROGRAMS = (31, 47, 55)  # guitar harmonics, timpani, orchestra hit: no substitutes for their family
FRAME = 640
PEAK = 0.99


@dataclass(frozen=True)
class RenditionConfig:
    """Ranges of the draws. Decibels, semitones, seconds; (low, high) is uniform."""

    seconds: float = 40.0
    sample_rate: int = 32000
    transposition: tuple[int, int] = (-5, 6)  # both ends included
    tempo: tuple[float, float] = (0.85, 1.18)
    substitute: float = 0.4  # probability of another program of the same family
    other_kit: float = 0.25
    stem_gain: tuple[float, float] = (-6.0, 6.0)
    evening: float = (
        0.5  # how far stems are pulled together in level (dB), 0 = as the file says, 1 = all equal
    )
    shelf: tuple[float, float] = (-4.0, 4.0)
    track_gain: tuple[float, float] = (-12.0, 6.0)
    reference: float = -20.0  # dBFS RMS of the mix at a track gain of 0 dB
    stems: int = 8
    least_active: float = 0.05  # part of the frames in which a stem must sound to be kept


@dataclass(frozen=True)
class Sound:
    """How one part is played. `part` is the index in the song; shelves are (Hz, dB)."""

    part: int
    soundfont: str
    program: int  # as played; 128 = drums
    kit: int
    gain: float  # dB
    low_shelf: tuple[float, float]
    high_shelf: tuple[float, float]


@dataclass(frozen=True)
class Rendition:
    """All draws of one rendition: a pure function of (song, index, seed, SoundFonts, configuration)."""

    song: str
    index: int
    seed: int
    start: float  # seconds of the song at its own tempo
    seconds: float  # of the excerpt as rendered
    transposition: int
    tempo: float  # factor: 1.1 is 10 % faster
    gain: float  # dB, common to all stems
    sounds: tuple[Sound, ...]


def draw_rendition(
    song: Song, index: int, seed: int, soundfonts: Sequence[Path], config: RenditionConfig | None = None
) -> Rendition:
    """Draw rendition `index` of a song. `soundfonts` need unique names; each is as likely for a stem."""
    config = config or RenditionConfig()
    rng = np.random.default_rng([seed, index, zlib.crc32(song.name.encode())])
    tempo = float(rng.uniform(*config.tempo))
    start, length = _excerpt(song, tempo, config, rng)
    chosen = _choose_parts(song, start, start + length, config, rng)
    return Rendition(
        song=song.name,
        index=index,
        seed=seed,
        start=start,
        seconds=int(length / tempo * config.sample_rate) // FRAME * FRAME / config.sample_rate,
        transposition=int(rng.integers(config.transposition[0], config.transposition[1], endpoint=True)),
        tempo=tempo,
        gain=float(rng.uniform(*config.track_gain)),
        sounds=tuple(_draw_sound(song.parts[part], part, soundfonts, config, rng) for part in chosen),
    )


def _excerpt(
    song: Song, tempo: float, config: RenditionConfig, rng: np.random.Generator
) -> tuple[float, float]:
    """Start and length in song seconds; of eight draws the one with most parts playing."""
    length = min(config.seconds * tempo, song.end - song.start)
    starts = rng.uniform(song.start, max(song.start, song.end - length), size=8)
    playing = [sum(_plays(part, at, at + length) for part in song.parts) for at in starts]
    # a full band is preferred, but not always: among three random draws, so that thin passages occur
    best = max(range(3), key=lambda at: playing[at]) if max(playing[:3]) > 1 else int(np.argmax(playing))
    return float(starts[best]), float(length)


def _plays(part: Part, start: float, stop: float) -> bool:
    """At least four notes, or notes of one second (a tenth of a short excerpt), begin within the excerpt."""
    held = [min(note.offset, stop) - note.onset for note in part.notes if start <= note.onset < stop]
    return len(held) >= 4 or sum(held) >= min(1.0, 0.1 * (stop - start))


def _choose_parts(
    song: Song, start: float, stop: float, config: RenditionConfig, rng: np.random.Generator
) -> tuple[int, ...]:
    """At most `config.stems` parts that play, drawn at random; bass and drums weigh six times more."""
    playing = [at for at, part in enumerate(song.parts) if _plays(part, start, stop)]
    if not playing:
        raise ValueError(f"{song.name}: no part plays in the excerpt from {start:.1f} s to {stop:.1f} s")
    weights = [
        6.0 if song.parts[at].program == DRUMS_PROGRAM or song.parts[at].instrument == BASS else 1.0
        for at in playing
    ]
    size = min(config.stems, len(playing))
    return tuple(
        sorted(rng.choice(playing, size, replace=False, p=np.array(weights) / sum(weights)).tolist())
    )


def _draw_sound(
    part: Part, index: int, soundfonts: Sequence[Path], config: RenditionConfig, rng: np.random.Generator
) -> Sound:
    font = soundfonts[int(rng.integers(len(soundfonts)))]
    substitute, pick = rng.uniform(size=2)
    program, kit = part.program, 0
    if program == DRUMS_PROGRAM:
        kits = load_player(font, config.sample_rate).kits()
        kit = kits[int(pick * len(kits))] if substitute < config.other_kit else 0
    elif substitute < config.substitute:
        family = [
            p for p in range(program // 8 * 8, program // 8 * 8 + 8) if from_program(p) == part.instrument
        ]
        family = [p for p in family if p not in ODD_PROGRAMS] or [program]
        program = family[int(pick * len(family))]
    low, high = np.exp(rng.uniform(np.log([100, 2000]), np.log([400, 8000])))
    low_db, high_db = rng.uniform(*config.shelf, size=2)
    return Sound(
        part=index,
        soundfont=font.name,
        program=program,
        kit=kit,
        gain=float(rng.uniform(*config.stem_gain)),
        low_shelf=(float(low), float(low_db)),
        high_shelf=(float(high), float(high_db)),
    )


def render(
    song: Song, rendition: Rendition, soundfonts: Sequence[Path], config: RenditionConfig | None = None
) -> Track:
    """Render to a track of mono stems; cluster and split are left empty for the caller to fill.

    Stems that sound in less than `config.least_active` of the frames are dropped. All stems are then scaled
    alike: to the rendition's level, and down if the mix or a stem would pass 0.99.
    Raises ValueError when fewer than two stems sound.
    """
    config = config or RenditionConfig()
    fonts = {path.name: path for path in soundfonts}
    stems, sounds = [], []
    for sound in rendition.sounds:
        audio = _render_stem(song.parts[sound.part], sound, rendition, fonts[sound.soundfont], config)
        if activity(audio, config.sample_rate).mean() >= config.least_active:
            stems.append(audio)
            sounds.append(sound)
    if len(stems) < 2:
        raise ValueError(f"{song.name}: fewer than two stems sound in rendition {rendition.index}")
    audio = np.stack(stems)
    scale = _common_gain(audio, config.reference + rendition.gain)
    return Track(
        id=f"{song.name}__r{rendition.index:02d}",
        song=song.name,
        cluster="",
        split="",
        stems=tuple(
            Stem((scale * row).astype(np.float32), song.parts[sound.part].instrument, f"part{sound.part:02d}")
            for row, sound in zip(audio, sounds, strict=True)
        ),
        sample_rate=config.sample_rate,
        meta=_meta(song, rendition, sounds, scale),
    )


def _render_stem(
    part: Part, sound: Sound, rendition: Rendition, font: Path, config: RenditionConfig
) -> NDArray[np.float64]:
    shift = 0 if part.program == DRUMS_PROGRAM else rendition.transposition
    notes = [
        Note(_time(n.onset, rendition), _time(n.offset, rendition), _fold(n.key + shift), n.velocity)
        for n in part.notes
    ]
    controls = [Control(_time(c.time, rendition), c.number, c.value) for c in part.controls]
    drums = part.program == DRUMS_PROGRAM
    voice = Voice(sound.kit if drums else sound.program, drums)
    audio = load_player(font, config.sample_rate).play(notes, controls, rendition.seconds, voice)
    sos = np.stack(
        [
            shelf(*sound.low_shelf, high=False, sample_rate=config.sample_rate),
            shelf(*sound.high_shelf, high=True, sample_rate=config.sample_rate),
        ]
    )
    shaped = signal.sosfilt(sos, audio.astype(np.float64))
    gain = sound.gain + config.evening * (config.reference - _sounding_level(shaped, config.sample_rate))
    return 10 ** (gain / 20) * shaped


def _sounding_level(audio: NDArray[np.float64], sample_rate: int) -> float:
    """A-weighted RMS (dB) over the frames that sound; the silence limit where none does."""
    level = a_weighted_rms(audio, sample_rate)
    sounding = level[level >= SILENCE_DB].astype(np.float64)
    return float(10 * np.log10(np.mean(10 ** (sounding / 10)))) if sounding.size else SILENCE_DB


def _time(seconds: float, rendition: Rendition) -> float:
    """Song time to excerpt time."""
    return (seconds - rendition.start) / rendition.tempo


def _fold(key: int) -> int:
    """A key outside 0..127 moves by an octave."""
    return key + 12 if key < 0 else key - 12 if key > 127 else key


def shelf(frequency: float, gain_db: float, high: bool, sample_rate: int) -> NDArray[np.float64]:
    """A shelving filter of slope 1 as one second-order section [6] (Bristow-Johnson's cookbook formulae)."""
    amp, omega = 10 ** (gain_db / 40), 2 * np.pi * frequency / sample_rate
    cos, alpha, sign = np.cos(omega), np.sin(omega) / np.sqrt(2), -1 if high else 1
    root = 2 * np.sqrt(amp) * alpha
    b0 = amp * ((amp + 1) - sign * (amp - 1) * cos + root)
    b1 = sign * 2 * amp * ((amp - 1) - sign * (amp + 1) * cos)
    b2 = amp * ((amp + 1) - sign * (amp - 1) * cos - root)
    a0 = (amp + 1) + sign * (amp - 1) * cos + root
    a1 = -sign * 2 * ((amp - 1) + sign * (amp + 1) * cos)
    a2 = (amp + 1) + sign * (amp - 1) * cos - root
    return np.array([b0, b1, b2, a0, a1, a2]) / a0


def _common_gain(stems: NDArray[np.float64], level: float) -> float:
    """The factor that brings the mix to `level` dBFS RMS, less if the mix or one stem would clip."""
    mix = stems.sum(axis=0)
    wanted = 10 ** (level / 20) / max(float(np.sqrt(np.mean(mix**2))), 1e-9)
    return min(wanted, PEAK / max(float(np.abs(mix).max()), float(np.abs(stems).max())))


def _meta(song: Song, rendition: Rendition, sounds: list[Sound], scale: float) -> dict[str, object]:
    plain = asdict(rendition)
    plain["sounds"] = [asdict(sound) for sound in sounds]
    beats = [_time(beat, rendition) for beat in song.beats]
    return {
        "classes": [INSTRUMENTS[song.parts[sound.part].instrument] for sound in sounds],
        "programs": [sound.program for sound in sounds],
        "soundfonts": [sound.soundfont for sound in sounds],
        "beats": [round(beat, 4) for beat in beats if 0 <= beat < rendition.seconds],
        "bpm": round(song.tempo_at(rendition.start) * rendition.tempo, 3),
        "scale_db": round(float(20 * np.log10(scale)), 3),
        "rendition": plain,
    }
