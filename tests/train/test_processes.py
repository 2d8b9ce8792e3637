"""Several processes and killed ones: the losses must be those of one process that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bandmate.train import runs
from tests.train.golden import logged

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def command(preset: str, store: Path, out: Path, *flags: str, fields: tuple[str, ...] = ()) -> list[str]:
    """``bandmate train lm`` with a step of two parts; under torchrun when --devices asks for two processes."""
    start = [sys.executable, "-m"]
    if "--devices" in flags:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    where = ["--data", str(store), "--out", str(out)]
    short = ["steps=6", "steps_per_epoch=3", "validation_batches=2", "parts=2"]
    verb = ["bandmate.cli", "train", "lm", "--preset", preset, "--quiet"]
    return [*start, *verb, *where, *flags, "--set", *short, *fields]


def finish(arguments: list[str]) -> None:
    done = subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "stemgen-tiny"])
def test_two_processes_give_the_losses_of_one(preset: str, code_store: Path, tmp_path: Path) -> None:
    finish(command(preset, code_store, tmp_path / "one"))
    finish(command(preset, code_store, tmp_path / "two", "--devices", "2"))
    one, two = (logged(tmp_path / name, "train/loss") for name in ("one", "two"))
    assert len(one) == 6
    assert two == pytest.approx(one, abs=1e-5)


@pytest.mark.slow
def test_shards_on_two_processes_give_the_losses_of_one_and_a_checkpoint_for_all(
    code_store: Path, tmp_path: Path
) -> None:
    """FSDP, 2 processes x half of the model; what they saved goes on as shards, as one process, and as a module."""
    sharded = ("--devices", "2", "--strategy", "fsdp", "--accelerator", "cpu")
    preset, two = "decoder-tiny", tmp_path / "two"
    both = ("ema=0.9", "warmup=10")  # rates that do not depend on the number of steps
    finish(command(preset, code_store, tmp_path / "one", fields=both))
    finish(command(preset, code_store, two, *sharded, fields=(*both, "steps=3")))
    model, average = (runs.load_model(tmp_path / "two", average=which) for which in (False, True))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert not torch.equal(model.heads.project.weight, average.heads.project.weight)
    finish(command(preset, code_store, two, *sharded, "--resume", fields=both))
    assert logged(two, "train/loss") == pytest.approx(logged(tmp_path / "one", "train/loss"), abs=1e-5)
    for which in (False, True):
        one, other = (runs.load_model(path, average=which).state_dict() for path in (tmp_path / "one", two))
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, msg=name, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_losses_of_one_that_was_not(code_store: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-epoch after the first checkpoint; dropout is on, so that the state of chance matters, too."""
    long = ("steps=40", "steps_per_epoch=4", "model.dropout=0.2", "ema=0.9")
    finish(command("decoder-tiny", code_store, tmp_path / "whole", fields=long))
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command("decoder-tiny", code_store, killed, fields=long),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not (killed / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / "last.ckpt").exists()
    reached = torch.load(killed / "last.ckpt", map_location="cpu", weights_only=False)["global_step"]
    assert reached < 40, "it was not killed in time"
    finish(command("decoder-tiny", code_store, killed, "--resume", fields=long))
    whole = logged(tmp_path / "whole", "train/loss")
    resumed = logged(killed, "train/loss")[-(40 - reached) :]
    assert resumed == whole[reached:]
    for which in (False, True):
        one, two = (
            runs.load_model(path, average=which).state_dict() for path in (tmp_path / "whole", killed)
        )
        assert all(torch.equal(two[name], value) for name, value in one.items())
