"""``bandmate generate`` as it is typed: folders to be measured, the same clips for all systems, no clip made twice."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from bandmate import configs
from bandmate.audio.loudness import lufs
from bandmate.checkpoint import Bundle, load_bundle, save_bundle
from bandmate.cli import main
from bandmate.codec.spectral import SpectralCodec
from bandmate.commands.generate import Arguments, spec_of
from bandmate.commands.parsing import parse
from bandmate.data.render import load_track
from bandmate.generate import frames_needed, generate
from bandmate.model.duet import Duet
from bandmate.model.offline_prefix import OfflinePrefix
from bandmate.model.sampling import Sampler
from bandmate.model.stemgen import StemGen
from bandmate.spec import StreamSpec
from bandmate.sweep.clip_folder import SOUNDS, read_rows, read_sound
from bandmate.sweep.generation import GenerationConfig, Memory, generate_folder, narrowed, places_like, stream
from tests.sweep import small

COMMON = ("--seconds", 1, "--post", 0.5, "--clips", 5)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.rendered(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.bundle(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, rendered: Path, model: Path) -> Path:
    """Five clips at t_f = 0.2 s, k = 0.1 s, in batches of two."""
    out = tmp_path_factory.mktemp("made") / "duet"
    assert run(rendered, model, out, "--t-f", 0.2, "--batch", 2) == 0
    return out


def run(rendered: Path, model: Path, out: Path, *more: object) -> int:
    arguments = ["--rendered", rendered, "--model", model, "--out", out, *COMMON, *more]
    return main(["generate", *map(str, arguments)])


def offline_bundle(folder: Path, kind: str) -> Path:
    """Untrained, over the codec of ``spectral_tiny``."""
    torch.manual_seed(0)
    codec = SpectralCodec(configs.spectral_tiny())
    codec.quantizer.codebook.normal_()
    config = configs.preset(configs.MODELS, kind)
    model = (OfflinePrefix if kind.startswith("offline") else StemGen)(config, codec.codebook_table())
    save_bundle(folder, codec, model, {"temperature": 1.0, "top_k": 32, "guidance": 2.0}, {}, half=False)
    return folder


def sounds(folder: Path, name: str) -> np.ndarray:
    return np.stack([read_sound(folder, name, row["clip"]) for row in read_rows(folder)])


def test_rows_and_sounds(made: Path, rendered: Path, model: Path) -> None:
    rows = read_rows(made)
    assert [row["clip"] for row in rows] == [f"{i:05d}" for i in range(5)]
    assert len({row["song"] for row in rows}) == 4
    for row in rows:
        assert (row["t_f"], row["k"], row["seed"], row["frames"]) == (10, 5, 0, 50)
        assert row["model"] == model.name
        assert row["sampling"]["guidance"] == 1.5
        assert row["n_in"] == len(row["members"])
        assert row["random"]["instrument"] == row["instrument"]
        assert row["random"]["song"] != row["song"]
        for name in SOUNDS:
            info = soundfile.info(made / name / f"{row['clip']}.flac")
            assert (info.frames, info.samplerate, info.channels, info.subtype) == (
                32_000,
                32_000,
                1,
                "PCM_16",
            )
        track, gain = load_track(rendered / "test" / f"{row['track']}.json"), 10 ** (row["gain_db"] / 20)
        span = slice(row["start"] * 640, (row["start"] + 50) * 640)
        true = np.round(track.submix(tuple(row["stems"]))[span] * gain * 32768)
        np.testing.assert_allclose(read_sound(made, "input", row["clip"]), true, atol=1)
        true = np.round(track.stems[row["target"]].audio[span] * gain * 32768)
        np.testing.assert_allclose(read_sound(made, "target", row["clip"]), true, atol=1)
    assert all(np.abs(sounds(made, name).astype(int)).max() <= 32_440 for name in ("input", "input_equal"))
    assert np.abs(sounds(made, "prediction").astype(int)).max() > 0
    codec = load_bundle(str(model)).codec
    assert sounds(made, "target_codec").std() > 0
    assert codec.levels == 4


def test_the_equal_mix_is_of_stems_at_one_loudness(made: Path, rendered: Path) -> None:
    row = next(row for row in read_rows(made) if row["n_in"] == 1)
    assert row["equal_lufs"] <= -23
    heard = read_sound(made, "input_equal", row["clip"]) / 32768
    assert lufs(heard, 32_000) == pytest.approx(row["equal_lufs"], abs=0.1)


def test_batches_do_not_matter_and_a_started_folder_is_completed(
    made: Path, rendered: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    assert run(rendered, model, out, "--t-f", 0.2, "--batch", 5, "--clips", 3) == 0
    assert "3 of 3 clips" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.flac")}
    (out / "prediction" / "00001.flac").unlink()
    (out / "prediction" / ".00001.flac.7.tmp").touch()
    assert run(rendered, model, out, "--t-f", 0.2) == 0
    assert "2 of 5 clips" in capsys.readouterr().err
    assert read_rows(out) == read_rows(made)
    for name in SOUNDS:
        assert np.array_equal(sounds(out, name), sounds(made, name)), name
    assert sum(path.stat().st_mtime_ns == time for path, time in before.items()) == 2 * len(SOUNDS)
    assert not list(out.rglob("*.tmp"))


def test_a_killed_run_goes_on(made: Path, rendered: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    arguments = ["--rendered", rendered, "--model", model, "--out", out, *COMMON, "--t-f", 0.2, "--batch", 1]
    command = [sys.executable, "-m", "bandmate.cli", "generate", *map(str, arguments)]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (out / "clips.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {
        row["clip"]: (out / "prediction" / f"{row['clip']}.flac").stat().st_mtime_ns for row in read_rows(out)
    }
    assert 1 <= len(finished) < 5
    assert run(rendered, model, out, "--t-f", 0.2, "--batch", 1) == 0
    assert read_rows(out) == read_rows(made)
    assert np.array_equal(sounds(out, "prediction"), sounds(made, "prediction"))
    for clip, changed in finished.items():
        assert (out / "prediction" / f"{clip}.flac").stat().st_mtime_ns == changed


def test_another_system_takes_the_same_clips(made: Path, rendered: Path, model: Path, tmp_path: Path) -> None:
    drawn, linked = tmp_path / "drawn", tmp_path / "linked"
    assert run(rendered, model, drawn, "--t-f", -0.2, "--k", 0.04) == 0
    other = ["--t-f", "-0.2", "--k", "0.04", "--like", str(made), "--clips", "5"]
    assert (
        main(["generate", "--rendered", str(rendered), "--model", str(model), "--out", str(linked), *other])
        == 0
    )
    assert read_rows(linked) == read_rows(drawn)
    for name in SOUNDS:
        assert np.array_equal(sounds(drawn, name), sounds(linked, name)), name
    for name in ("input", "input_equal", "target", "random", "target_codec"):
        assert (linked / name / "00003.flac").samefile(made / name / "00003.flac")
        assert np.array_equal(sounds(drawn, name), sounds(made, name))
    assert not np.array_equal(sounds(drawn, "prediction"), sounds(made, "prediction"))


def test_another_codec_has_its_own_target(made: Path, rendered: Path, tmp_path: Path) -> None:
    bundle = offline_bundle(tmp_path / "other", "offline-prefix-tiny")
    assert run(rendered, bundle, tmp_path / "out", "--like", made, "--clips", 2) == 0
    assert not np.array_equal(sounds(tmp_path / "out", "target_codec"), sounds(made, "target_codec")[:2])
    assert (tmp_path / "out" / "target" / "00001.flac").samefile(made / "target" / "00001.flac")


def test_half_width_is_told_and_not_mixed_with_full(
    made: Path, rendered: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--t-f", 0.2, "--like", made, "--precision", "bf16")
    for name in ("a", "b"):
        assert run(rendered, model, tmp_path / name, *arguments, "--clips", 3) == 0
    assert np.array_equal(sounds(tmp_path / "a", "prediction"), sounds(tmp_path / "b", "prediction"))
    assert sounds(tmp_path / "a", "prediction").std() > 0
    assert {row["precision"] for row in read_rows(tmp_path / "a")} == {"bf16"}
    assert run(rendered, model, tmp_path / "a", "--t-f", 0.2, "--like", made) == 2
    assert "was begun with precision = 'bf16', not 'fp32'" in capsys.readouterr().err


def test_a_folder_of_before_there_was_precision_is_completed(
    rendered: Path, model: Path, tmp_path: Path
) -> None:
    assert run(rendered, model, tmp_path / "out", "--clips", 1) == 0
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    early = {name: value for name, value in settings.items() if name not in ("precision", "codec")}
    (tmp_path / "out" / "settings.json").write_text(json.dumps(early))
    assert run(rendered, model, tmp_path / "out", "--clips", 2) == 0
    assert run(rendered, model, tmp_path / "out", "--clips", 2, "--precision", "bf16") == 2


@pytest.mark.parametrize("recall", [False, True])
def test_a_narrowed_model_says_nearly_the_same(recall: bool, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    model = Duet(dataclasses.replace(configs.duet_tiny(), recall=recall)).eval()
    for block in [*model.heard, *model.played]:
        torch.nn.init.normal_(block.attention_out.weight, std=0.3)
        torch.nn.init.normal_(block.mlp.down.weight, std=0.3)
    x = torch.from_numpy(rng.integers(0, 256, size=(2, 30, 176), dtype=np.uint8))
    told = []
    for each in (model, narrowed(model)):
        forced = Forced(guidance=1.5)
        with torch.inference_mode():
            stream(each, x, StreamSpec(2, 5), forced, torch.tensor([1, 4]), 20, 4)
        told.append(torch.stack(forced.told))
    assert 0 < (told[1] - told[0]).abs().max() < 0.05 * told[0].std()
    assert model.embedding.dtype == torch.float32
    sound = torch.from_numpy(rng.normal(size=(1, 3200)).astype(np.float32))
    heard = [each.hear(sound, each.init_ears(1))[0] for each in (model, narrowed(model))]
    assert torch.equal(*heard)


class Forced(Sampler):
    """Draws the same whatever it is told, and keeps that."""

    @functools.cached_property
    def told(self) -> list[torch.Tensor]:
        return []

    def __call__(self, logits: torch.Tensor, column: int) -> torch.Tensor:
        self.told.append(logits)
        return torch.full(logits.shape[:2], column)


def test_memory_spares_the_songs_and_changes_nothing(
    made: Path, rendered: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, memory = load_bundle(str(model)), Memory()
    config = GenerationConfig(places_like(made), 5, StreamSpec(-10, 2), batch=3, like=made)
    generate_folder(bundle, rendered, tmp_path / "first", config, memory=memory)
    monkeypatch.setattr("bandmate.sweep.material.load_track", lambda path: pytest.fail("read again"))
    generate_folder(bundle, rendered, tmp_path / "second", config, memory=memory)
    fresh = dataclasses.replace(config, spec=StreamSpec(10, 5))
    generate_folder(bundle, rendered, tmp_path / "third", fresh, memory=memory)
    assert read_rows(tmp_path / "first") == read_rows(tmp_path / "second")
    for name in SOUNDS:
        assert np.array_equal(sounds(tmp_path / "first", name), sounds(tmp_path / "second", name)), name
        assert np.array_equal(sounds(tmp_path / "third", name), sounds(made, name)), name


def test_how_to_draw_follows_t_f_unless_it_is_given(
    made: Path, rendered: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "model")
    card = yaml.safe_load((model / "config.yaml").read_text())
    card["sampling"]["by_t_f"] = {-0.4: {"guidance": 3.0}, 0.2: {"guidance": 1.0, "top_k": 4}}
    (tmp_path / "model" / "config.yaml").write_text(yaml.safe_dump(card))
    drawn = {}
    for t_f, more in ((-0.3, ()), (0, ()), (0.1, ("--guidance", 1.2))):
        out = tmp_path / f"{t_f}"
        assert run(rendered, tmp_path / "model", out, "--like", made, "--clips", 1, "--t-f", t_f, *more) == 0
        drawn[t_f] = read_rows(out)[0]["sampling"]
    usual = {"temperature": 1.0, "top_k": 16}
    assert drawn[-0.3] == usual | {"guidance": 3.0}
    assert drawn[0] == usual | {"guidance": 1.0, "top_k": 4}
    assert drawn[0.1] == usual | {"guidance": 1.2, "top_k": 4}


def test_a_seed_of_the_sampling_alone(made: Path, rendered: Path, model: Path, tmp_path: Path) -> None:
    arguments = ["--rendered", rendered, "--model", model, "--out", tmp_path / "s", "--t-f", 0.2, "--seed", 1]
    assert main(["generate", *map(str, [*arguments, "--like", made, "--clips", 2])]) == 0
    assert not np.array_equal(sounds(tmp_path / "s", "prediction"), sounds(made, "prediction")[:2])
    assert np.array_equal(sounds(tmp_path / "s", "target"), sounds(made, "target")[:2])


def test_null_and_shuffled_inputs(made: Path, rendered: Path, model: Path, tmp_path: Path) -> None:
    played = {}
    for flag in ("--null-input", "--shuffle-input"):
        out = tmp_path / flag
        assert run(rendered, model, out, "--t-f", 0.2, flag, "--clips", 3) == 0
        played[flag] = sounds(out, "prediction")
        assert np.array_equal(sounds(out, "input"), sounds(made, "input")[:3])
        assert not np.array_equal(played[flag], sounds(made, "prediction")[:3])
    for row in read_rows(tmp_path / "--shuffle-input"):
        assert row["heard"]["song"] != row["song"]
    assert all(row["sampling"]["guidance"] == 0 for row in read_rows(tmp_path / "--null-input"))
    early = tmp_path / "early"
    assert run(rendered, model, early, "--t-f", -0.2, "--null-input", "--clips", 3) == 0
    assert np.array_equal(sounds(early, "prediction"), played["--null-input"])  # hears nothing at any t_f


@pytest.mark.parametrize(("kind", "t_f", "k"), [("offline-prefix-tiny", 50, 1), ("stemgen-tiny", 50, 50)])
def test_offline_models(
    kind: str,
    t_f: int,
    k: int,
    made: Path,
    rendered: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = offline_bundle(tmp_path / kind, kind)
    assert run(rendered, bundle, tmp_path / "out", "--clips", 3, "--batch", 2) == 0
    assert run(rendered, bundle, tmp_path / "null", "--clips", 3, "--null-input", "--batch", 3) == 0
    rows = read_rows(tmp_path / "out")
    assert {(row["t_f"], row["k"], row["model"]) for row in rows} == {(t_f, k, kind)}
    assert np.array_equal(sounds(tmp_path / "out", "input"), sounds(made, "input")[:3])
    assert not np.array_equal(sounds(tmp_path / "out", "prediction"), sounds(tmp_path / "null", "prediction"))
    capsys.readouterr()
    assert run(rendered, bundle, tmp_path / "wrong", "--t-f", 0) == 2
    assert "an offline model hears the whole clip" in capsys.readouterr().err


@pytest.mark.parametrize(("t_f", "k"), [(10, 5), (-3, 1), (0, 7), (-60, 2)])
def test_listening_at_once_equals_the_oracle(t_f: int, k: int, model: Path, rng: np.random.Generator) -> None:
    bundle, spec = load_bundle(str(model)), StreamSpec(t_f, k)
    x = torch.from_numpy(rng.integers(0, 256, size=(2, frames_needed(spec, 20) + 1, 176), dtype=np.uint8))
    sampler, ids = Sampler(guidance=1.5, top_k=16, seed=2, players=(3, 8)), torch.tensor([4, 14])
    with torch.inference_mode():
        played = stream(bundle.model, x, spec, sampler, ids, 20, 4)
    assert torch.equal(played, generate(bundle.model, x, spec, sampler, [4, 14], 20))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--clips", "0"], "--clips 0 is out of range"),
        (["--seconds", "0.2"], "--seconds 0.2 is out of range"),
        (["--k", "0"], "--k 0 is out of range"),
        (["--rendered", "nowhere"], "no rendered tracks under nowhere"),
        (["--split", "valid"], "split 'valid'; there are: test"),
        (["--model", "duett"], "did you mean 'duet-small'"),
        (["--device", "cuda:99"], "no device 'cuda:99' here"),
        (["--device", "toaster"], "no device 'toaster' here"),
        (["--t-f", "2"], "give --post"),
        (["--seconds", "60"], "in which a stem and others sound"),
        (["--null-input", "--shuffle-input"], "choose one of them"),
        (["--null-input", "--guidance", "2"], "leave one of them out"),
        (["--top-k", "0"], "--top-k 0 is out of range"),
        (["--like", "nowhere"], "nowhere holds no settings.json"),
        (["--like", "MADE", "--seconds", "2"], "--seconds is not what"),
        (["--like", "MADE", "--clips", "9"], "gives 5 clips of this length only"),
        (["--out", "MADE", "--t-f", "0"], "was begun with t_f = 10, not 0"),
        (["--out", "RENDERED"], "holds something else"),
        (["--out", "FILE"], "is a file"),
        (["--cips", "3"], "did you mean --clips?"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str],
    what: str,
    made: Path,
    rendered: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    names = {"MADE": made, "RENDERED": rendered, "FILE": tmp_path / "file"}
    flags = {"--rendered": rendered, "--model": model, "--out": tmp_path / "out", "--clips": 5, "--post": 0.5}
    flags = {name: value for name, value in flags.items() if name not in arguments}
    typed = [
        *(str(part) for pair in flags.items() for part in pair),
        *(str(names.get(a, a)) for a in arguments),
    ]
    if "--seconds" not in arguments:
        typed += ["--seconds", "1"]
    assert main(["generate", *typed]) == 2
    said = capsys.readouterr().err.splitlines()
    assert what in said[-1]
    assert all(line.startswith("generate: ") for line in said[:-1])


def test_a_folder_of_other_tracks_is_no_likeness(
    made: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small.rendered(tmp_path / "other")
    for path in (other / "test").glob("*.npy"):
        np.save(path, np.load(path) // 2)
    arguments = [
        "--rendered",
        other,
        "--model",
        model,
        "--out",
        tmp_path / "out",
        "--like",
        made,
        "--clips",
        2,
    ]
    assert main(["generate", *map(str, arguments)]) == 2
    assert "is not what the rendered tracks hold there" in capsys.readouterr().err


def test_a_damaged_row_is_named(made: Path, rendered: Path, model: Path, tmp_path: Path) -> None:
    assert json.loads((made / "clips.jsonl").read_text().splitlines()[2])["clip"] == "00002"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "clips.jsonl").write_text('{"clip": "00000"}\n{"cl')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_rows(broken)


@pytest.mark.parametrize(
    ("made_for", "flags", "expected"),
    [
        ({"t_f": 0.6, "k": 0.2}, [], (30, 10)),
        ({"t_f": 0.6, "k": 0.2}, ["--t-f", "-1"], (-50, 10)),
        ({"t_f": 0.6, "k": 0.2}, ["--t-f", "-1", "--k", "0.04"], (-50, 2)),
        ({"t_f": 0.6}, [], (30, 5)),
        ({}, [], (-20, 5)),
    ],
)
def test_a_specialist_plays_where_it_was_made_for_unless_told_otherwise(
    made_for: dict, flags: list[str], expected: tuple[int, int]
) -> None:
    args = parse(Arguments, ["--rendered", "r", "--out", "o", *flags], "bandmate generate")
    bundle = Bundle("x", None, Duet(configs.duet_tiny()), {"about": {"made_for": made_for}})
    assert spec_of(bundle, args) == StreamSpec(*expected)
