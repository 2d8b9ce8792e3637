"""The bundled demo clip, made again: `python -m bandmate.data.demo --out FOLDER --cache FOLDER`.

A song of the test split without its bass: demo.flac is what is heard, demo_target.flac the true bass, and
demo.json says what they are.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from bandmate.data import pack
from bandmate.data.midi import Song, read_midi
from bandmate.data.rendition import PEAK, Rendition, RenditionConfig, Sound, render
from bandmate.data.soundfonts import find_soundfonts
from bandmate.data.stems import Track
from bandmate.instruments import BASS, INSTRUMENTS

SONG = "freedoom/d_dm02.mid"
TITLE = "Descent from Grace, by Lola 'BlueWorrior' Harvey (Freedoom, DM02)"
LICENCE = "BSD-3-Clause (Freedoom); rendered with MuseScore_General_Lite.sf3 (MIT licence)"
FONT = "MuseScore_General_Lite.sf3"
SECONDS = 24.0
LEVEL = -20.0  # dBFS RMS of what is heard


def best_start(song: Song, seconds: float) -> float:
    """The beat from which most parts play, the bass above all, over the excerpt."""

    def fullness(start: float) -> float:
        shares = [(p, min(1.0, p.sounding(start, start + seconds) / seconds)) for p in song.parts]
        return sum(min(share, 0.6) * (3 if part.instrument == BASS else 1) for part, share in shares)

    beats = [beat for beat in song.beats[::4] if song.start <= beat <= song.end - seconds]
    return max(beats, key=fullness)


def plain_rendition(song: Song, start: float, seconds: float, font: str) -> Rendition:
    """The song as written: own key, tempo and programs, one SoundFont, flat tone."""
    sounds = tuple(
        Sound(index, font, part.program, 0, 0.0, (200.0, 0.0), (4000.0, 0.0))
        for index, part in enumerate(song.parts)
    )
    return Rendition(song.name, 0, 0, start, seconds, 0, 1.0, 0.0, sounds)


def write_demo(track: Track, out: Path, about: dict[str, object]) -> None:
    """Write the mixture without bass and the bass at one gain, so that their sum is the song's balance."""
    heard = track.submix(tuple(i for i, kind in enumerate(track.instruments) if kind != BASS))
    target = track.submix(tuple(i for i, kind in enumerate(track.instruments) if kind == BASS))
    peak = max(np.abs(heard).max(), np.abs(target).max(), np.abs(heard + target).max())
    gain = min(10 ** (LEVEL / 20) / np.sqrt(np.mean(heard**2)), PEAK / peak)
    out.mkdir(parents=True, exist_ok=True)
    for name, audio in (("demo.flac", heard), ("demo_target.flac", target)):
        soundfile.write(out / name, gain * audio, track.sample_rate, subtype="PCM_16")
    (out / "demo.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bandmate.data.demo", description="Render the demo clip.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder in which the pack is unpacked")
    args = parser.parse_args(argv)
    entry = next(entry for entry in pack.read_split() if entry.path == SONG)
    song = read_midi(pack.unpack(pack.ARCHIVE, args.cache) / SONG, entry.slug)
    start = best_start(song, SECONDS)
    config = replace(RenditionConfig(), stems=len(song.parts))
    track = render(song, plain_rendition(song, start, SECONDS, FONT), find_soundfonts(), config)
    write_demo(track, args.out, _about(song, entry, track, start))


def _about(song: Song, entry: pack.Entry, track: Track, start: float) -> dict[str, object]:
    names = [INSTRUMENTS[kind] for kind in track.instruments]
    return {
        "song": TITLE,
        "midi": entry.path,
        "split": entry.split,
        "source": "https://github.com/freedoom/freedoom (musics/)",
        "licence": LICENCE,
        "excerpt_seconds": [round(start, 3), round(start + SECONDS, 3)],
        "bpm": round(song.tempo_at(start), 3),
        "beats": track.meta["beats"],
        "heard": [name for name in names if name != "Bass"],
        "programs": track.meta["programs"],
        "missing": "Bass",
        "sample_rate": track.sample_rate,
    }


if __name__ == "__main__":
    main()
