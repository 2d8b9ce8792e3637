"""What every test shares: no display, and the same random examples in every run."""

import os

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# Derandomised: what passes once passes always. No deadline: no test depends on the speed of the machine.
settings.register_profile("bandmate", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("bandmate")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
