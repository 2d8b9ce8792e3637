"""Writing the prepared store: whole-track codes of every stem, codes or features of random submixes of it."""

import json
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from bandmate.audio.loudness import activity
from bandmate.data.bits import pack_codes
from bandmate.data.files import replacing
from bandmate.data.layout import CODEBOOK, FORMAT, LEFT_OUT, SETTINGS, Entry, StoreConfig
from bandmate.data.stems import LazyTrack, Track
from bandmate.data.windows import draw_submix

Encode = Callable[[NDArray[np.float32]], Any]  # audio [B, S] -> codes [B, K, T], numpy or torch
Listen = Callable[[NDArray[np.float32]], Any]  # audio [B, S] -> features uint8 [B, T, F]
Report = Callable[[int, str], None]  # tracks done, name of the last

STALE = 600.0  # seconds after which a temporary file is what a kill left behind


def write_store(  # noqa: PLR0913 - one argument per thing that a store depends on
    tracks: Iterable[Track | LazyTrack],
    encode: Encode,
    listen: Listen | None,
    path: Path,
    submixes: int = 6,
    seed: int = 0,
    codes: int = 1024,
    submix_codes: bool | None = None,
    source: str = "",
    progress: Report | None = None,
    codebook: Any = None,
) -> dict[str, str]:
    """Encode tracks into the store at `path`; tracks that it holds already are kept, torn ones written anew.

    Per track `encode` gets stems as float32 [B, S] and gives codes [B, K, T]; for the submixes `listen` gives
    features and, with `submix_codes` (the default without `listen`), `encode` gives codes.
    `source` names what made them: a store is not continued with another. `codebook` [K, V, D] is what the codes
    stand for (TokenStore.codebook). `progress(done, id)` is called after each track.
    Threads read ahead; encode and listen run in the caller's thread.
    Returns {track id: why it was left out}. Raises ValueError when the store was made with other settings.
    """
    submix_codes = listen is None if submix_codes is None else submix_codes
    config = StoreConfig(codes, submixes, submix_codes, listen is not None, seed, source)
    claim(path, config, codebook)
    wanted = (track for track in tracks if not is_finished(path, track.id))
    failed: dict[str, str] = {}
    for done, (name, prepared) in enumerate(_read_ahead(wanted, config, min(4, os.cpu_count() or 1)), 1):
        if isinstance(prepared, ValueError):
            failed[name] = str(prepared)
        else:
            _write_track(path, *prepared, encode=encode, listen=listen, config=config)
        if progress:
            progress(done, name)
    return failed


def prepare_track(
    track: Track | LazyTrack, encode: Encode, listen: Listen | None, path: Path, config: StoreConfig
) -> str | None:
    """One track, from its files to the store that `claim` made; why it was left out, or None."""
    prepared = _prepare(track, config)
    if isinstance(prepared, ValueError):
        return str(prepared)
    _write_track(path, *prepared, encode=encode, listen=listen, config=config)
    return None


def claim(path: Path, config: StoreConfig, codebook: Any = None) -> None:
    """Make a store, or check that the one at `path` has the same settings; sweep up what a kill left behind.

    ValueError for a store of another format, of another codec or with other settings.
    """
    path.mkdir(parents=True, exist_ok=True)
    sweep_up(path)
    file, wanted = path / SETTINGS, {"format": FORMAT} | asdict(config)
    if file.exists():
        _refuse_another(path, _settings_there(file), wanted)
    else:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(wanted), encoding="utf-8")
    if codebook is not None and not (path / CODEBOOK).exists():
        with replacing(path / CODEBOOK) as temporary:
            temporary.write_bytes(
                save({"codebook": np.ascontiguousarray(_numpy(codebook), dtype=np.float32)})
            )


def sweep_up(folder: Path) -> None:
    """Delete the temporary files right below a folder that a kill left behind."""
    for temporary in folder.glob(".*.tmp"):
        if time.time() - temporary.stat().st_mtime > STALE:
            temporary.unlink(missing_ok=True)


