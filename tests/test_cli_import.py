"""``bandmate models import``: made-up checkpoints under the authors' names, into bundles that play."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bandmate.checkpoint import load_bundle
from bandmate.cli import main
from bandmate.codec.dac import DacCodec
from bandmate.configs import dac_tiny
from tests.codec.test_import_dac import theirs_of
from tests.model.test_paper_training import SMALL, their_state


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    torch.manual_seed(0)
    content: dict[str, Any] = {
        "dac.pth": {"state_dict": theirs_of(DacCodec(dac_tiny())), "metadata": {"kwargs": {"sample_rate": 32_000}}},
        "behind.ckpt": {"state_dict": their_state(2, "cpu", -3, **SMALL)},
        "ahead.ckpt": {"state_dict": their_state(2, "cpu", 5, **SMALL)},
    }  # fmt: skip
    for name, value in content.items():
        torch.save(value, tmp_path / name)
    return {name: str(tmp_path / name) for name in content}


def importing(files: dict[str, str], out: Path, what: str, lm: str, *more: str) -> int:
    return main(
        ["models", "import", "--what", what, "--codec", files["dac.pth"], "--lm", files[lm], "--out", str(out), *more]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "lm", "more", "spec"),
    [
        ("decoder", "behind.ckpt", (), ("-0.06", "0.02")),
        ("prefix-decoder", "ahead.ckpt", ("--t-f", "0.1", "--k", "0.1"), ("0.1", "0.1")),
    ],
)
def test_an_imported_model_is_played(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], what, lm, more, spec
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "bundle"
    assert importing(files, out, what, lm, *more) == 0
    t_f, k = spec
    assert f"bandmate stream --t-f {t_f} --k {k}" in capsys.readouterr().out
    bundle = load_bundle(str(out))
    assert torch.equal(bundle.model.input.codebook, bundle.codec.codebook_table())
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(tmp_path / "in.wav", noise, 32_000)
    played = ["stream", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--model", str(out)]
    assert main([*played, "--t-f", t_f, "--k", k]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 16_000
    assert main([*played, "--t-f", "1", "--k", k]) == 2
    assert f"was made for t_f = {float(t_f):g} s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "lm", "more", "said"),
    [
        ("decoder", "ahead.ckpt", (), "say how many frames"),
        ("decoder", "behind.ckpt", ("--t-f", "0.2"), "leave t_f out"),
        ("decoder", "behind.ckpt", ("--k", "0.1"), "leave --k out"),
        ("prefix-decoder", "behind.ckpt", (), "--k is needed"),
        ("stemgen", "behind.ckpt", (), "not a checkpoint of the authors'"),
        ("stemgen", "behind.ckpt", ("--t-f", "0"), "offline"),
        ("decoder", "dac.pth", (), "not a checkpoint of the authors'"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], what, lm, more, said
) -> None:  # type: ignore[no-untyped-def]
    assert importing(files, tmp_path / "bundle", what, lm, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "bundle").exists()


def test_a_folder_in_use_and_a_file_that_is_not_there(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert importing(files, tmp_path, "decoder", "behind.ckpt") == 2
    assert "is there already" in capsys.readouterr().err
    assert importing(files | {"gone": "gone.ckpt"}, tmp_path / "new", "decoder", "gone") == 2
    assert "there is no file gone.ckpt" in capsys.readouterr().err
