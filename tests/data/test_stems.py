import numpy as np
import pytest

from bandmate.data.stems import Stem, Track


def stem(samples: int = 8, instrument: int = 0) -> Stem:
    return Stem(np.full(samples, 0.25, np.float32), instrument)


def test_the_mix_is_the_sum_of_the_stems() -> None:
    track = Track("t", "s", "c", "train", (stem(), stem(), stem()))
    np.testing.assert_array_equal(track.mix, np.full(8, 0.75, np.float32))
    np.testing.assert_array_equal(track.submix((0, 2)), np.full(8, 0.5, np.float32))
    np.testing.assert_array_equal(track.submix(()), np.zeros(8, np.float32))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Stem(np.zeros((2, 8), np.float32), 0), "mono"),
        (lambda: Stem(np.zeros(8, np.float32), 18), "class id"),
        (lambda: Track("t", "s", "c", "train", ()), "no stems"),
        (lambda: Track("t", "s", "c", "train", (stem(8), stem(9))), "length"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()  # type: ignore[operator]
