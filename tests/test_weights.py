"""Weights of others: fetched from a server on this machine that cuts, lies and is not there."""

import collections
import enum
import hashlib
import json
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from bandmate import cli, weights
from bandmate.weights import Source, Unreachable

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Publisher(ThreadingHTTPServer):
    """Serves `files`; the next answer ends after `cut` bytes; `kind` is the type it claims."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/toy.bin": CONTENT}
        self.cut: int | None = None
        self.ranges = True
        self.kind = "application/octet-stream"
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        path, span = urlsplit(self.path).path, self.headers.get("Range")
        self.server.asked.append((path, span))
        content = self.server.files.get(path)
        if content is None:
            return self.send_error(404)
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.server.ranges else 0
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop, self.server.cut = self.server.cut, None
        self.wfile.write(content[start : len(content) if stop is None else start + stop])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Publisher]:
    monkeypatch.setenv("BANDMATE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "*")
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        offer(monkeypatch, server.url, DIGEST)
        yield server
        server.shutdown()
        thread.join()


def offer(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str) -> None:
    entry = Source("toy", "a toy", f"{url}/toy.bin", "toy.bin", 1, "MIT", "https://example.org/toy", sha256)
    monkeypatch.setitem(weights.SOURCES, "toy", entry)


def in_folder() -> set[str]:
    return {path.name for path in weights.folder().iterdir()}


def test_a_fetched_file_is_found(publisher: Publisher) -> None:
    seen: list[tuple[int, int | None]] = []
    path = weights.fetch("toy", lambda done, total: seen.append((done, total)))
    assert path == weights.find("toy") == weights.folder() / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert in_folder() == {"toy.bin"}
    assert weights.fetch("toy") == path
    assert len(publisher.asked) == 1  # what is here is not fetched again


def test_a_cut_download_is_gone_on_with(publisher: Publisher) -> None:
    publisher.cut = 3000
    with pytest.raises(Unreachable, match=r"3000 of 10240 bytes.*run the same command again"):
        weights.fetch("toy")
    assert in_folder() == {"toy.bin.part"}
    assert weights.fetch("toy").read_bytes() == CONTENT
    assert publisher.asked == [("/toy.bin", None), ("/toy.bin", "bytes=3000-")]
    assert in_folder() == {"toy.bin"}


def test_a_server_without_ranges_begins_anew(publisher: Publisher) -> None:
    publisher.cut, publisher.ranges = 3000, False
    with pytest.raises(Unreachable):
        weights.fetch("toy")
    assert weights.fetch("toy").read_bytes() == CONTENT


def test_a_part_that_is_complete_needs_no_more(publisher: Publisher) -> None:
    weights.folder().mkdir()
    (weights.folder() / "toy.bin.part").write_bytes(CONTENT)
    assert weights.fetch("toy").read_bytes() == CONTENT


def test_a_wrong_hash_is_set_aside(publisher: Publisher) -> None:
    publisher.files["/toy.bin"] = b"something else"
    with pytest.raises(ValueError, match=r"toy\.bin\.bad is not toy: its SHA-256 begins with [0-9a-f]{12}, "):
        weights.fetch("toy")
    assert in_folder() == {"toy.bin.bad"}
    with pytest.raises(FileNotFoundError, match="bandmate models fetch toy"):
        weights.find("toy")


def test_a_copy_that_was_damaged_later_is_refused(publisher: Publisher) -> None:
    weights.fetch("toy").write_bytes(CONTENT[:-1])
    with pytest.raises(
        ValueError, match=r"has the wrong hash .*: delete it and run bandmate models fetch toy"
    ):
        weights.find("toy")


@pytest.mark.parametrize("known", ["", DIGEST[:8]])
def test_an_unpublished_hash_is_recorded_and_said(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    offer(monkeypatch, publisher.url, known)
    told: list[str] = []
    path = weights.fetch("toy", tell=told.append)
    assert json.loads((weights.folder() / "hashes.json").read_text()) == {"toy.bin": DIGEST}
    assert told == (
        [] if known else [f"no hash is published for toy: {DIGEST} is recorded, later copies must equal it"]
    )
    path.unlink()
    publisher.files["/toy.bin"] = b"changed since"
    with pytest.raises(ValueError, match="is not toy"):
        weights.fetch("toy", tell=told.append)


def test_no_network_is_an_error_of_the_environment(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, "http://127.0.0.1:9", DIGEST)  # nobody listens there
    assert cli.main(["models", "fetch", "toy"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "toy could not be fetched (" in error
    assert "https://example.org/toy" in error


def test_an_answer_of_the_server_is_passed_on(publisher: Publisher) -> None:
    publisher.files.clear()
    with pytest.raises(Unreachable, match=r"toy\.bin answers 404"):
        weights.fetch("toy")


def test_a_page_instead_of_the_file_is_not_kept(publisher: Publisher) -> None:
    publisher.kind = "text/html; charset=utf-8"
    with pytest.raises(Unreachable, match=r"a page came instead .* bandmate models fetch toy --from FILE"):
        weights.fetch("toy")
    assert in_folder() == set()


def test_a_file_fetched_by_hand_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    by_hand = tmp_path / "download.bin"
    by_hand.write_bytes(CONTENT)
    assert cli.main(["models", "fetch", "toy", "--from", str(by_hand)]) == 0
    assert weights.find("toy").read_bytes() == CONTENT
    assert by_hand.exists()
    assert publisher.asked == []


def test_a_wrong_file_by_hand_is_left_alone(
    publisher: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = tmp_path / "download.bin"
    by_hand.write_bytes(b"no")
    assert cli.main(["models", "fetch", "toy", "--from", str(by_hand)]) == 2
    assert "download.bin is not toy" in capsys.readouterr().err
    assert by_hand.read_bytes() == b"no"
    assert cli.main(["models", "fetch", "toy", "--from", str(tmp_path / "absent")]) == 2


def test_files_of_the_papers_authors_have_the_hubs_hash(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "HUB", publisher.url)
    tree = [
        {"type": "directory", "path": "models"},
        {"type": "file", "path": "models/one two.ckpt", "size": 10240, "lfs": {"oid": DIGEST, "size": 10240}},
        {"type": "file", "path": "README.md", "size": 3},
    ]
    publisher.files = {
        f"/api/models/{weights.PAPER}/tree/main": json.dumps(tree).encode(),
        f"/{weights.PAPER}/resolve/main/models/one%20two.ckpt": CONTENT,
    }
    name = "stream-music-gen/models/one two.ckpt"
    assert weights.fetch(name) == weights.folder() / name
    with pytest.raises(
        ValueError, match=r"has no 'nine\.ckpt' in .*; it has README\.md, models/one two\.ckpt"
    ):
        weights.fetch("stream-music-gen/nine.ckpt")
    weights.path_of(name).unlink()
    publisher.files[f"/{weights.PAPER}/resolve/main/models/one%20two.ckpt"] = b"not that"
    with pytest.raises(ValueError, match=r"is not stream-music-gen/models/one two\.ckpt"):
        weights.fetch(name)


def test_names_are_known_or_suggested() -> None:
    with pytest.raises(ValueError, match="no weights 'beat-thi'; did you mean 'beat-this'"):
        weights.source("beat-thi")
    with pytest.raises(ValueError, match="not the path of a file on the hub"):
        weights.source("stream-music-gen/../../x")


def test_every_entry_says_licence_source_and_hash() -> None:
    for name, entry in weights.SOURCES.items():
        assert entry.name == name
        assert entry.licence
        assert entry.url.startswith("https://")
        assert entry.home.startswith("https://")
        assert set(entry.sha256) <= set("0123456789abcdef")
        assert bool(entry.sha256) == (
            entry.sha256_from not in ("not published", "the hub, asked when it is fetched")
        )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BANDMATE_WEIGHTS": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/bandmate/weights"),
        ({"HOME": "/c"}, "/c/.cache/bandmate/weights"),
    ],
)
def test_the_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("BANDMATE_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights.folder() == Path(expected)


def test_the_list_tells_what_is_here(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    weights.fetch("toy")
    assert cli.main(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert "duet-small" in text
    assert "1 MB, licence MIT, here" in text
    assert "78 MB, licence MIT, not fetched" in text


class Evil:
    """Would run a command when unpickled the usual way."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pickles-run-code",)


