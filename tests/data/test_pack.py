import csv
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest

from bandmate.data import pack
from bandmate.data.midi import read_midi
from tests.data.midi_files import band

REMIX = "freedoom/d_map21.mid"  # as the credits of the pack say: a remix of
ORIGINAL = "freedoom-history/dave3d08_d8ab56a.mid"
STRANGER = "freedoom/d_map12.mid"


@pytest.fixture(scope="module")
def entries() -> list[pack.Entry]:
    return pack.read_split()


def test_the_table_holds_every_song_of_the_archive_once(entries: list[pack.Entry]) -> None:
    with tarfile.open(pack.ARCHIVE) as tar:
        archived = sorted(member.name.removeprefix("./") for member in tar if member.isfile())
    with (pack.ASSETS / "MANIFEST.csv").open(encoding="utf-8") as file:
        listed = sorted(row["path"] for row in csv.DictReader(file))
    assert sorted(entry.path for entry in entries) == archived == listed
    assert len({entry.slug for entry in entries}) == len(entries)


def test_no_cluster_and_no_title_is_in_two_splits(entries: list[pack.Entry]) -> None:
    for key in (lambda e: e.cluster, lambda e: pack.title_of(e.path)):
        splits = defaultdict(set)
        for entry in entries:
            splits[key(entry)].add(entry.split)
        assert all(len(found) == 1 for found in splits.values())


def test_shares_of_the_split(entries: list[pack.Entry]) -> None:
    share = {split: sum(e.split == split for e in entries) / len(entries) for split in pack.SPLITS}
    assert share["train"] == pytest.approx(0.80, abs=0.02)
    assert share["valid"] == pytest.approx(0.08, abs=0.02)
    assert share["test"] == pytest.approx(0.12, abs=0.02)


def test_the_split_follows_from_the_clusters(entries: list[pack.Entry]) -> None:
    clusters = {entry.path: entry.cluster for entry in entries}
    assert {e.cluster: e.split for e in entries} == pack.assign_splits(clusters)
    assert pack.split_csv(entries) == pack.SPLIT_TABLE.read_text(encoding="utf-8")


def test_clusters_of_some_songs_follow_from_their_notes(entries: list[pack.Entry], tmp_path: Path) -> None:
    """Remixes of one tune are found by their notes, under whatever name; a stranger stays alone."""
    folder = pack.unpack(pack.ARCHIVE, tmp_path)
    assert pack.unpack(pack.ARCHIVE, tmp_path) == folder
    near = {REMIX, ORIGINAL, STRANGER}
    songs = {path: read_midi(folder / path, pack.slug_of(path)) for path in near}
    found = pack.cluster_songs(songs)
    assert found[REMIX] == found[ORIGINAL] != found[STRANGER]
    table = {entry.path: entry.cluster for entry in entries}
    assert table[REMIX] == table[ORIGINAL] != table[STRANGER]


def test_titles_lose_hash_and_prefix() -> None:
    assert (
        pack.title_of("freedoom-history/d_dm02_50f80d4.mid") == pack.title_of("freedoom/D_DM02.mid") == "dm02"
    )
    assert pack.slug_of("a b/c?.mid") == "a-b-c-"


def test_own_files_are_split_and_a_broken_one_is_named(tmp_path: Path) -> None:
    for index in range(3):
        band(tmp_path / f"song{index}.mid", shift=2 * index)
    (tmp_path / "broken.mid").write_bytes(b"nothing")
    entries, failed = pack.build_split(tmp_path)
    assert [entry.path for entry in entries] == ["song0.mid", "song1.mid", "song2.mid"]
    assert list(failed) == ["broken.mid"]
    with pytest.raises(FileNotFoundError, match=r"no \.mid"):
        pack.build_split(tmp_path / "none")


def test_clusters_do_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    songs = {f"{name}.mid": read_midi(band(tmp_path / f"{name}.mid")) for name in ("b", "a_1234567", "d_a")}
    backwards = dict(reversed(songs.items()))
    assert pack.cluster_songs(songs) == pack.cluster_songs(backwards)
    assert pack.cluster_songs(songs)["a_1234567.mid"] == pack.cluster_songs(songs)["d_a.mid"]


def test_no_archive() -> None:
    with pytest.raises(FileNotFoundError, match="no MIDI archive"):
        pack.unpack(Path("nowhere.tar.xz"), Path("cache"))
