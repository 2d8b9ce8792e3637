"""The tiny preset of everything that is trained: validation falls, and a seed gives the same curve, here and elsewhere."""

import json
from functools import cache
from pathlib import Path

import pytest

from tests.train.golden import CURVES, DATA, FILE, logged, train


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory):
    """table -> what its presets are trained on, written once."""
    return cache(lambda table: DATA[table](tmp_path_factory.mktemp(table) / table))


@pytest.mark.parametrize("name", CURVES)
def test_the_curve_is_the_golden_one_and_validation_falls(name: str, data, tmp_path: Path) -> None:
    curve = CURVES[name]
    values = train(name, data(curve.table), tmp_path / "run")
    golden = json.loads(FILE.read_text(encoding="utf-8"))[name]
    assert values == pytest.approx(golden, rel=curve.tolerance, abs=1e-3)
    if curve.judged:
        first, *_, last = logged(tmp_path / "run", curve.judged)
        assert last < (1 - curve.falls) * first
