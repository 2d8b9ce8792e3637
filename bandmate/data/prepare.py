"""Writing the prepared store: whole-track codes of every stem, codes or features of random submixes of it."""

import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.loudness import activity
from bandmate.data.bits import pack_codes
from bandmate.data.files import replacing
from bandmate.data.layout import FORMAT, Entry, StoreConfig
from bandmate.data.stems import LazyTrack, Track
from bandmate.data.windows import draw_submix

Encode = Callable[[NDArray[np.float32]], Any]  # audio [B, S] -> codes [B, K, T], numpy or torch
Listen = Callable[[NDArray[np.float32]], Any]  # audio [B, S] -> features uint8 [B, T, F]


def write_store(
    tracks: Iterable[Track | LazyTrack],
    encode: Encode,
    listen: Listen | None,
    path: Path,
    submixes: int = 6,
    seed: int = 0,
    codes: int = 1024,
    submix_codes: bool | None = None,
    source: str = "",
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, str]:
    """Encode tracks into the store at `path`; tracks that it holds already are kept, torn ones written anew.

    Per track `encode` gets the stems as float32 [N, S] and gives codes [N, K, T]; for the submixes [M, S]
    `listen` gives features and, with `submix_codes` (the default without `listen`), `encode` gives codes.
    `source` names what made them: a store is not continued with another. `progress(done, id)` is called after
    each track. Threads read ahead; encode and listen run in the caller's thread.
    Returns {track id: why it was left out}. Raises ValueError when the store was made with other settings.
    """
    submix_codes = listen is None if submix_codes is None else submix_codes
    config = StoreConfig(codes, submixes, submix_codes, listen is not None, seed, source)
    path.mkdir(parents=True, exist_ok=True)
    _claim(path, config)
    wanted = (track for track in tracks if not _finished(path, track.id))
    failed: dict[str, str] = {}
    for done, (name, prepared) in enumerate(_read_ahead(wanted, config, min(8, os.cpu_count() or 1)), 1):
        if isinstance(prepared, ValueError):
            failed[name] = str(prepared)
        else:
            _write_track(path, *prepared, encode=encode, listen=listen, config=config)
        if progress:
            progress(done, name)
    return failed


def _claim(path: Path, config: StoreConfig) -> None:
    """Write the store's settings, or check that they are those of the store that is there."""
    file, wanted = path / "store.json", {"format": FORMAT} | asdict(config)
    if not file.exists():
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(wanted), encoding="utf-8")
        return
    there = json.loads(file.read_text(encoding="utf-8"))
    differing = sorted(key for key in wanted | there if there.get(key) != wanted.get(key))
    if differing:
        raise ValueError(
            f"{path} was prepared with another {', '.join(differing)}; choose a new folder or delete it"
        )


def _finished(path: Path, name: str) -> bool:
    try:
        entry = json.loads((path / f"{name}.json").read_text(encoding="utf-8"))
        data = (path / f"{name}.bin").read_bytes()
        return len(data) == entry["bytes"] and zlib.crc32(data) == entry["crc32"]
    except (OSError, ValueError, KeyError):
        return False


Prepared = tuple[Track, tuple[tuple[int, ...], ...], NDArray[np.bool_]]


def _prepare(track: Track | LazyTrack, config: StoreConfig) -> Prepared | ValueError:
    """Track, drawn submixes and activity [N, T]; the ValueError itself when the track cannot be used."""
    try:
        loaded = track.load() if isinstance(track, LazyTrack) else track
        if loaded.id != track.id:
            raise ValueError(f"track {track.id!r} calls itself {loaded.id!r}")
        members = draw_submixes(loaded, config.submixes, config.seed)
        return loaded, members, activity(loaded.audio, loaded.sample_rate, config.frame_rate)
    except ValueError as error:
        return error


def _read_ahead(
    tracks: Iterable[Track | LazyTrack], config: StoreConfig, workers: int
) -> Iterator[tuple[str, Prepared | ValueError]]:
    """Prepare tracks in threads (the filter frees the interpreter lock), in order, two per worker ahead."""
    waiting: deque[tuple[str, Future[Prepared | ValueError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for track in tracks:
            waiting.append((track.id, pool.submit(_prepare, track, config)))
            if len(waiting) > 2 * workers:
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
    stems = _checked_codes(encode(track.audio), frames, config, track.id)
    mixtures = np.stack([track.submix(member) for member in members])
    # a submix sounds where one of its stems does: what a filter over the sum would say, without running it
    heard = np.stack([active[list(member)].any(axis=0) for member in members])
    arrays = [np.packbits(active, axis=1), np.packbits(heard, axis=1), pack_codes(stems, config.bits)]
    if config.submix_codes:
        arrays.append(pack_codes(_checked_codes(encode(mixtures), frames, config, track.id), config.bits))
    features = 0
    if listen is not None:
        arrays.append(_checked_features(listen(mixtures), len(members), frames, track.id))
        features = arrays[-1].shape[2]
    data = b"".join(array.tobytes() for array in arrays)
    beats = tuple(float(beat) for beat in track.meta.get("beats", ()))
    entry = Entry(
        id=track.id, song=track.song, cluster=track.cluster, split=track.split, instruments=track.instruments,
        submixes=members, frames=frames, levels=stems.shape[1], features=features, beats=beats,
        bytes=len(data), crc32=zlib.crc32(data),
    )  # fmt: skip
    with replacing(path / f"{track.id}.bin") as temporary:
        temporary.write_bytes(data)
    with replacing(path / f"{track.id}.json") as temporary:
        temporary.write_text(json.dumps(asdict(entry), separators=(",", ":")), encoding="utf-8")


def _numpy(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _checked_codes(value: Any, frames: int, config: StoreConfig, name: str) -> NDArray[Any]:
    codes = _numpy(value)
    if codes.ndim != 3 or codes.shape[2] != frames:
        raise ValueError(f"track {name!r}: the codec gave codes of shape {codes.shape}, not [B, K, {frames}]")
    if codes.min() < 0 or codes.max() >= config.codes:
        raise ValueError(f"track {name!r}: codes must lie in 0..{config.codes - 1}")
    return codes


def _checked_features(value: Any, count: int, frames: int, name: str) -> NDArray[np.uint8]:
    features = _numpy(value)
    if features.dtype != np.uint8 or features.ndim != 3 or features.shape[:2] != (count, frames):
        raise ValueError(
            f"track {name!r}: features must be uint8 of shape [{count}, {frames}, F], "
            f"not {features.dtype} {features.shape}"
        )
    return features
