"""The Fréchet distance where it is known in closed form."""

import numpy as np
import pytest

from bandmate.evaluate.fad import (
    Gaussian,
    combined,
    fad,
    fad_infinity,
    frechet_distance,
    gaussian,
    line,
    moments,
)


def normal(mean: list[float], covariance: list[list[float]]) -> Gaussian:
    return Gaussian(np.array(mean, float), np.array(covariance, float), 100)


def test_equal_and_shifted_gaussians() -> None:
    a = normal([1, 2], [[2, 0.5], [0.5, 1]])
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    b = normal([4, -2], [[2, 0.5], [0.5, 1]])
    assert frechet_distance(a, b) == pytest.approx(9 + 16)


def test_diagonal_covariances() -> None:
    """Of independent dimensions: the sum of (difference of the deviations)^2."""
    a, b = normal([0, 0], [[4, 0], [0, 9]]), normal([0, 0], [[1, 0], [0, 25]])
    assert frechet_distance(a, b) == pytest.approx((2 - 1) ** 2 + (3 - 5) ** 2)
    assert frechet_distance(b, a) == pytest.approx(5)


def test_a_rotated_covariance() -> None:
    """A = diag(4, 1) against itself turned by 45 degrees: tr sqrt(A^1/2 B A^1/2) from its 2 x 2 invariants."""
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    a = np.diag([4.0, 1.0])
    b = turn @ a @ turn.T
    # det(AB) = 16 and tr(AB) = 4 * 2.5 + 2.5 = 12.5: tr sqrt = sqrt(12.5 + 2 * sqrt(16))
    expected = 5 + 5 - 2 * np.sqrt(12.5 + 2 * 4)
    found = frechet_distance(Gaussian(np.zeros(2), a, 9), Gaussian(np.zeros(2), b, 9))
    assert found == pytest.approx(expected)


def test_singular_covariances() -> None:
    line_x, line_y = normal([0, 0], [[1, 0], [0, 0]]), normal([0, 0], [[0, 0], [0, 1]])
    assert frechet_distance(line_x, line_y) == pytest.approx(2)
    point = normal([0, 0], [[0, 0], [0, 0]])
    assert frechet_distance(line_x, point) == pytest.approx(1)
    assert frechet_distance(point, point) == 0


def test_fewer_embeddings_than_dimensions(rng: np.random.Generator) -> None:
    a = rng.normal(size=(5, 40))
    assert fad(a, a) == pytest.approx(0, abs=1e-9)
    assert fad(a, a + 1) == pytest.approx(40)
    assert np.isfinite(fad(a, rng.normal(size=(3, 40))))


def test_the_gaussian_is_that_of_numpy(rng: np.random.Generator) -> None:
    values = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)) + 3
    found = gaussian(values)
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(values.T))
    assert found.size == 50


def test_moments_of_groups_combine_to_the_same_gaussian(rng: np.random.Generator) -> None:
    values, group = rng.normal(size=(60, 5)) + 100, rng.integers(4, size=60)
    times = np.array([2, 0, 1, 3])
    repeated = np.concatenate([np.repeat(values[group == g], n, axis=0) for g, n in enumerate(times)])
    found, expected = combined(moments(values, group, 4), times, values.mean(axis=0)), gaussian(repeated)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-9)
    assert found.size == expected.size


def test_the_bias_falls_with_n_and_is_extrapolated_away(rng: np.random.Generator) -> None:
    """Two independent samples of one distribution: the distance is 0, what is measured is the bias."""
    a, b = rng.normal(size=(2, 1600, 16))
    few, many = fad(a[:200], b[:200]), fad(a, b)
    assert few > 4 * many > 0
    extrapolated = fad_infinity(a, b)
    assert abs(extrapolated.distance) < 0.3 * many
    assert extrapolated.slope > 0
    assert extrapolated.fit > 0.9


def test_extrapolation_of_paired_and_unpaired_sides(rng: np.random.Generator) -> None:
    a = rng.normal(size=(400, 8))
    assert fad_infinity(a, a).distance == pytest.approx(0, abs=1e-9)
    assert fad_infinity(a, a[:300] + 1).distance == pytest.approx(8, abs=0.5)
    assert fad_infinity(a, a + 1) == fad_infinity(a, a + 1)


def test_a_line() -> None:
    assert line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])) == pytest.approx((1, 2, 1))


def test_bad_embeddings_are_refused(rng: np.random.Generator) -> None:
    good = rng.normal(size=(10, 3))
    for bad, what in (
        (good[:1], "two embeddings"),
        (good[0], "two embeddings"),
        (np.full((4, 3), np.nan), "NaN"),
        (rng.normal(size=(10, 4)), "one width"),
    ):
        with pytest.raises(ValueError, match=what):
            fad(good, bad)
    with pytest.raises(ValueError, match="eight"):
        fad_infinity(good[:5], good[:5])
