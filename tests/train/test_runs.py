"""Runs as folders: what is in one already is not overwritten, and what cannot be trained is refused in one line."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from bandmate.checkpoint import load_bundle, save_bundle
from bandmate.cli import main
from bandmate.codec.spectral import SpectralCodec
from bandmate.model.duet import Duet
from bandmate.train import presets, runs
from bandmate.train.lm import DuetTraining
from bandmate.train.samples import Samples
from tests.train.golden import logged, tensorboard_tags
from tests.train.test_processes import ENVIRONMENT, command

SHORT = ["steps=2", "steps_per_epoch=1", "validation_batches=1", "validate_every=1", "batch=2", "frames=40"]


def short(preset: str, *settings: str) -> Any:
    return runs.override(presets.LM[preset](), [*SHORT, *settings])


@pytest.fixture(scope="module")
def decoder(code_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a decoder."""
    out = tmp_path_factory.mktemp("decoder") / "run"
    runs.train(short("decoder-tiny"), code_store, out, resume=False, progress=False)
    return out


@pytest.fixture
def bundled(decoder: Path, spectral: SpectralCodec, tmp_path: Path) -> Path:
    runs.bundle(spectral, runs.load_model(decoder), tmp_path / "bundle", {}, {})
    return tmp_path / "bundle"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told(capsys: pytest.CaptureFixture[str], *typed: object) -> str:
    """The one line that a wrong command says."""
    assert main([str(word) for word in typed]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("preset", "settings", "says"),
    [
        ("tiny", (), "is a run with model.kind = decoder, not duet"),
        ("decoder-tiny", ("model.width=64",), "is a run with model.width = 32, not 64"),
        ("decoder-tiny", ("model.t_f=-5",), "is a run with model.t_f = 0, not -5"),
        ("decoder-tiny", ("ema=0.9",), "is a run with ema = 0.0, not 0.9"),
        ("decoder-tiny", ("steps_per_epoch=2",), "is a run with steps_per_epoch = 1, not 2"),
    ],
)
def test_another_module_does_not_go_on_with_a_run(
    preset: str, settings: tuple[str, ...], says: str, decoder: Path, code_store: Path, capsys: Any
) -> None:
    before = contents(decoder)
    typed = ["train", "lm", "--preset", preset, "--data", code_store, "--out", decoder, "--resume", "--quiet"]
    assert says in told(capsys, *typed, "--set", *SHORT, *settings)
    assert contents(decoder) == before


@pytest.mark.parametrize(
    ("kept", "now", "says"),
    [
        ((), ("only_t_f=-20",), "is a run with only_t_f = None, not -20"),
        (("only_t_f=-20",), ("only_t_f=50",), "is a run with only_t_f = -20, not 50"),
        (("only_k=5",), (), "is a run with only_k = 5, not None"),
        ((), ("steps_per_epoch=7",), "is a run with steps_per_epoch = 1, not 7"),
    ],
)
def test_what_a_begun_run_is_made_for_stays(
    kept: tuple[str, ...], now: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    runs.remember(short("tiny", *kept), tmp_path)
    settings = runs.settings_of(tmp_path)
    assert settings is not None
    runs.refuse_another(short("tiny", *now), settings, tmp_path)  # nothing is trained yet
    (tmp_path / "last.ckpt").touch()
    runs.refuse_another(short("tiny", *kept, "rate=1", "steps=9", "validate_every=3"), settings, tmp_path)
    with pytest.raises(ValueError, match=re.escape(says)):
        runs.refuse_another(short("tiny", *now), settings, tmp_path)


@pytest.mark.parametrize(("name", "value"), [("levels", 3), ("codes", 64)])
def test_a_codec_that_cannot_decode_the_model_is_refused_before_anything_is_written(
    name: str, value: int, code_store: Path, tmp_path: Path
) -> None:
    codec = SimpleNamespace(**{"levels": 4, "codes": 32} | {name: value})
    with pytest.raises(ValueError, match=f"has {value}: they are no pair"):
        runs.train(short("tiny"), code_store, tmp_path / "run", False, False, callbacks=(Samples(codec),))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "bundle --codec c --lm l --preset cpu",
            "--preset is for train codec, lm, coherence: leave it out of",
        ),
        ("bundle --codec c --lm l --resume", "--resume is for train"),
        ("bundle --codec c --lm l --set batch=3", "--set is for train"),
        ("bundle --codec c --lm l --init i", "--init is for train codec, lm: leave it out of train bundle"),
        ("bundle --codec c --lm l --data d", "--data is for train"),
        ("bundle --codec c --lm l --devices 2", "--devices is for train"),
        ("codec --codec c", "--codec is for train lm, bundle: leave it out of train codec"),
        ("coherence --codec c", "--codec is for train lm, bundle"),
        ("coherence --init i", "--init is for train codec, lm"),
        ("lm --lm l", "--lm is for train bundle: leave it out of train lm"),
        ("lm --average", "--average is for train bundle: leave it out of train lm"),
        ("codec --average", "--average is for train bundle"),
    ],
)
def test_an_option_that_means_nothing_here_is_refused(
    line: str, says: str, tmp_path: Path, capsys: Any
) -> None:
    assert says in told(capsys, "train", *line.split(), "--out", tmp_path / "out")


