"""Ablations: inputs through other equipment, arms compared window by window, a script that goes on where it was."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandmate.configs import duet_tiny
from bandmate.data.tokens import TokenStore
from bandmate.model.duet import Duet
from bandmate.sweep import ablation
from bandmate.train import runs

SCRIPT = Path(__file__).resolve().parents[2] / "runs" / "ablate.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("ablate_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_other_equipment_changes_inputs_and_nothing_else_and_is_the_same_at_every_call(store: Path) -> None:
    plain, other = TokenStore(store, "train"), ablation.OtherEquipment(store, "train")
    for index in range(4):
        a, b = plain.window(0, index, 40), other.window(0, index, 40)
        assert np.array_equal(a.y, b.y)
        assert (a.track, a.start) == (b.track, b.start)
        assert a.x_features is not None
        assert b.x_features is not None
        assert np.abs(a.x_features.astype(int) - b.x_features).mean() > 2
        again = other.window(0, index, 40).x_features
        assert again is not None
        assert np.array_equal(again, b.x_features)


def test_arms_are_compared_with_the_first() -> None:
    songs = np.repeat(["a", "b", "c"], 2)
    own, other = np.full((2, 3, 6), 2.0), np.full((2, 3, 6), 2.5)
    windows = (songs, songs, np.arange(6), 250)
    first, second = (
        ablation.Measured(own, other, *windows),
        ablation.Measured(own + 0.1, other + 0.3, *windows),
    )
    rows = ablation.compared({"first": first, "second": second})
    assert len(rows) == 2 * 2 * 3
    assert rows[0]["gap"]["mean"] == pytest.approx(0.5)
    assert rows[0]["more_gap"]["mean"] == 0
    assert rows[-1]["more_nats"]["mean"] == pytest.approx(0.1)
    assert rows[-1]["more_gap"]["mean"] == pytest.approx(0.2)
    text = ablation.markdown(rows)
    assert "| second | +0.100 [+0.100, +0.100] | +0.200 [+0.200, +0.200] |" in text
    for change in (
        {"songs": songs[::-1]},
        {"tracks": songs[::-1]},
        {"starts": np.arange(1, 7)},
        {"frames": 60},
    ):
        with pytest.raises(ValueError, match="other windows"):
            ablation.compared({"first": first, "second": dataclasses.replace(first, **change)})


def test_all_arms_are_trained_once_and_reported(
    store: Path, tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = script.Arguments(
        store, tmp_path / "out", ("deaf: deaf_share=1", "short: only_t_f=0 only_k=5 frames=40"), steps=3, preset="tiny",
        split="train", windows=2, set=("frames=60", "batch=2", "steps_per_epoch=3", "validate_every=100"),
    )  # fmt: skip
    rows = script.ablate(args)
    assert {row["arm"] for row in rows} == {script.BASE, "deaf", "short"}
    for name in ("deaf", "short"):
        measured = ablation.Measured.load(tmp_path / "out" / name / "nats.npz")
        assert measured.own.shape == (2, 3, 6)
        assert measured.frames == 60  # as the first arm's
    drawn = ablation.draw(store, "train", 60, 2)
    assert list(measured.starts) == [example.start for example in drawn]
    assert list(measured.tracks) == [example.track for example in drawn]
    report = (tmp_path / "out" / "ablation.md").read_text(encoding="utf-8")
    assert report == ablation.markdown(rows)
    monkeypatch.setattr(runs, "train", None)  # nothing is trained again
    assert script.ablate(args) == rows
    with pytest.raises(ValueError, match="another --out"):
        script.ablate(dataclasses.replace(args, steps=4))
    with pytest.raises(ValueError, match="a name of its own"):
        script.ablate(dataclasses.replace(args, arms=("deaf_share=1", "deaf_share=1")))
    with pytest.raises(ValueError, match="an arm 'deaf' made with other settings"):
        script.ablate(dataclasses.replace(args, arms=("deaf: deaf_share=0.5",)))
    (tmp_path / "out" / "deaf" / "arm.json").unlink()
    with pytest.raises(ValueError, match="deaf does not say with what settings"):
        script.ablate(args)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"--data": "mistyped"}, "mistyped"),
        ({"--preset": "tinny"}, "there is no preset 'tinny'; did you mean 'tiny'?"),
        ({"--preset": "decoder-tiny"}, "trains another model"),
        ({"--init": "nobody"}, "there is no model 'nobody'"),
        ({"--arms": "deaf: daef_share=1"}, "there is no field 'daef_share'"),
        ({"--split": "test"}, "fewer than two songs"),
        ({"--windows": "0"}, "give 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_claims_no_folder(
    typed: dict[str, str],
    says: str,
    store: Path,
    tmp_path: Path,
    script: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = {"--data": str(store), "--out": str(tmp_path / "out"), "--preset": "tiny", "--split": "train"}
    options = [word for pair in (usual | {"--set": "frames=60"} | typed).items() for word in pair]
    monkeypatch.setattr("sys.argv", ["ablate.py", *options])
    with pytest.raises(SystemExit) as leave:
        script.main()
    assert leave.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("ablate: ")
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nats_without_their_windows_are_not_compared(tmp_path: Path) -> None:
    np.savez(tmp_path / "nats.npz", own=np.zeros(1), other=np.zeros(1), songs=np.array(["a"]))
    with pytest.raises(ValueError, match="does not hold frames: delete it"):
        ablation.Measured.load(tmp_path / "nats.npz")


def test_a_model_is_judged_on_the_windows_that_evaluate_listening_draws(store: Path) -> None:
    model = Duet(duet_tiny()).eval()
    measured = ablation.measure(model, store, "train", 60, 2)
    config = ablation.listening.ListeningConfig(ablation.T_F, (ablation.K,), 2, 60)
    plain = ablation.listening.measure(model, TokenStore(store, "train"), config)
    np.testing.assert_allclose(measured.own[0], plain.own[:, :, 0])
    np.testing.assert_allclose(measured.other[0], plain.other[:, :, 0])
