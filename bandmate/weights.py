"""Weights that others published: where they are, their licences and hashes, and the copies on this machine.

Nothing is fetched unless asked for. A file is used only when its SHA-256 is right; where its publisher names none, the
hash of the first copy is written down beside it and later copies must equal that one.
"""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known

BLOCK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds without an answer
RECORD = "hashes.json"  # in the folder of the weights: file -> SHA-256 of the first copy
AGENT = {"User-Agent": "bandmate"}


@dataclass(frozen=True)
class Source:
    """One published file. ``sha256`` may be the beginning of the hash, or empty where none is published."""

    name: str
    what: str
    url: str
    file: str
    megabytes: int
    licence: str
    home: str
    """A page for people, to fetch the file by hand."""
    sha256: str = ""
    sha256_from: str = "not published"


BEATS = "https://cloud.cp.jku.at/public.php/dav/files/7ik4RrBKTS273gp"
PAPER = "lukewys/stream_music_gen"  # the repository of the paper's authors on the hub
PAPER_PREFIX = "stream-music-gen/"  # before the path of one of its files
HUB = "https://huggingface.co"

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="cocola",
            what="COCOLA_HP_v1: coherence of a stem with a mix, both/harmonic/percussive",
            url="https://drive.usercontent.google.com/download?id=1S-_OvnDwNFLNZD5BmI1Ouck_prutRVWZ&export=download&confirm=t",
            file="cocola-hp-v1.ckpt",
            megabytes=20,
            licence="not stated (code: MIT)",
            home="https://drive.google.com/file/d/1S-_OvnDwNFLNZD5BmI1Ouck_prutRVWZ/view",
        ),
        Source(
            name="beat-this",
            what="Beat This final0: beats",
            url=f"{BEATS}/final0.ckpt",
            file="beat-this-final0.ckpt",
            megabytes=78,
            licence="MIT",
            home="https://cloud.cp.jku.at/index.php/s/7ik4RrBKTS273gp",
            sha256="8c328b45f59d8dd3dff219253ff6a8d6482be57d0133a29140e2febbf8eb8331",
            sha256_from="nixpkgs, not the publisher",
        ),
        Source(
            name="beat-this-small",
            what="Beat This small0: beats, a tenth of the size",
            url=f"{BEATS}/small0.ckpt",
            file="beat-this-small0.ckpt",
            megabytes=8,
            licence="MIT",
            home="https://cloud.cp.jku.at/index.php/s/7ik4RrBKTS273gp",
            sha256="6074be2c4d490c5f6101fcc374a1ec72ae93456e23bb6019783b849f5dc7d47b",
            sha256_from="others' packaging, not the publisher",
        ),
        Source(
            name="vggish",
            what="VGGish for PyTorch: embeddings for the Fréchet audio distance",
            url="https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
            file="vggish-10086976.pth",
            megabytes=288,
            licence="Apache-2.0",
            home="https://github.com/harritaylor/torchvggish/releases/tag/v0.1",
            sha256="10086976",
            sha256_from="the file's name, its first 8 digits",
        ),
        Source(
            name="stream-music-gen-dac",
            what="the paper's causal DAC, 32 kHz, 400 k steps",
            url=f"{HUB}/{PAPER}/resolve/main/250121_stemmix_dac_weights_400k_steps.pth",
            file="stream-music-gen/250121_stemmix_dac_weights_400k_steps.pth",
            megabytes=0,
            licence="not stated (code: MIT)",
            home=f"{HUB}/{PAPER}",
            sha256_from="the hub, asked when it is fetched",
        ),
    )
}


class Unreachable(OSError):
    """The network or the publisher's server did not give the file."""


