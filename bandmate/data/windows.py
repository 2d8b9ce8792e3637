"""Which stem to play, what to hear, and where: windows in which both sound, drawn by a seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandmate.data.stems import Track
from bandmate.instruments import VOCAL

BOTH_SOUND = 0.5  # least part of the target's frames in which mixture and target both sound
TRIES = 200


@dataclass(frozen=True)
class Window:
    """Play stem `target` over the sum of stems `members` in frames [start, start + frames)."""

    target: int
    members: tuple[int, ...]
    start: int
    frames: int


def playable(instruments: Sequence[int]) -> list[int]:
    """Indices of the stems that may be a target: all but vocals."""
    return [index for index, instrument in enumerate(instruments) if instrument != VOCAL]


def draw_submix(instruments: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    """N_in ~ U{1..N-1} of the N stems such that a playable stem is left over; sorted indices."""
    count, targets = len(instruments), playable(instruments)
    if count < 2 or not targets:
        raise ValueError("a submix needs a track of two stems or more, one of them no vocals")
    while True:
        size = int(rng.integers(1, count))
        members = tuple(sorted(rng.choice(count, size, replace=False).tolist()))
        if set(targets) - set(members):
            return members


def valid_starts(
    heard: NDArray[np.bool_], played: NDArray[np.bool_], frames: int, pre: int = 0, post: int = 0
) -> NDArray[np.intp]:
    """Starts t at which both sound in at least half of [t, t + frames).

    heard, played: activity [T]. For the starts given, [t - pre, t + frames + post) lies in the track, and so
    does [t, t + frames) when pre or post is negative.
    """
    if frames < 1 or pre + frames + post < 1:
        raise ValueError(f"a window needs a frame or more: frames={frames}, pre={pre}, post={post}")
    total = np.concatenate([[0], np.cumsum(heard & played, dtype=np.int32)])
    first, last = max(0, pre), len(heard) - frames - max(0, post)
    if last < first:
        return np.zeros(0, dtype=np.intp)
    both = total[first + frames : last + frames + 1] - total[first : last + 1]
    return first + np.flatnonzero(both >= BOTH_SOUND * frames)


def draw_window(
    active: NDArray[np.bool_],
    instruments: Sequence[int],
    frames: int,
    seed: int,
    index: int,
    pre: int = 0,
    post: int = 0,
) -> Window | None:
    """Draw a window of a track: target (no vocals), N_in ~ U{1..N-1} others, start.

    active: activity [N, T] of the stems; the mixture sounds where any of its stems does. A draw without a
    valid start is drawn anew; None when TRIES draws found none (a short or silent track, a lone stem).
    """
    rng = np.random.default_rng([seed, index])
    targets = playable(instruments)
    if len(instruments) < 2 or not targets:
        return None
    for _ in range(TRIES):
        target = int(rng.choice(targets))
        others = [other for other in range(len(instruments)) if other != target]
        size = int(rng.integers(1, len(others) + 1))
        members = tuple(sorted(rng.choice(others, size, replace=False).tolist()))
        heard = np.logical_or.reduce(active[list(members)])
        starts = valid_starts(heard, active[target], frames, pre, post)
        if starts.size:
            return Window(target, members, int(rng.choice(starts)), frames)
    return None


def cut(
    track: Track, window: Window, hop: int = 640, pre: int = 0, post: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Audio of a window: mixture over [start - pre, start + frames + post), target over its own frames."""
    first, stop = window.start, window.start + window.frames
    if first - pre < 0 or (stop + post) * hop > track.samples:
        raise ValueError(f"the window reaches beyond track {track.id!r}")
    mixture = track.submix(window.members)[(first - pre) * hop : (stop + post) * hop]
    return mixture, track.stems[window.target].audio[first * hop : stop * hop]
