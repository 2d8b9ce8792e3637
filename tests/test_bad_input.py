"""What people get wrong, over all verbs: exit code 2, one line that says what to do, nothing written, nothing touched."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bandmate.cli import main
from tests.sweep import small, studies

RATE = 32_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good things and of their broken twins."""
    place = tmp_path_factory.mktemp("place")
    small.rendered(place / "rendered", songs=2)
    small.bundle(place / "tiny")
    broken_bundles(place)
    hiss = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    soundfile.write(place / "song.wav", hiss, RATE)
    (place / "empty.wav").touch()
    (place / "text.wav").write_text("no sound\n")
    (place / "half.wav").write_bytes((place / "song.wav").read_bytes()[:30])
    (place / "nothing").mkdir()
    for name in ("whole", "lacking", "damaged", "listed"):
        studies.clip_folder(place / name, clips=2, frames=50)
    (place / "lacking" / "prediction" / "00001.flac").unlink()
    (place / "damaged" / "prediction" / "00000.flac").write_bytes(b"fLaC")
    (place / "listed" / "clips.jsonl").write_text("{half\n")
    return place


def broken_bundles(place: Path) -> None:
    for name, text in (("unreadable", "codec: [\n"), ("blank", ""), ("list", "- 1\n")):
        (place / name).mkdir()
        (place / name / "config.yaml").write_text(text)
    shutil.copytree(place / "tiny", place / "cut")
    weights = place / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])


