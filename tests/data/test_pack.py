import csv
import tarfile
from collections import defaultdict
from pathlib import Path

import mido
import pytest

from bandmate.data import pack
from bandmate.data.midi import read_midi
from tests.data.midi_files import TICKS, band, note, write

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


def test_odd_files_cost_themselves_only(tmp_path: Path) -> None:
    band(tmp_path / "good.mid", bars=4)
    write(tmp_path / "still.mid", [mido.MetaMessage("set_tempo", tempo=0), *note(60, TICKS)])
    odd = write(tmp_path / "odd.mid", [mido.MetaMessage("key_signature", key="C"), *note(60, TICKS)])
    odd.write_bytes(odd.read_bytes().replace(b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x6d\x26"))
    entries, failed = pack.build_split(tmp_path)
    assert [entry.path for entry in entries] == ["good.mid"]
    assert sorted(failed) == ["odd.mid", "still.mid"]


@pytest.mark.parametrize(("one", "other"), [("song.mid", "song.midi"), ("a b.mid", "a-b.mid")])
def test_two_songs_of_one_name_are_refused(one: str, other: str, tmp_path: Path) -> None:
    for index, name in enumerate((one, other)):
        band(tmp_path / name, bars=4, shift=2 * index)
    with pytest.raises(
        ValueError, match=f"both be named '{one[:-4].replace(' ', '-')}': {one} and {other}; "
    ):
        pack.build_split(tmp_path)


def test_a_table_of_songs_is_taken_as_it_is(tmp_path: Path) -> None:
    table = "\ufeffpath,slug,cluster,split\nx.mid,my x,x,valid\n"
    (tmp_path / "split.csv").write_text(table, encoding="utf-8")
    assert pack.build_split(tmp_path) == ([pack.Entry("x.mid", "my x", "x", "valid")], {})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("date,amount\nMonday,3\n", "line 2: a table of songs has path, slug, cluster, split"),
        ("path,slug,cluster,split\na.mid,a\n", "line 2: a table of songs has"),
        ("path,slug,cluster,split\na.mid,a,a,train\nb.mid,b,b,validation\n", "line 3: .*'validation'"),
        ("path,slug,cluster,split\na.mid,../a,a,train\n", "cannot name files"),
        ("path,slug,cluster,split\na.mid,a,a,train\nb.mid,a,b,train\n", "both be named 'a': a.mid and b.mid"),
        ("path,slug,cluster,split\n", "lists no songs"),
        ("\xff\xfe", "no table of songs"),
    ],
)
def test_a_table_of_something_else_is_refused(table: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text(table, encoding="latin-1")
    with pytest.raises(ValueError, match=says) as caught:
        pack.build_split(tmp_path)
    assert "\n" not in str(caught.value)