def test_a_codec_does_not_go_on_with_the_run_of_a_model(decoder: Path, rendered: Path, capsys: Any) -> None:
    before = contents(decoder)
    typed = [
        "train",
        "codec",
        "--preset",
        "tiny",
        "--data",
        rendered,
        "--out",
        decoder,
        "--resume",
        "--quiet",
    ]
    assert "has no section 'codec'" in told(capsys, *typed)
    assert contents(decoder) == before


def test_steps_and_rates_may_differ_and_fields_that_came_later_are_not_missed(
    decoder: Path, code_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(decoder, run := tmp_path / "run")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["model"]["mlp"]  # as if it had come later
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    runs.train(short("decoder-tiny", "steps=3", "rate=1e-5"), code_store, run, resume=True, progress=False)
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 3
    assert len(logged(run, "train/loss")) == 3


@pytest.mark.parametrize("flags", [(), ("--resume",)])
def test_a_run_does_not_begin_in_a_bundle(
    flags: tuple[str, ...], bundled: Path, code_store: Path, capsys: Any
) -> None:
    before = contents(bundled)
    typed = ["train", "lm", "--preset", "tiny", "--data", code_store, "--out", bundled, "--quiet", *flags]
    assert "is a bundle, going by its config.yaml" in told(capsys, *typed, "--set", *SHORT)
    assert contents(bundled) == before


@pytest.mark.parametrize("text", ["- 1\n", "codec: [", "encoder: {}\nabout: {}\n", ""])
def test_a_run_does_not_begin_beside_another_config(text: str, code_store: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="is something else than a run"):
        runs.train(short("tiny"), code_store, tmp_path, resume=True, progress=False)
    assert contents(tmp_path) == {"config.yaml": text.encode()}


def test_a_run_without_a_checkpoint_may_become_one_of_another_size_only(
    code_store: Path, tmp_path: Path
) -> None:
    runs.remember(short("tiny", "model.width=64"), tmp_path)
    with pytest.raises(ValueError, match=r"model\.kind = duet, not decoder"):
        runs.train(short("decoder-tiny"), code_store, tmp_path, resume=False, progress=False)
    runs.train(short("tiny", "steps=1"), code_store, tmp_path, resume=False, progress=False)
    assert runs.load_model(tmp_path).config.width == 32


def test_a_bundle_takes_the_place_of_a_bundle_and_of_nothing_else(
    decoder: Path, bundled: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    typed = ["train", "bundle", "--codec", bundled, "--lm", decoder, "--out"]
    for folder in (decoder, tmp_path / "notes"):
        before = contents(folder)
        assert "holds something else than a bundle" in told(capsys, *typed, folder)
        assert contents(folder) == before
    assert "is a file: give a folder" in told(capsys, *typed, tmp_path / "notes" / "a.txt")
    assert main([*map(str, typed), str(bundled)]) == 0
    card = load_bundle(str(bundled)).card
    assert card["sampling"] == {"temperature": 1.0, "top_k": 200, "guidance": 1.0}
    assert card["about"] == {}


def test_a_specialist_is_judged_and_heard_at_its_place_which_its_bundle_names(
    store: Path, spectral: SpectralCodec, tmp_path: Path
) -> None:
    save_bundle(tmp_path / "codec", spectral, Duet(presets.duet_tiny_run().model), {}, {}, half=False)
    run, out = tmp_path / "run", tmp_path / "bundle"
    typed = [
        "train",
        "lm",
        "--preset",
        "tiny",
        "--data",
        store,
        "--out",
        run,
        "--quiet",
        "--t-f",
        "0.6",
        "--k",
        "0.2",
    ]
    assert main([*map(str, typed), "--codec", str(tmp_path / "codec"), "--set", *SHORT]) == 0
    header = next((run / "csv").rglob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert sorted(name for name in header if name.startswith(("valid/other", "valid/deaf"))) == [
        "valid/deaf",
        "valid/other+30",
    ]
    assert "valid/level1" in header
    assert "clip0/played" in tensorboard_tags(run)["audio"]
    assert (
        main(["train", "bundle", "--codec", str(tmp_path / "codec"), "--lm", str(run), "--out", str(out)])
        == 0
    )
    assert load_bundle(str(out)).card["about"] == {"made_for": {"t_f": 0.6, "k": 0.2}}


def test_validation_and_samples_of_a_specialist_are_of_its_place(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        "bandmate.train.lm.generate",
        lambda model, x, spec, *_, **__: asked.update(spec=spec, heard=x.shape[1]),
    )
    training = DuetTraining(short("tiny", "only_t_f=30", "only_k=7"), store)
    assert training.judged_at == ((30,), 7)
    assert training.judged_span == training.span_of(40) == (0, 30)
    training.perform([training.valid.window(0, 0, 40, *training.span_of(40))])
    assert (asked["spec"].t_f, asked["spec"].k, asked["heard"]) == (30, 7, 70)
    general = DuetTraining(short("tiny"), store)
    assert (general.judged_at, general.judged_span, general.span_of(40)) == (
        ((-20, 0, 50), 5),
        (0, 50),
        (0, 0),
    )


@pytest.fixture(params=["none", "one"])
def few(request: pytest.FixtureRequest, code_store: Path, tmp_path: Path) -> tuple[str, Path]:
    """A store with no song to be judged by, or with one."""
    shutil.copytree(code_store, folder := tmp_path / "few")
    for file in sorted(folder.glob("t[45].json"))[request.param == "one" :]:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"split": "train"}))
    return request.param, folder