def contents(place: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder below."""
    found = {str(path.relative_to(place)): path.stat() for path in place.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("stream none.wav -o out.wav", "there is no file none.wav"),
        ("stream nothing -o out.wav", "nothing is a folder"),
        ("stream empty.wav -o out.wav", "empty.wav"),
        ("stream text.wav -o out.wav", "text.wav"),
        ("stream half.wav -o out.wav", "half.wav"),
        ("stream song.wav -o nowhere/out.wav", "create it first"),
        ("stream song.wav -o out.wav --instrument Kazoo", "unknown instrument 'Kazoo'"),
        ("stream song.wav -o out.wav --t-f nan", "--t-f nan is out of range"),
        ("stream song.wav -o out.wav --model cut", "is damaged or cut short"),
        ("stream song.wav -o out.wav --model unreadable", "unreadable/config.yaml cannot be read"),
        ("stream song.wav -o out.wav --model blank", "blank/config.yaml"),
        ("stream song.wav -o out.wav --model list", "list/config.yaml"),
        ("stream song.wav -o out.wav --model nothing", "nothing"),
        ("bench --audio text.wav", "cannot read text.wav as audio"),
        ("bench --model cut", "is damaged or cut short"),
        ("plan --model nothing", "nothing is not a model"),
        ("plan --loopback --jitter nan", "--jitter nan is out of range"),
        ("plan --json nowhere/plan.json", "create it first"),
        ("prepare midi --out out --renditions 0", "--renditions 0 is out of range"),
        ("prepare midi --out out --seconds -1", "--seconds -1 is out of range"),
        ("prepare midi --out out --workers -1", "--workers -1 is out of range"),
        ("prepare band --out out --seconds 20", "--seconds is for midi, store, slakh,"),
        ("prepare midi --out out --codec tiny", "--codec is for store, slakh,"),
        ("prepare store --data rendered --codec tiny --out out --renditions 3", "--renditions is for midi"),
        ("prepare midi --out song.wav", "song.wav is a file: give a folder"),
        ("prepare store --data rendered --codec tiny --out out --seconds nan", "--seconds nan is out of range"),
        ("prepare store --data rendered --codec tiny --out out --submixes -1", "--submixes -1 is out of range"),
        ("prepare store --data nothing --codec tiny --out out", "no rendered tracks"),
        ("prepare folder --data rendered --codec tiny --out out --layout blank/config.yaml", "blank/config.yaml"),
        ("train codec --data rendered --out out --preset tinny", "tinny"),
        ("train codec --data rendered --out out --preset tiny --set nonsense=3", "there is no field 'nonsense'"),
        ("train codec --data rendered --out out --preset tiny --threads -1", "--threads must be 0 or more"),
        ("train lm --data rendered --out out --preset tiny --devices 0", "--devices must be 1 or more"),
        ("train lm --data rendered --out out --preset tiny --strategy xyz", "'xyz'"),
        ("train lm --data rendered --out out --preset tiny --accelerator quantum", "'quantum'"),
        ("train codec --data rendered --out song.wav --preset tiny", "song.wav is a file: give a folder"),
        ("train codec --data rendered --out out --preset tiny --set batch=x", "batch takes a whole number"),
        ("train codec --data rendered --out out --preset tiny --set batch", "batch takes a whole number"),
        ("train codec --data rendered --out out --preset tiny --set batch=0", "batch must be 1 or more"),
        ("train codec --data rendered --out out --preset tiny --set rate=much", "rate takes a number"),
        ("train codec --data rendered --out out --preset tiny --set codec=4", "codec has fields of its own"),
        ("generate --rendered none --model tiny --out out", "no rendered tracks under none"),
        ("generate --rendered rendered --model tiny --out out --split dream", "split 'dream'; there are: test"),
        ("generate --rendered rendered --model cut --out out", "is damaged or cut short"),
        ("evaluate music --rendered rendered --model tiny --audio song.wav", "--audio song.wav is a file"),
        ("evaluate codec --rendered nothing --model tiny", "no rendered tracks under nothing"),
        ("evaluate systems a=lacking", "1 of 2 clips have no prediction"),
        ("evaluate systems a=listed", "clips.jsonl"),
        ("study build a=whole b=listed --out out --clips 2", "clips.jsonl"),
        ("study build a=whole b=whole/target --out out --clips 9", "the folders share 2 clips"),
        ("study serve nothing", "was not made by bandmate study build"),
        ("sweep run --grid none --rendered rendered --model tiny --out out", "none"),
        ("sweep run --grid blank/config.yaml --rendered rendered --model tiny --out out", "blank/config.yaml"),
        ("sweep figures --rows empty.wav --out out", "empty.wav"),
        ("sweep page --folders a=lacking --out out", "lacking"),
        ("models import --what decoder --codec text.wav --lm text.wav --out out", "text.wav"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(
    line: str, says: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    before = contents(place)
    assert main(shlex.split(line)) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1, told
    assert told[0].startswith(f"bandmate {line.split()[0]}: ")
    assert says in told[0]
    assert contents(place) == before


def test_training_on_a_gpu_that_is_not_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    before = contents(place)
    typed = ["train", "lm", "--data", "rendered", "--out", "out", "--preset", "tiny", "--accelerator", "gpu"]
    assert main(typed) == 2
    assert "torch sees no GPU" in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.parametrize("name", ["lacking", "damaged"])
def test_a_study_of_a_broken_folder_is_not_begun(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found while mixing, so that progress may have been told before."""
    monkeypatch.chdir(place)
    before = contents(place)
    assert main(["study", "build", "a=whole", f"b={name}", "--out", "out", "--clips", "2"]) == 2
    *progress, told = capsys.readouterr().err.splitlines()
    assert f"{name}/prediction/0000" in told
    assert all(line.startswith("study: ") for line in progress)
    assert contents(place) == before


def test_a_folder_without_a_clip_may_be_begun_anew(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered, model, out = place / "rendered", place / "tiny", tmp_path / "out"
    typed = [
        "generate",
        "--rendered",
        str(rendered),
        "--model",
        str(model),
        "--out",
        str(out),
        "--clips",
        "1",
    ]
    assert main([*typed, "--seconds", "60"]) == 2
    assert "in which a stem and others sound" in capsys.readouterr().err
    assert main([*typed, "--seconds", "1", "--post", "0.5", "--t-f", "0"]) == 0
    assert main([*typed, "--seconds", "2", "--post", "0.5", "--t-f", "0"]) == 2
    assert "was begun with" in capsys.readouterr().err