def _settings_there(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete the store and prepare it again") from None


def _refuse_another(path: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    if there.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a store of another format ({there.get('format')}; this version writes {FORMAT}): "
            "choose a new folder"
        )
    there = {"seconds": wanted["seconds"]} | there  # earlier versions did not write it: unknown
    if there.get("source") != wanted["source"]:
        raise ValueError(
            f"{path} was prepared with another codec ({there.get('source') or 'unnamed'}, this one is "
            f"{wanted['source'] or 'unnamed'}): choose a new folder or delete it"
        )
    differing = sorted(key for key in wanted | there if there.get(key) != wanted.get(key))
    if differing:
        raise ValueError(
            f"{path} was prepared with another {', '.join(differing)}; choose a new folder or delete it"
        )


def is_finished(path: Path, name: str) -> bool:
    """Whether the store at `path` holds the track whole: its entry is readable and its bytes have their checksum."""
    try:
        entry = json.loads((path / f"{name}.json").read_text(encoding="utf-8"))
        data = (path / f"{name}.bin").read_bytes()
        return len(data) == entry["bytes"] and zlib.crc32(data) == entry["crc32"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_left_out(path: Path, failed: dict[str, str]) -> list[str]:
    """Tell in `left_out.jsonl` what was left out: whole tracks, and stems of the tracks that are there.

    Returns the same as lines for people, "track: reason". The file goes when nothing is left out.
    """
    rows = list(failed.items())
    for file in sorted(path.glob("*.json")):
        if file.name != SETTINGS and file.stem not in failed:
            entry = json.loads(file.read_text(encoding="utf-8"))
            rows += [(file.stem, reason) for reason in entry.get("left_out", ())]
    return list_left_out(path, rows)


def list_left_out(path: Path, rows: list[tuple[str, str]]) -> list[str]:
    """Rows (track, reason) as `left_out.jsonl` in a folder; the same as lines, sorted. No rows, no file."""
    rows = sorted(rows)
    if rows:
        with replacing(path / LEFT_OUT) as temporary:
            lines = (json.dumps({"track": name, "reason": reason}) + "\n" for name, reason in rows)
            temporary.write_text("".join(lines), encoding="utf-8")
    else:
        (path / LEFT_OUT).unlink(missing_ok=True)
    return [f"{name}: {reason}" for name, reason in rows]


Prepared = tuple[Track, tuple[tuple[int, ...], ...], NDArray[np.bool_]]


def _prepare(track: Track | LazyTrack, config: StoreConfig) -> Prepared | ValueError:
    """Track, drawn submixes and activity [N, T]; the ValueError itself when the track cannot be used."""
    left_out: list[str] = []
    try:
        loaded = track.load() if isinstance(track, LazyTrack) else track
        left_out = loaded.meta.get("left_out", [])
        if loaded.id != track.id:
            raise ValueError(f"track {track.id!r} calls itself {loaded.id!r}")
        members = draw_submixes(loaded, config.submixes, config.seed)
        # stem by stem: the filter works in double, and a long track has many stems
        sounding = [activity(stem.audio, loaded.sample_rate, config.frame_rate) for stem in loaded.stems]
        return loaded, members, np.stack(sounding)
    except ValueError as error:
        return ValueError("; ".join([str(error), *left_out]))


def _read_ahead(
    tracks: Iterable[Track | LazyTrack], config: StoreConfig, workers: int
) -> Iterator[tuple[str, Prepared | ValueError]]:
    """Prepare tracks in threads (the filter frees the interpreter lock), in order, one per thread ahead."""
    waiting: deque[tuple[str, Future[Prepared | ValueError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for track in tracks:
            waiting.append((track.id, pool.submit(_prepare, track, config)))
            if len(waiting) > workers:
                name, future = waiting.popleft()
                yield name, future.result()
        for name, future in waiting:
            yield name, future.result()


def draw_submixes(track: Track, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Up to `count` different submixes, by (seed, track id) alone; fewer where there are no more."""
    rng = np.random.default_rng([seed, zlib.crc32(track.id.encode())])
    drawn = (draw_submix(track.instruments, rng) for _ in range(8 * count))
    return tuple(dict.fromkeys(drawn))[:count]


def _write_track(
    path: Path,
    track: Track,
    members: tuple[tuple[int, ...], ...],
    active: NDArray[np.bool_],
    encode: Encode,
    listen: Listen | None,
    config: StoreConfig,
) -> None:
    frames = active.shape[1]
    rows = [stem.audio[None] for stem in track.stems]
    stems = _codes_of(rows, encode, frames, config, track.id)
    # a submix sounds where one of its stems does: what a filter over the sum would say, without running it
    heard = np.stack([active[list(member)].any(axis=0) for member in members])
    arrays = [np.packbits(active, axis=1), np.packbits(heard, axis=1), pack_codes(stems, config.bits)]
    if config.submix_codes:
        mixtures = (track.submix(member)[None] for member in members)
        arrays.append(pack_codes(_codes_of(mixtures, encode, frames, config, track.id), config.bits))
    features = 0
    if listen is not None:
        mixtures = (track.submix(member)[None] for member in members)
        heard_as = [_checked_features(listen(mixture), frames, track.id) for mixture in mixtures]
        arrays.append(np.concatenate(heard_as))
        features = arrays[-1].shape[2]
    data = b"".join(array.tobytes() for array in arrays)
    entry = Entry(
        id=track.id, song=track.song, cluster=track.cluster, split=track.split, instruments=track.instruments,
        submixes=members, frames=frames, levels=stems.shape[1], features=features,
        beats=tuple(float(beat) for beat in track.meta.get("beats", ())),
        bytes=len(data), crc32=zlib.crc32(data), left_out=tuple(track.meta.get("left_out", ())),
    )  # fmt: skip
    with replacing(path / f"{track.id}.bin") as temporary:
        temporary.write_bytes(data)
    with replacing(path / f"{track.id}.json") as temporary:
        temporary.write_text(json.dumps(asdict(entry), separators=(",", ":")), encoding="utf-8")


def _numpy(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _codes_of(
    rows: Iterable[NDArray[np.float32]], encode: Encode, frames: int, config: StoreConfig, name: str
) -> NDArray[Any]:
    """Codes [N, K, T] of N times audio [1, S], one at a time: twenty mixtures of a long track fill the memory."""
    return np.concatenate([_checked_codes(encode(row), frames, config, name) for row in rows])


def _checked_codes(value: Any, frames: int, config: StoreConfig, name: str) -> NDArray[Any]:
    codes = _numpy(value)
    if codes.ndim != 3 or codes.shape[2] != frames:
        raise ValueError(f"track {name!r}: the codec gave codes of shape {codes.shape}, not [B, K, {frames}]")
    if codes.min() < 0 or codes.max() >= config.codes:
        raise ValueError(f"track {name!r}: codes must lie in 0..{config.codes - 1}")
    return codes


def _checked_features(value: Any, frames: int, name: str) -> NDArray[np.uint8]:
    features = _numpy(value)
    if features.dtype != np.uint8 or features.ndim != 3 or features.shape[:2] != (1, frames):
        raise ValueError(
            f"track {name!r}: features must be uint8 of shape [1, {frames}, F], "
            f"not {features.dtype} {features.shape}"
        )
    return features
