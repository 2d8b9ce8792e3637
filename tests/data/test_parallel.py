import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bandmate.data.files import replacing
from bandmate.data.layout import LEFT_OUT
from bandmate.data.parallel import on_this_machine
from bandmate.data.prepare import claim, write_left_out
from bandmate.data.space import Extent, check_space, expected_bytes, size
from bandmate.data.tokens import TokenStore
from tests.data import trees
from tests.data.fake_coder import CONFIG, FakeCoder, tracks, work

ROOT = Path(__file__).parents[2]


def quiet(done: int, name: str) -> None:
    """No report."""


def written(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slakh")
    tracks(root)
    return root


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("whole")
    claim(path, CONFIG)
    assert on_this_machine(work(path), tracks(data), 1, quiet) == {}
    return written(path)


def test_twelve_bits_come_back_and_take_six_bytes_a_frame(
    data: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    claim(tmp_path, CONFIG, np.ones((4, 4096, 2)))
    on_this_machine(work(tmp_path), tracks(data)[:2], 1, quiet)
    store = TokenStore(tmp_path)
    assert store.codebook().shape == (4, 4096, 2)
    for entry, track in zip(store.entries, tracks(data)):
        audio, arrays = track.load().audio, store.arrays(entry)
        for stem, wanted in enumerate(FakeCoder().encode(audio)):
            np.testing.assert_array_equal(arrays.stem_codes(stem, 0, entry.frames), wanted)
            assert wanted.max() > 1024
        streams = len(audio) + len(entry.submixes)
        assert entry.bytes == streams * (6 * entry.frames + -(-entry.frames // 8))
        assert len(entry.submixes) == 6  # all that three stems have


def test_processes_do_not_show_in_the_bytes(data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    claim(tmp_path, CONFIG)
    done: list[tuple[int, str]] = []
    assert on_this_machine(work(tmp_path), tracks(data), 2, lambda n, name: done.append((n, name))) == {}
    assert [n for n, _ in done] == [1, 2, 3, 4, 5, 6]
    assert {f"{name}.bin" for _, name in done} <= set(whole)
    assert written(tmp_path) == whole


def test_a_killed_run_goes_on_and_leaves_no_process_behind(
    data: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    script = (
        "from pathlib import Path; from bandmate.data.parallel import on_this_machine\n"
        "from bandmate.data.prepare import claim; from tests.data.fake_coder import *\n"
        "if __name__ == '__main__':\n"
        f"    out = Path({str(tmp_path)!r}); claim(out, CONFIG)\n"
        f"    on_this_machine(work(out, FakeCoder(0.05)), tracks(Path({str(data)!r})), 2, lambda *_: None)\n"
    )
    file = tmp_path.with_suffix(".py")
    file.write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(file)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    while not list(tmp_path.glob("*.json"))[1:]:  # the settings and a track
        assert process.poll() is None
        time.sleep(0.01)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    while any(alive(pid) for pid in workers):
        time.sleep(0.05)
    assert len(list(tmp_path.glob("*.json"))) < 7
    claim(tmp_path, CONFIG)
    on_this_machine(work(tmp_path), work(tmp_path).unfinished(tracks(data)), 1, quiet)
    assert {name: data for name, data in written(tmp_path).items() if not name.endswith(".tmp")} == whole


def children(pid: int) -> list[int]:
    return [
        int(part)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for part in (task / "children").read_text().split()
    ]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_is_killed_is_told(data: Path, tmp_path: Path) -> None:
    claim(tmp_path, CONFIG)
    with pytest.raises(OSError, match="a process was killed, perhaps for want of memory"):
        on_this_machine(work(tmp_path, FakeCoder(deadly=True)), tracks(data)[:2], 2, quiet)


def test_a_disk_that_fills_up_keeps_what_was_finished(
    data: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = sum(len(whole[f"Track0000{number}.bin"]) for number in (1, 2, 3)) + 1000
    write = Path.write_bytes

    def fill(self: Path, content: bytes) -> int:
        nonlocal left
        left -= len(content)
        if left < 0:
            write(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, content)

    claim(tmp_path, CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(OSError, match="No space left on device"):
            on_this_machine(work(tmp_path), tracks(data), 1, quiet)
    assert [entry.id for entry in TokenStore(tmp_path).entries] == ["Track00001", "Track00002", "Track00003"]
    assert TokenStore(tmp_path).window(0, 0, 5).y.shape == (4, 5)
    todo = work(tmp_path).unfinished(tracks(data))
    assert [track.id for track in todo] == ["Track00004", "Track00005", "Track00006"]
    on_this_machine(work(tmp_path), todo, 1, quiet)
    assert written(tmp_path) == whole


def test_what_is_left_out_is_told_at_every_run(tmp_path: Path) -> None:
    root, out = trees.slakh_redux(tmp_path / "data"), tmp_path / "store"
    trees.damage(root / "train" / "Track00001" / "stems" / "S01.flac")
    for name in ("S01", "S02"):
        trees.damage(root / "test" / "Track00003" / "stems" / f"{name}.flac")
    claim(out, CONFIG)
    for _ in range(2):
        todo = work(out).unfinished(tracks(root))
        failed = on_this_machine(work(out), todo, 1, quiet)
        lines = write_left_out(out, failed)
        assert [line.split(":")[0] for line in lines] == ["Track00001", "Track00003"]
        assert "S01.flac is damaged" in lines[0]
        assert "two stems or more" in lines[1]
        assert "S02.flac is damaged" in lines[1]
        assert len((out / LEFT_OUT).read_text().splitlines()) == 2
    assert len(TokenStore(out)) == 2
    assert write_left_out(tmp_path, {}) == []


def test_what_a_kill_left_behind_is_swept_up_later(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.bin.1.tmp", tmp_path / ".b.bin.2.tmp"
    for file in (old, new):
        file.write_text("half")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    claim(tmp_path, CONFIG)
    assert (old.exists(), new.exists()) == (False, True)


def test_the_size_is_known_beforehand(whole: dict[str, bytes]) -> None:
    """Six tracks of 0.3 to 0.8 s, three stems: the entries are guessed, the rest is exact but for rounding."""
    told = expected_bytes(Extent(6, 0.55, 3), CONFIG, levels=4, features=0) - 6 * 600
    assert told == pytest.approx(
        sum(len(content) for name, content in whole.items() if name.endswith(".bin")), rel=0.03
    )
    features = expected_bytes(Extent(1, 10, 3), CONFIG, 4, 176) - expected_bytes(
        Extent(1, 10, 3), CONFIG, 4, 0
    )
    assert features == 500 * 6 * 176


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "there", 1000)
    with pytest.raises(OSError, match=r"will take about 1000000000\.0 GB, but its disk has"):
        check_space(tmp_path / "not" / "there", 10**18)
    assert not (tmp_path / "not").exists()
    assert [size(count) for count in (0, 999, 1000, 4_700_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "4.7 GB",
    ]


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())
