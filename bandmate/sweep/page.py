"""A static page of audio examples: input, true stem and what each system played, with pictures; nothing from elsewhere."""

import html
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bandmate.audio.mixing import below_peak, mix_over
from bandmate.data.files import replacing
from bandmate.evaluate.folders import Folders, Material, from_generate
from bandmate.sweep.clip_folder import RATE, read_rows
from bandmate.sweep.tables import seconds

WINDOW, HOP = 1024, 512  # samples, of the pictures
LOWEST, HIGHEST, BANDS = 50.0, 14_000.0, 72  # Hz
RANGE_DB = 60.0
EQUAL_LUFS = -23.0  # of the stems in input_equal, where a row does not tell

Audio = NDArray[np.float32]
Tell = Callable[[int, int], None]  # clips done, clips wanted


@dataclass(frozen=True)
class Version:
    """One line of a clip: who plays, the part alone and, but for the input itself, the mix of both."""

    name: str
    alone: Audio
    mixed: Audio | None


def write_page(
    folders: Folders,
    out: Path,
    count: int,
    seed: int = 0,
    tell: Tell = lambda done, of: None,
    fewer: bool = False,
) -> list[str]:
    """index.html, audio/ and pictures/ in ``out``; returns the clips that were chosen.

    ``folders``: system -> folders as bandmate generate writes them, of which the first is taken. All must hold the same
    clips. Raises ValueError when they do not, or when there are fewer clips than ``count``, unless
    ``fewer`` will do.
    """
    material = from_generate({name: paths[:1] for name, paths in folders.items()})
    rows = {row["clip"]: row for row in read_rows(next(iter(folders.values()))[0])}
    chosen = choose(material, min(count, len(material.clips)) if fewer else count, seed)
    for name in ("audio", "pictures"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    sections = []
    for done, clip in enumerate(chosen, 1):
        versions = versions_of(material, clip, rows[clip], folders)
        sections.append(section(out, clip, rows[clip], versions))
        tell(done, len(chosen))
    with replacing(out / "index.html") as file:
        file.write_text(document(list(folders), sections, abouts(material)), encoding="utf-8")
    return chosen


def choose(material: Material, count: int, seed: int) -> list[str]:
    """Clips of as many songs as there are, by a seed."""
    if count > len(material.clips):
        raise ValueError(
            f"the folders hold {len(material.clips)} clips, not {count}: ask for fewer by --clips"
        )
    rng = np.random.default_rng(seed)
    order = [material.clips[index] for index in rng.permutation(len(material.clips))]
    turn: dict[str, int] = {}
    ranked: list[tuple[int, int, str]] = []  # by how many of its song come before it
    for clip in order:
        turn[clip.song] = turn.get(clip.song, -1) + 1
        ranked.append((turn[clip.song], len(ranked), clip.id))
    return sorted(clip for _, _, clip in sorted(ranked)[:count])


def versions_of(material: Material, clip: str, row: Mapping[str, Any], folders: Folders) -> list[Version]:
    """The input, then true stem and systems, each alone and over the input as in the paper's A.7."""
    heard = read(material.shared["input"][clip])
    equal_file = next(iter(folders.values()))[0] / "input_equal" / f"{clip}.flac"
    equal = read(equal_file) if equal_file.is_file() else heard
    level = float(row.get("equal_lufs", EQUAL_LUFS))
    parts = {"true stem": read(material.shared["target"][clip])}
    parts |= {system.name: read(system.takes[0][clip]) for system in material.systems}
    mixes = below_peak([mix_over(equal, level, part, RATE) for part in parts.values()])
    named = [Version(name, part, mix) for (name, part), mix in zip(parts.items(), mixes, strict=True)]
    return [Version("input", heard, None), *named]


def read(path: Path) -> Audio:
    try:
        audio, rate = soundfile.read(path, dtype="float32")
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    if rate != RATE:
        raise ValueError(f"{path} has {rate} Hz, not {RATE}: give folders of bandmate generate")
    return audio


def section(out: Path, clip: str, row: Mapping[str, Any], versions: Sequence[Version]) -> str:
    """Writes the sounds and pictures of a clip; returns its part of the page."""
    lines = []
    for index, version in enumerate(versions):
        stem = f"{clip}_{index}"
        write_sound(out / "audio" / f"{stem}.flac", version.alone)
        write_picture(out / "pictures" / f"{stem}.png", version.alone)
        mixed = "<td></td>"
        if version.mixed is not None:
            write_sound(out / "audio" / f"{stem}_mix.flac", version.mixed)
            mixed = f"<td>{player(f'audio/{stem}_mix.flac', f'{version.name} with the input')}</td>"
        name = html.escape(version.name)
        lines.append(
            f'<tr><th scope="row">{name}</th><td><img src="pictures/{stem}.png" loading="lazy" width="260" height="64" '
            f'alt="Spectrogram of {name}"></td><td>{player(f"audio/{stem}.flac", version.name)}</td>{mixed}</tr>'
        )
    what = html.escape(f"{row['instrument']} to {', '.join(row.get('members', [])) or 'the input'}")
    where = html.escape(f"{row['song']}, from {row.get('start', 0) / 50:.1f} s")
    head = '<tr><td></td><td></td><th scope="col">alone</th><th scope="col">with the input</th></tr>'
    return f"<section><h2>{what}</h2><p>{where}</p><table>{head}{''.join(lines)}</table></section>"


def player(source: str, name: str) -> str:
    label = html.escape(name, quote=True)
    return f'<audio controls preload="none" src="{source}" aria-label="{label}"></audio>'


def write_sound(path: Path, audio: Audio) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.clip(audio, -1, 1), RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(content.getvalue())


def write_picture(path: Path, audio: Audio) -> None:
    """Levels on a logarithmic axis of frequency, 60 dB below the loudest, without any axis drawn."""
    levels = spectrogram(audio)
    figure = Figure(figsize=(5.2, 1.28), dpi=100, facecolor="#000004")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    top = max(float(levels.max(initial=-200.0)), -60.0)
    ax.imshow(levels, origin="lower", aspect="auto", cmap="magma", vmin=top - RANGE_DB, vmax=top)
    figure.savefig(path, format="png", metadata={"Software": None})


def spectrogram(audio: Audio) -> NDArray[np.float64]:
    """dB [BANDS, columns] at log-spaced frequencies."""
    padded = np.pad(audio.astype(np.float64), (0, max(0, WINDOW - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2 / (WINDOW / 4) ** 2
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1) * WINDOW / RATE
    low = np.minimum(np.floor(edges[:-1]).astype(int), WINDOW // 2)
    high = np.maximum(np.ceil(edges[1:]).astype(int), low + 1)
    bands = np.stack([power[:, a:b].mean(axis=1) for a, b in zip(low, high, strict=True)])
    return 10 * np.log10(bands + 1e-12)


def abouts(material: Material) -> list[tuple[str, str]]:
    """System -> model, t_f, k, as the folders say."""
    result = []
    for system in material.systems:
        about, words = system.about, []
        if "model" in about:
            words.append(str(about["model"]))
        if system.kind == "system" and "t_f" in about and "k" in about:
            words.append(f"t_f = {seconds(about['t_f'])} s, k = {seconds(about['k'])} s")
        words += {"unconditional": ["heard nothing"], "shuffled": ["heard another song"]}.get(system.kind, [])
        result.append((system.name, "; ".join(words)))
    return result


STYLE = """
:root { color-scheme: light; --ink: #2f3640; --line: #d9dee3; --pale: #f6f6f4 }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 64rem; margin: 2.5rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .25rem } h2 { font-size: 1.1rem; margin: 2.5rem 0 0 }
p, dl { color: #55606d; margin: .1rem 0 .8rem }
dt { font-weight: 600; float: left; clear: left; margin-right: .6rem }
dd { margin: 0 }
table { border-collapse: collapse; width: 100% } th { font-weight: 500; text-align: left } th[scope=row] { width: 11rem }
tr + tr { border-top: 1px solid var(--line) } td, th { padding: .45rem .8rem .45rem 0; vertical-align: middle }
img { display: block; border-radius: 3px; max-width: 100% }
audio { width: 100%; min-width: 12rem; height: 2.2rem }
@media (max-width: 48rem) { table, tbody, tr, td, th { display: block; padding: .2rem 0 } th[scope=col] { display: none } }
"""

SCRIPT = """
document.addEventListener("play", event => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
"""


def document(names: Sequence[str], sections: Sequence[str], about: Sequence[tuple[str, str]]) -> str:
    """The whole page; style and script are in it."""
    told = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(words)}</dd>" for name, words in about if words
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Audio examples</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>Audio examples</h1>"
        f"<p>{len(sections)} clips of unseen songs. Alone: the part by itself. With the input: part and input mixed as for "
        "the listening study, the part 5 dB above each stem.</p>"
        f"<dl>{told}</dl>{''.join(sections)}<script>{SCRIPT}</script></body></html>\n"
    )
