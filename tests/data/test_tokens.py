import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bandmate.data.bits import pack_codes, row_bytes, unpack_codes
from bandmate.data.stems import LazyTrack, Stem, Track
from bandmate.data.tokens import Example, TokenStore, write_store
from bandmate.instruments import BASS, VOCAL

FRAMES, LEVELS, WIDTH = 200, 4, 12


def sound(rng: np.random.Generator) -> np.ndarray:
    """Noise that sounds in four fifths of 0.2 s blocks."""
    gate = np.repeat(rng.uniform(size=FRAMES // 10) < 0.8, 6400)
    return (0.05 * gate * rng.normal(size=FRAMES * 640)).astype(np.float32)


def make_track(index: int, split: str = "train") -> Track:
    rng = np.random.default_rng(index)
    kinds = [(0, BASS, 14), (BASS, VOCAL, 3, 14), (3, 3)][index % 3]
    stems = tuple(Stem(sound(rng), kind) for kind in kinds)
    song = f"song{index // 2}"
    return Track(f"{song}__r{index % 2:02d}", song, song, split, stems, meta={"beats": [0.5, 1.0]})


def encode(audio: np.ndarray) -> torch.Tensor:
    """Codes that name the audio: sums of its samples, frame by frame, hashed per level."""
    frames = np.abs(audio.reshape(len(audio), -1, 640)).sum(-1) * 1000
    levels = (frames[:, None] * np.arange(1, LEVELS + 1)[:, None]).astype(np.int64) % 1024
    return torch.from_numpy(levels)


def listen(audio: np.ndarray) -> np.ndarray:
    frames = np.abs(audio.reshape(len(audio), -1, 640)).sum(-1) * 1000
    return (frames[..., None] * np.arange(1, WIDTH + 1)).astype(np.int64).astype(np.uint8)


TRACKS = [make_track(index, "test" if index >= 6 else "train") for index in range(8)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("store")
    assert write_store(TRACKS, encode, listen, path, submix_codes=True, source="abc") == {}
    return TokenStore(path)


@given(st.integers(2, 4096), st.integers(1, 9), st.integers(0, 40), st.integers(0, 2**16))
def test_packed_codes_come_back(size: int, levels: int, frames: int, seed: int) -> None:
    bits = (size - 1).bit_length()
    codes = np.random.default_rng(seed).integers(0, size, (levels, frames))
    packed = pack_codes(codes, bits)
    assert packed.shape == (frames, row_bytes(levels, bits))
    np.testing.assert_array_equal(unpack_codes(packed, levels, bits), codes)


def test_four_levels_of_1024_take_five_bytes() -> None:
    assert row_bytes(4, 10) == 5


def test_all_arrays_come_back(store: TokenStore) -> None:
    assert len(store) == 8
    by_id = {track.id: track for track in TRACKS}
    for entry in store.entries:
        track, arrays = by_id[entry.id], store.arrays(entry)
        assert entry.instruments == track.instruments
        assert entry.beats == (0.5, 1.0)
        for index, wanted in enumerate(encode(track.audio).numpy()):
            np.testing.assert_array_equal(arrays.stem_codes(index, 3, 190), wanted[:, 3:190])
        for index, members in enumerate(entry.submixes):
            audio = track.submix(members)[None]
            np.testing.assert_array_equal(arrays.submix_codes(index, 0, FRAMES), encode(audio)[0].numpy())
            np.testing.assert_array_equal(arrays.features(index, 5, 9), listen(audio)[0, 5:9])
            sounding = np.any([arrays.active(member) for member in members], axis=0)
            np.testing.assert_array_equal(arrays.heard(index), sounding)


def test_submixes_are_different_and_leave_a_target(store: TokenStore) -> None:
    for entry in store.entries:
        assert len(set(entry.submixes)) == len(entry.submixes) <= 6
        for members in entry.submixes:
            assert any(
                entry.instruments[i] != VOCAL for i in set(range(len(entry.instruments))) - set(members)
            )


def same(one: Example, two: Example) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))


def test_windows_are_a_function_of_seed_and_index(store: TokenStore) -> None:
    forward = [store.window(5, index, 60, pre=20, post=-10) for index in range(20)]
    again = TokenStore(store.path)
    assert all(same(again.window(5, i, 60, pre=20, post=-10), forward[i]) for i in reversed(range(20)))
    copy = pickle.loads(pickle.dumps(store))
    assert same(copy.window(5, 3, 60, pre=20, post=-10), forward[3])
    assert len({(e.track, e.start, e.target) for e in forward}) > 10


@pytest.mark.parametrize(("pre", "post"), [(0, 0), (40, 20), (60, -50), (-20, 30)])
def test_windows_obey_the_rule(store: TokenStore, pre: int, post: int) -> None:
    by_id = {entry.id: entry for entry in store.entries}
    for index in range(60):
        example = store.window(0, index, 50, pre=pre, post=post)
        entry, start = by_id[example.track], example.start
        arrays = store.arrays(entry)
        submix = entry.submixes.index(example.members)
        assert start - pre >= 0
        assert start + 50 + post <= FRAMES
        assert example.target not in example.members
        assert example.instrument == entry.instruments[example.target] != VOCAL
        both = arrays.heard(submix)[start : start + 50] & arrays.active(example.target)[start : start + 50]
        assert both.mean() >= 0.5
        np.testing.assert_array_equal(example.y, arrays.stem_codes(example.target, start, start + 50))
        span = (submix, start - pre, start + 50 + post)
        np.testing.assert_array_equal(example.x_features, arrays.features(*span))
        np.testing.assert_array_equal(example.x_codes, arrays.submix_codes(*span))
        assert example.x_activity == pytest.approx(arrays.heard(submix)[span[1] : span[2]].mean())


def test_a_class_can_be_asked_for(store: TokenStore) -> None:
    assert {store.window(0, index, 40, instrument=BASS).instrument for index in range(10)} == {BASS}
    with pytest.raises(ValueError, match="no window"):
        store.window(0, 0, 40, instrument=VOCAL)


def test_a_window_longer_than_the_tracks_is_refused(store: TokenStore) -> None:
    with pytest.raises(ValueError, match="no window"):
        store.window(0, 0, FRAMES, pre=1)
    with pytest.raises(ValueError, match="not inside"):
        store.example(store.entries[0], 0, 0, FRAMES - 10, 20)


def test_splits(store: TokenStore) -> None:
    test = store.of_split("test")
    assert [len(test), len(store.of_split("train"))] == [2, 6]
    assert {test.window(0, index, 50).split for index in range(10)} == {"test"}
    with pytest.raises(ValueError, match="no tracks"):
        store.of_split("valid").window(0, 0, 50)


def test_the_control_is_another_song_of_like_activity(store: TokenStore) -> None:
    for index in range(20):
        example = store.window(0, index, 50, pre=10)
        control = store.control(example, 1)
        assert same(control, store.control(example, 1))
        assert control.control
        assert control.x_song != example.song
        assert control.x_features is not None
        assert control.x_features.shape == (60, WIDTH)
        assert abs(control.x_activity - example.x_activity) <= 0.1
        np.testing.assert_array_equal(control.y, example.y)
    with pytest.raises(ValueError, match="second song"):
        store.of_split("test").control(store.of_split("test").window(0, 0, 50), 0)


def test_statistics(store: TokenStore) -> None:
    stats = store.stats()
    assert (stats["tracks"], stats["songs"], stats["splits"]) == (8, 4, {"train": 6, "test": 2})
    assert stats["hours"] == pytest.approx(8 * 4 / 3600)
    assert stats["bytes"] == sum(file.stat().st_size for file in store.path.glob("*.bin"))


def written(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_store(TRACKS[:4], encode, None, whole)

    def dies() -> Iterator[Track]:
        yield from TRACKS[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(dies(), encode, None, broken)
    write_store(TRACKS[:3], encode, None, broken)
    victim = TRACKS[1].id
    with (broken / f"{victim}.bin").open("r+b") as file:  # torn: right length, wrong content
        file.seek(40)
        file.write(b"\xff\x00\xff")
    (broken / f"{TRACKS[2].id}.json").write_text("{")
    done: list[str] = []
    write_store(TRACKS[:4], encode, None, broken, progress=lambda _, name: done.append(name))
    assert done == [track.id for track in TRACKS[1:4]]
    assert written(broken) == written(whole)


def test_finished_tracks_are_not_even_read(tmp_path: Path) -> None:
    write_store(TRACKS[:1], encode, None, tmp_path)

    def never() -> Track:
        raise AssertionError("read again")

    assert write_store([LazyTrack(TRACKS[0].id, never)], encode, None, tmp_path) == {}


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="bandmate prepare"):
        TokenStore(tmp_path)
    write_store(TRACKS[:1], encode, None, tmp_path)
    file = tmp_path / f"{TRACKS[0].id}.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut short"):
        TokenStore(tmp_path)
    file.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        TokenStore(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="another format"):
        TokenStore(tmp_path)


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    write_store(TRACKS[:1], encode, None, tmp_path)
    with pytest.raises(ValueError, match="another features, submix_codes"):
        write_store(TRACKS[:1], encode, listen, tmp_path)
    with pytest.raises(ValueError, match="another codec"):
        write_store(TRACKS[:1], encode, None, tmp_path, source="other codec")


def test_tracks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    lone = Track("lone", "s", "s", "train", TRACKS[0].stems[:1])
    failed = write_store([lone, TRACKS[0]], encode, None, tmp_path)
    assert list(failed) == ["lone"]
    assert len(TokenStore(tmp_path)) == 1


@pytest.mark.parametrize(
    ("encoder", "listener", "match"),
    [
        (lambda audio: encode(audio)[:, :, 1:], None, "shape"),
        (lambda audio: encode(audio) + 1024, None, "codes must lie"),
        (encode, lambda audio: listen(audio).astype(np.float32), "uint8"),
    ],
)
def test_wrong_codes_or_features_are_refused(
    tmp_path: Path, encoder: object, listener: object, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        write_store(TRACKS[:1], encoder, listener, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.bin"))


def test_without_features_the_submixes_have_codes(tmp_path: Path) -> None:
    write_store(TRACKS[:2], encode, None, tmp_path, submixes=2)
    example = TokenStore(tmp_path).window(0, 0, 30, pre=5)
    assert example.x_features is None
    assert example.x_codes is not None
    assert example.x_codes.shape == (LEVELS, 35)
    assert example.x_codes.dtype == example.y.dtype == np.int16
