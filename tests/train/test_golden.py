"""The tiny preset of every model: validation falls, and the same seed gives the same curve, here and elsewhere."""

import json
from pathlib import Path

import pytest

from tests.train.golden import CURVES, FILE, TOLERANCE, logged, train


@pytest.mark.parametrize("name", CURVES)
def test_the_curve_is_the_golden_one_and_validation_falls(
    name: str, code_store: Path, tmp_path: Path
) -> None:
    train(name, code_store, tmp_path / "run")
    golden = json.loads(FILE.read_text(encoding="utf-8"))[name]
    assert logged(tmp_path / "run", "train/loss") == pytest.approx(golden, abs=TOLERANCE)
    measured = "valid/level1" if name == "duet" else "valid/loss"
    first, *_, last = logged(tmp_path / "run", measured)
    assert last < first - 0.03
