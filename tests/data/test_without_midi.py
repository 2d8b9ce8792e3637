"""Without the extra ``midi``: tracks that are rendered already are read by every verb, and rendering says what it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep import small

HIDING = """
import sys
sys.modules.update({name: None for name in sys.argv[1].split(",")})
from bandmate.cli import main
sys.exit(max(main(line.split()) for line in sys.argv[2:]))
"""
READING = (
    "generate --rendered rendered --model tiny --out clips --clips 1 --seconds 2 --post 0.5 --t-f 0",
    "evaluate music --rendered rendered --model tiny --clips 3 --seconds 2 --t-f 0",
    "prepare store --data rendered --codec tiny --out store --submixes 1 --workers 1",
)
SWEEP = (
    "sweep run --grid grid.yaml --rendered rendered --model tiny --out sweep --clips 2 --seconds 1 --seeds 1"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    small.rendered(place / "rendered", songs=3)
    small.bundle(place / "tiny")
    (place / "grid.yaml").write_text("points: [{t_f: 0, k: 0.1}]\n")
    return place


def run(place: Path, hidden: str, *lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDING, hidden, *lines]
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(command, cwd=place, env=surroundings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "lines", [READING, pytest.param((SWEEP,), marks=pytest.mark.slow)], ids=["read", "sweep"]
)
def test_rendered_tracks_are_read(place: Path, lines: tuple[str, ...]) -> None:
    done = run(place, "mido,tinysoundfont", *lines)
    assert done.returncode == 0, done.stderr
    assert "mido" not in done.stderr


@pytest.mark.parametrize("hidden", ["mido", "tinysoundfont"])
def test_rendering_says_once_what_it_needs(place: Path, hidden: str) -> None:
    done = run(place, hidden, "prepare midi --out songs")
    assert done.returncode == 2
    assert done.stderr.startswith(f"bandmate prepare: {hidden} is not installed, and it ")
    assert "pip install 'bandmate[midi]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place / "songs").exists()