def test_checkpoints_come_out_as_plain_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("some_library")
    library.Mode = enum.Enum("Mode", {"BOTH": "both"}, module="some_library")  # type: ignore[attr-defined]
    library.AttributeDict = type("AttributeDict", (dict,), {"__module__": "some_library"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_library", library)
    settings = {"mode": library.Mode.BOTH, "more": library.AttributeDict(width=3), "place": Path("there")}
    torch.save({"state_dict": {"w": torch.ones(3)}, "settings": settings}, tmp_path / "it.ckpt")
    monkeypatch.delitem(sys.modules, "some_library")
    content = weights.read_pickled(tmp_path / "it.ckpt")
    assert torch.equal(content["state_dict"]["w"], torch.ones(3))
    assert isinstance(content["settings"]["mode"], weights.Placeholder)
    assert content["settings"]["more"] == collections.OrderedDict(width=3)


@pytest.mark.parametrize("new_format", [True, False])
def test_nothing_in_a_checkpoint_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_format: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Evil()}, "evil.ckpt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ValueError, match=r"evil\.ckpt cannot be read as a checkpoint"):
        weights.read_pickled(Path("evil.ckpt"))
    assert not Path("pickles-run-code").exists()


def test_old_formats_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "it.pth"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(weights.read_pickled(path)["w"], torch.ones(3))
    for content in (b"", b"hello", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"it\.pth cannot be read as a checkpoint"):
            weights.read_pickled(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="holds a list, not a checkpoint"):
        weights.read_pickled(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        weights.read_pickled(tmp_path / "absent")