@pytest.mark.parametrize("preset", ["tiny", "decoder-tiny"])
def test_a_few_songs_of_ones_own_are_trained_on(
    preset: str, few: tuple[str, Path], spectral: SpectralCodec, tmp_path: Path, capsys: Any
) -> None:
    songs, data = few
    runs.train(short(preset, "steps=1"), data, tmp_path / "run", resume=False, progress=False)
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    header = next((tmp_path / "run" / "csv").rglob("metrics.csv")).read_text().splitlines()[0]
    if songs == "none":
        assert warned == [
            f"warning: trained without validation: the store at {data} holds no tracks of this split"
        ]
        assert "valid/" not in header
    else:
        assert len(warned) == 1
        assert "without the wrong song's input: a control needs a second song" in warned[0]
        assert "valid/level1" in header
        assert "valid/other" not in header
    training = short(preset).build(data)
    assert {"clip0/played", "clip1/true"} <= set(training.samples(spectral))


def test_a_store_with_nothing_to_learn_from_is_refused(code_store: Path, tmp_path: Path) -> None:
    shutil.copytree(code_store, folder := tmp_path / "store")
    for file in folder.glob("t?.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"split": "test"}))
    with pytest.raises(ValueError, match="holds no songs to train on"):
        runs.train(short("tiny"), folder, tmp_path / "run", resume=False, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("model.levels=3", "level_weights=[1, 1, 1]"), "has 4 levels, the model 3: prepare the store"),
        (("model.codes=64",), "has 32 codes per level, the model 64"),
        (("level_weights=[1, 0.5]",), "level_weights has 2 entries, the model 4 levels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    settings: tuple[str, ...], says: str, code_store: Path, tmp_path: Path, capsys: Any
) -> None:
    typed = [
        "train",
        "lm",
        "--preset",
        "tiny",
        "--data",
        code_store,
        "--out",
        tmp_path / "run",
        "--set",
        *settings,
    ]
    assert says in told(capsys, *typed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lm --preset tiny --k 0", "--k 0 is out of range"),
        ("lm --preset tiny --k -1", "--k -1 is out of range"),
        ("lm --preset tiny --k nan", "--k nan is out of range"),
        ("lm --preset decoder-tiny --k 0.1", "a decoder plays one column per call"),
        ("lm --preset stemgen-tiny --t-f 0", "--t-f is not for --preset stemgen-tiny"),
        ("lm --preset offline-prefix-tiny --k 0.1", "--k is not for --preset offline-prefix-tiny"),
        ("codec --preset tiny --t-f 0", "--t-f and --k are for train lm"),
        ("coherence --preset tiny --k 0.1", "--t-f and --k are for train lm"),
        ("bundle --k 0.1", "--t-f and --k are for train lm"),
    ],
)
def test_a_place_that_does_not_fit_is_told_by_its_flag(
    line: str, says: str, tmp_path: Path, capsys: Any
) -> None:
    assert says in told(capsys, "train", *line.split(), "--data", tmp_path, "--out", tmp_path / "run")


class Interrupted(Callback):
    """Ctrl-C in the first step."""

    def on_train_batch_start(self, *_: Any) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_stays_one_and_the_next_is_heard(
    code_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runs.train(short("tiny"), code_store, tmp_path / "run", False, False, callbacks=(Interrupted(),))
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr("bandmate.commands.train.listeners", lambda args: (Interrupted(),))
    typed = ["train", "lm", "--preset", "tiny", "--data", code_store, "--out", tmp_path / "other", "--quiet"]
    assert main([*map(str, typed), "--set", *SHORT]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "bandmate train: interrupted"


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_130_and_a_word(code_store: Path, tmp_path: Path) -> None:
    long = ("steps=4000", "steps_per_epoch=4")
    process = subprocess.Popen(
        command("decoder-tiny", code_store, tmp_path / "run", fields=long),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background process is born deaf to it
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not (tmp_path / "run" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "bandmate train: interrupted"
    assert all(
        torch.isfinite(value).all() for value in runs.load_model(tmp_path / "run").state_dict().values()
    )