def folder() -> Path:
    """Where the copies are: $BANDMATE_WEIGHTS, else bandmate/weights in the user's cache."""
    if chosen := os.environ.get("BANDMATE_WEIGHTS"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bandmate" / "weights"


def source(name: str) -> Source:
    """The entry of a name. Any file of the paper's authors is ``stream-music-gen/<path on the hub>``."""
    if name in SOURCES:
        return SOURCES[name]
    if name.startswith(PAPER_PREFIX) and (path := name.removeprefix(PAPER_PREFIX)):
        if ".." in Path(path).parts:
            raise ValueError(f"{path!r} is not the path of a file on the hub")
        quoted = urllib.parse.quote(path)
        return Source(
            name,
            "a checkpoint of the paper's authors",
            f"{HUB}/{PAPER}/resolve/main/{quoted}",
            name,
            0,
            "not stated (code: MIT)",
            f"{HUB}/{PAPER}",
            sha256_from="the hub, asked when it is fetched",
        )
    near = difflib.get_close_matches(name, SOURCES, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else "see bandmate models list"
    raise ValueError(f"there are no weights {name!r}; {hint}")


def path_of(name: str) -> Path:
    """Where the copy of these weights belongs, whether it is there or not."""
    return folder() / source(name).file


def find(name: str) -> Path:
    """The checked copy. FileNotFoundError when it was not fetched, ValueError when its hash is wrong."""
    path = path_of(name)
    if not path.is_file():
        raise FileNotFoundError(f"the weights {name!r} are not on this machine: bandmate models fetch {name}")
    expected = known_hash(source(name))
    if expected and not (actual := sha256_of(path)).startswith(expected):
        raise ValueError(
            f"{path} has the wrong hash {actual[:12]}... instead of {expected[:12]}...: "
            f"delete it and run bandmate models fetch {name}"
        )
    return path


def known_hash(entry: Source) -> str:
    """The whole published hash, else the recorded one of the first copy, else what is known of it, maybe nothing."""
    if len(entry.sha256) == hashlib.sha256().digest_size * 2:
        return entry.sha256
    return recorded().get(entry.file, entry.sha256)


def recorded() -> dict[str, str]:
    """What was written down about copies whose publisher names no hash."""
    try:
        return dict(json.loads((folder() / RECORD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise ValueError(
            f"{folder() / RECORD} is damaged: delete it, hashes are then recorded anew"
        ) from None


def record(entry: Source, digest: str) -> None:
    path = folder() / RECORD
    text = json.dumps(recorded() | {entry.file: digest}, indent=1, sort_keys=True)
    part = path.with_suffix(".part")
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, progress: Progress | None = None, tell: Callable[[str], None] = print) -> Path:
    """Fetches these weights unless they are here, and returns their path.

    A part that was fetched before is gone on with. Unreachable (an OSError) when the network fails, the part is kept;
    ValueError when the hash is wrong, the file is then kept beside the place with the ending .bad. ``tell`` is given a
    line for people when there is something to say about the hash.
    """
    entry = source(name)
    path = path_of(name)
    if path.is_file():
        return find(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    expected = known_hash(entry) or hub_hash(entry)
    part = path.with_name(path.name + ".part")
    download(entry, part, progress)
    accept(entry, part, path, expected, tell)
    return path


def register(name: str, file: Path, tell: Callable[[str], None] = print) -> Path:
    """Copies a file that was fetched by hand to where it belongs, checked like a fetched one; it stays where it is."""
    entry = source(name)
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no file {file}: give the weights that you fetched from {entry.home}"
        )
    path = path_of(name)
    expected = known_hash(entry)
    if expected and not sha256_of(file).startswith(expected):
        raise ValueError(wrong_hash(entry, file, sha256_of(file), expected))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    shutil.copyfile(file, part)
    accept(entry, part, path, expected, tell)
    return path


def accept(entry: Source, part: Path, path: Path, expected: str, tell: Callable[[str], None]) -> None:
    """Puts a complete download in its place if its hash is right, else aside."""
    digest = sha256_of(part)
    if expected and not digest.startswith(expected):
        bad = path.with_name(path.name + ".bad")
        os.replace(part, bad)
        raise ValueError(wrong_hash(entry, bad, digest, expected))
    if not expected:
        tell(f"no hash is published for {entry.name}: {digest} is recorded, later copies must equal it")
    if len(entry.sha256) < len(digest):
        record(entry, digest)
    os.replace(part, path)


def wrong_hash(entry: Source, path: Path, digest: str, expected: str) -> str:
    return (
        f"{path} is not {entry.name}: its SHA-256 begins with {digest[:12]}, {expected[:12]} is expected; "
        f"try again, or fetch it by hand from {entry.home}"
    )


def download(entry: Source, part: Path, progress: Progress | None = None) -> None:
    """entry.url -> part, from where an earlier try ended if the server can."""
    try:
        with contextlib.closing(_open(entry.url, _size(part))) as answer:
            resumed = answer.status == 206
            if "text/html" in answer.headers.get("Content-Type", ""):
                raise Unreachable(
                    f"{entry.name}: a page came instead of the file; fetch it by hand from {entry.home} "
                    f"and run bandmate models fetch {entry.name} --from FILE"
                )
            _copy(answer, part, resumed, progress)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and _size(part):  # nothing after what is here: it is complete
                return
        raise Unreachable(f"{entry.name}: {entry.url} answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(
            f"{entry.name} could not be fetched ({reason}): run the same command again to go on, or fetch it "
            f"by hand from {entry.home} and add --from FILE"
        ) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _open(url: str, start: int = 0) -> HTTPResponse:
    headers = AGENT | ({"Range": f"bytes={start}-"} if start else {})
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def _copy(answer: HTTPResponse, part: Path, resumed: bool, progress: Progress | None) -> None:
    """The body to a file; an answer that ends early is a ConnectionError."""
    done = _size(part) if resumed else 0
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length else None
    with part.open("ab" if resumed else "wb") as file:
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            if progress:
                progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def hub_hash(entry: Source) -> str:
    """SHA-256 that the hub names for a file of the paper's authors; empty where it is not on the hub or names none."""
    marker = f"{HUB}/{PAPER}/resolve/main/"
    if not entry.url.startswith(marker):
        return ""
    files = hub_files(entry)
    path = urllib.parse.unquote(entry.url.removeprefix(marker))
    if path not in files:
        raise ValueError(
            f"the hub has no {path!r} in {PAPER}; it has {', '.join(sorted(files)) or 'nothing'}"
        )
    return files[path]


def hub_files(entry: Source) -> dict[str, str]:
    """Path -> SHA-256 (empty for small files) of everything that the paper's authors have on the hub."""
    url = f"{HUB}/api/models/{PAPER}/tree/main?recursive=true"
    try:
        with contextlib.closing(_open(url)) as answer:
            rows = json.load(answer)
        return {row["path"]: row.get("lfs", {}).get("oid", "") for row in rows if row["type"] == "file"}
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(
            f"{entry.name}: {HUB} does not tell its files ({reason}); try again later"
        ) from None


class Placeholder:
    """Stands for an object of a library that is not wanted: a checkpoint's settings, say. Does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments


def read_pickled(path: Path) -> dict[str, Any]:
    """A checkpoint made by torch.save as plain data and tensors on the CPU; nothing in it is executed.

    Objects of other libraries' classes come out as :class:`Placeholder`. ValueError when the file cannot be read so.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_placeholders(path)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a checkpoint ({reason}); fetch it anew") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content


def _placeholders(path: Path) -> list[Any]:
    """What stands for each foreign name in the checkpoint: a class of its own, or a plain dict for a kind of dict."""
    import torch

    if not zipfile.is_zipfile(path):  # the old format: bare tensors, or refused
        return []
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [
        (OrderedDict if name.lower().endswith("dict") else type("Placeholder", (Placeholder,), {}), name)
        for name in names
    ]
