"""Half an hour of playing along: does it hold, minute by minute, or does it fall silent, loop or drift?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandmate.audio.loudness import activity
from bandmate.checkpoint import Bundle, sampling_for
from bandmate.evaluate.coherence import coherence, embed, pair_scores, silence_floor, sounding_chunks
from bandmate.evaluate.intervals import bootstrap
from bandmate.evaluate.table import normalised
from bandmate.model.sampling import Sampler
from bandmate.spec import FRAME_RATE, StreamSpec
from bandmate.sweep.clips import HOP
from bandmate.sweep.endless import Endless, Source, draw_sources
from bandmate.sweep.generation import find_device
from bandmate.sweep.page import RANGE_DB, spectrogram
from bandmate.sweep.tables import number, plain, signed, table

RATE = 32_000
LAGS = 200  # frames: loops of up to 4 s
SILENT_DB = -60.0

Audio = NDArray[np.float32]
Chunks = tuple[NDArray[Any], NDArray[np.bool_]]  # something for each chunk, and which sound


@dataclass(frozen=True)
class LongplayConfig:
    """``songs`` sessions of ``minutes`` side by side; the ``window`` seconds that end at each of ``marks`` are measured."""

    spec: StreamSpec
    minutes: float = 30.0
    marks: tuple[float, ...] = (1.0, 5.0, 15.0, 30.0)
    window: float = 60.0
    songs: int = 4
    split: str = "test"
    seed: int = 0
    device: str = "cpu"

    @property
    def frames(self) -> int:
        return round(self.minutes * 60 * FRAME_RATE)

    def span(self, mark: float) -> tuple[int, int]:
        """Frames of the window that ends at a mark."""
        end = round(mark * 60 * FRAME_RATE)
        return max(0, end - round(self.window * FRAME_RATE)), end


@dataclass(frozen=True)
class Minute:
    """What one window holds of every session: input, truth, played [B, S] and the codes played [B, K, T]."""

    mark: float
    heard: Audio
    truth: Audio
    played: Audio
    codes: NDArray[np.int64]


class Recorder:
    """Keeps the windows of a stream that comes in blocks, and throws the rest away."""

    def __init__(self, spans: Sequence[tuple[int, int]], unit: int) -> None:
        """spans in frames; ``unit``: values per frame along the last axis."""
        self.spans, self.unit, self.place = spans, unit, 0
        self.kept: list[list[NDArray]] = [[] for _ in spans]

    def push(self, block: NDArray) -> None:
        """The next values [..., n]."""
        begin, self.place = self.place, self.place + block.shape[-1]
        for (first, last), kept in zip(self.spans, self.kept, strict=True):
            a, b = max(begin, first * self.unit), min(self.place, last * self.unit)
            if a < b:
                kept.append(block[..., a - begin : b - begin].copy())

    def window(self, index: int) -> NDArray:
        return np.concatenate(self.kept[index], axis=-1)


class Band:
    """A model in front of several endless songs, one row each. Memory does not grow with the time played."""

    def __init__(self, bundle: Bundle, sources: Sequence[Source], config: LongplayConfig) -> None:
        if not hasattr(bundle.model, "play"):
            raise ValueError(f"{bundle.name} is an offline model: it cannot play for as long as one likes")
        self.config, device = config, find_device(config.device)
        self.device, self.codec, self.model = device, bundle.codec.to(device), bundle.model.to(device)
        drawn = sampling_for(bundle.card, config.spec.t_f_seconds)
        self.sampler = Sampler(seed=config.seed, players=tuple(range(len(sources))), **drawn)
        self.songs = [Endless(source) for source in sources]
        self.rows = len(sources)
        classes = torch.tensor([source.instrument for source in sources], device=device)
        self.state = self.model.init_state(classes, config.spec, self.rows, guided=self.sampler.guided)
        mel = self.model.ears == "mel"
        self.ears = self.model.init_ears(self.rows) if mel else self.codec.init_encoder(self.rows)
        self.decoder = self.codec.init_decoder(self.rows)
        spans = [config.span(mark) for mark in config.marks]
        self.heard, self.truth, self.played = (Recorder(spans, HOP) for _ in range(3))
        self.codes = Recorder(spans, 1)
        self.power: list[NDArray[np.float32]] = []  # per frame, of what was played
        self.lead = self.codec.synthesis_delay  # samples that the decoder puts before the first frame

    @torch.inference_mode()
    def play(self, tell: Callable[[float], None]) -> None:
        """All of it, call by call, each hearing what its place in time allows."""
        spec, heard = self.config.spec, 0
        columns = self.config.frames + self.codec.levels - 1
        for column in range(0, columns, spec.k):
            horizon = max(heard, column + spec.t_f)
            if horizon > heard:
                self.listen(horizon - heard)
                heard = horizon
            codes, self.state = self.model.play(self.state, min(spec.k, columns - column), self.sampler)
            self.sound(codes)
            tell((column + spec.k) / columns)
        missing = self.config.frames - heard
        if missing > 0:  # t_f < 0: the end of the input was never heard, but it is measured against
            self.read(missing)
        rest = self.codec.flush(self.decoder).cpu().numpy()
        self.played.push(rest[:, self.lead :] if self.lead else rest)

    def read(self, frames: int) -> Audio:
        """The next input [B, S]; it and the truth are recorded."""
        pairs = np.stack([song.read(frames) for song in self.songs])
        self.heard.push(pairs[:, 0])
        self.truth.push(pairs[:, 1])
        return pairs[:, 0]

    def listen(self, frames: int) -> None:
        audio = torch.from_numpy(np.ascontiguousarray(self.read(frames))).to(self.device)
        if self.model.ears == "mel":
            x, self.ears = self.model.hear(audio, self.ears)
        else:
            codes, self.ears = self.codec.encode_chunk(audio, self.ears)
            x = codes.transpose(1, 2)
        self.state = self.model.listen(x, self.state)

    def sound(self, codes: Tensor) -> None:
        """Decodes the frames that a call completed."""
        if not codes.shape[2]:
            return
        self.codes.push(codes.cpu().numpy())
        audio, self.decoder = self.codec.decode_chunk(codes, self.decoder)
        samples = np.nan_to_num(audio.float().cpu().numpy())
        self.power.append(np.square(samples).reshape(self.rows, -1, HOP).mean(axis=2))
        dropped = min(self.lead, samples.shape[1])
        self.lead -= dropped
        self.played.push(samples[:, dropped:])

    def minutes(self) -> list[Minute]:
        recorders = (self.heard, self.truth, self.played, self.codes)
        return [
            Minute(mark, *(recorder.window(index) for recorder in recorders))
            for index, mark in enumerate(self.config.marks)
        ]


def measure(
    bundle: Bundle, rendered: Path, network: Any, config: LongplayConfig, tell: Callable[[float], None]
) -> dict[str, Any]:
    """The report; ValueError for fewer than two songs. ``network``: of :func:`bandmate.evaluate.networks.coherence`."""
    if config.songs < 2:
        raise ValueError("one session alone has no random pairing: give two songs or more")
    sources = draw_sources(rendered, config.split, config.songs, config.seed)
    band = Band(bundle, sources, config)
    band.play(lambda share: tell(0.9 * share))
    minutes, songs = band.minutes(), [source.song for source in sources]
    scores = all_scores(network.call, minutes)
    first = minutes[0]
    rows = []
    for minute, each in zip(minutes, scores, strict=True):
        row: dict[str, Any] = {"minute": minute.mark} | summary(each, songs)
        row |= {
            name: bootstrap(values, songs)._asdict()
            for name, values in health(minute, first, bundle.codec).items()
        }
        rows.append(row)
    tell(1.0)
    power = np.concatenate(band.power, axis=1)
    return {
        "model": bundle.name,
        "network": network.about(),
        "sessions": [source.name for source in sources],
        "minutes": config.minutes,
        "window_seconds": config.window,
        "t_f": config.spec.t_f_seconds,
        "k": config.spec.k_seconds,
        "silent_share_by_minute": by_minute(power),
        "longest_silence_seconds": [
            longest(10 * np.log10(row + 1e-12) < SILENT_DB) / FRAME_RATE for row in power
        ],
        "rows": rows,
    }


def all_scores(network: Any, minutes: Sequence[Minute]) -> list[dict[str, NDArray[np.float64]]]:
    """Per window: coherence of each session's played, truth, and another session's truth, with its input [B]."""
    raw: list[dict[str, Any]] = []
    for minute in minutes:
        heard, truth, played = (
            [chunked(network, row) for row in side] for side in (minute.heard, minute.truth, minute.played)
        )
        other = [truth[(index + 1) % len(truth)] for index in range(len(truth))]
        raw.append({"heard": heard, "played": played, "truth": truth, "random": other})
    known = np.concatenate(
        [scored[sounds] for each in raw for scored, sounds in paired(network, each["heard"], each["random"])]
    )
    floor = silence_floor(known) if len(known) else 0.0
    return [
        {
            name: np.array(
                [
                    coherence(scored, stem[1], mix[1], floor)
                    for mix, stem, (scored, _) in zip(
                        each["heard"], each[name], paired(network, each["heard"], each[name]), strict=True
                    )
                ]
            )
            for name in ("played", "truth", "random")
        }
        for each in raw
    ]


def paired(network: Any, mixes: Sequence[Chunks], stems: Sequence[Chunks]) -> list[Chunks]:
    """Scores [N] of each mix with its stem, and in which chunks both sound."""
    return [
        (pair_scores(network, mix[0], stem[0]), mix[1] & stem[1])
        for mix, stem in zip(mixes, stems, strict=True)
    ]


def chunked(network: Any, audio: Audio) -> Chunks:
    """Embeddings [N, D] of the chunks of audio [S], and which of them sound."""
    embedded = embed(network, audio, RATE)["both"]
    return embedded, sounding_chunks(audio, RATE, len(embedded))


def summary(scores: dict[str, NDArray[np.float64]], songs: Sequence[str]) -> dict[str, Any]:
    """Means over songs, and NC where random pairing and truth are apart."""
    told: dict[str, Any] = {
        f"coherence_{name}": bootstrap(values, songs)._asdict() for name, values in scores.items()
    }
    share = normalised(scores["played"], scores["random"], scores["truth"], songs) if len(songs) > 1 else None
    return told | {"nc": share}


def health(minute: Minute, first: Minute, codec: Any) -> dict[str, list[float]]:
    """Level, silence, repetition and drift of every session in a window, and of its true stem."""
    told: dict[str, list[float]] = {}
    with torch.inference_mode():
        device = next(codec.parameters()).device
        truth_codes = codec.encode(torch.from_numpy(minute.truth).to(device)).cpu().numpy()
    for row in range(len(minute.played)):
        numbers = {"level_db": level_db(minute.played[row]) - level_db(minute.truth[row])}
        for name, side, codes in (("played", "played", minute.codes), ("truth", "truth", truth_codes)):
            audio = getattr(minute, side)[row]
            sounding = activity(audio)
            numbers[f"silent_{name}"] = 1 - float(sounding.mean())
            numbers |= {f"{key}_{name}": value for key, value in repetition(codes[row], sounding).items()}
            numbers[f"drift_db_{name}"] = drift_db(audio, getattr(first, side)[row])
        for name, value in numbers.items():
            told.setdefault(name, []).append(value)
    return told


def level_db(audio: Audio) -> float:
    """RMS level; NaN for silence."""
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return 10 * float(np.log10(power)) if power > 0 else float("nan")


def repetition(codes: NDArray[np.int64], sounding: NDArray[np.bool_], lags: int = LAGS) -> dict[str, float]:
    """How much a window repeats itself, by its codes [K, T]; frames that are silent [T] count as not repeated.

    longest_run: seconds of the longest run of frames, equal in all levels, that was there before in the window, at any
    distance. repeats: share of sounding frames that equal one of the 1 ... ``lags`` frames before. loop: the greatest
    share of frames that equal the frame one and the same lag before, lags of 0.2 s and more: near 1 for a loop.
    """
    _, frame = np.unique(codes, axis=1, return_inverse=True)
    frame, total = frame.ravel(), codes.shape[1]
    sounding = sounding[:total]
    sounds, again = max(1, int(sounding.sum())), np.zeros(total, dtype=bool)
    run, loop = 0, 0.0
    for lag in range(1, total):
        same = (frame[lag:] == frame[:-lag]) & sounding[lag:]
        run = max(run, longest(same)) if int(same.sum()) > run else run
        if lag <= lags:
            again[lag:] |= same
            loop = (
                max(loop, float(same.sum()) / max(1, int(sounding[lag:].sum())))
                if lag >= FRAME_RATE // 5
                else loop
            )
    return {"longest_run": run / FRAME_RATE, "repeats": float(again.sum()) / sounds, "loop": loop}


def longest(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of True [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def drift_db(audio: Audio, before: Audio) -> float:
    """RMS over frequency of the difference of two mean spectra in dB, their levels taken out; NaN with silence."""
    shapes = []
    for side in (audio, before):
        levels = spectrogram(side)
        loud = levels.max(axis=0) > max(levels.max() - RANGE_DB, -90.0)
        if not loud.any():
            return float("nan")
        mean = levels[:, loud].mean(axis=1)
        shapes.append(mean - mean.mean())
    return float(np.sqrt(np.mean((shapes[0] - shapes[1]) ** 2)))


def by_minute(power: NDArray[np.float32]) -> list[float]:
    """Share of frames below -60 dB (RMS) in each minute, mean over sessions."""
    silent = 10 * np.log10(power + 1e-12) < SILENT_DB
    size = 60 * FRAME_RATE
    return [float(silent[:, start : start + size].mean()) for start in range(0, silent.shape[1], size)]


def markdown(report: dict[str, Any]) -> str:
    """Two tables: how it goes with the input, and whether it goes on living."""
    match = [["minute", "coherence", "truth", "random pairing", "NC"]]
    match[0] += ["level − truth's (dB)", "silent", "silent, truth"]
    life = [["minute"]]
    for title in ("longest repeat (s)", "frames repeated", "best loop", "drift from the first (dB)"):
        life[0] += [title, "truth"]
    for row in report["rows"]:
        minute = f"{row['minute']:g}"
        scores = [plain(row[f"coherence_{name}"], 2) for name in ("played", "truth", "random")]
        silent = [plain(row[f"silent_{name}"], 3) for name in ("played", "truth")]
        match.append(
            [minute, *scores, plain(row["nc"], 2) if row["nc"] else "–", signed(row["level_db"], 1), *silent]
        )
        cells = [
            plain(row[f"{key}_{name}"], 2)
            for key in ("longest_run", "repeats", "loop", "drift_db")
            for name in ("played", "truth")
        ]
        life.append([minute, *cells])
    silences = ", ".join(number(each, 1) for each in report["longest_silence_seconds"])
    text = (
        f"{len(report['sessions'])} sessions of {report['minutes']:g} minutes, t_f = {report['t_f']:g} s, "
        f"k = {report['k']:g} s. Each row: the {report['window_seconds']:g} s that end at that minute, or all there was. "
        f"Coherence: {report['network']['name']}. 95 % intervals over songs. Longest silence: {silences} s."
    )
    return "\n\n".join([text, table(match), table(life)]) + "\n"
