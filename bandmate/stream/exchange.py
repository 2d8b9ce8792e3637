"""What a device's callback does: copies between the device and the shared rings, and nothing that could wait."""

from enum import IntEnum
from typing import Any

import numpy as np

from bandmate.stream.shared_ring import SharedRing

MOST = 8192  # samples in one piece; larger blocks of a device are taken in several
FADE_SECONDS = 0.008
RINGS = 4
SECONDS = 16.0  # that each ring holds: more than the furthest t_f and k together


class Count(IntEnum):
    """Whole numbers in the shared memory, each written by one side only."""

    CLAIMED = 0  # the device: samples of output that can no longer be changed
    HEARD, PLAYED, SPARE, SENT = 1, 2, 3, 4  # heads of the rings
    PLAY_FROM = 5  # the player: the first index at which something is expected
    CALLBACKS, UNDERRUNS, MISSING, FLAGGED, BAD = 6, 7, 8, 9, 10  # the device
    LAST_NS, WORST_GAP_NS = 11, 12  # the device: when the last callback ran, the longest wait for one
    BLOCK = 13  # the device: samples of the last block
    STOPPED, MUTED = 14, 15  # the player's flags


class Control(IntEnum):
    """Fractions in the shared memory, written by the player: linear gains."""

    VOLUME, GUARD, MONITOR = 0, 1, 2


COUNTS, CONTROLS = 32, 8
NEVER = np.iinfo(np.int64).max


class Shared:
    """The shared memory of one device: counts, gains, and the rings ``heard``, ``played``, ``spare``, ``sent``.

    ``played`` holds what is to sound, ``spare`` what sounds where ``played`` ends too early, ``sent`` what was
    given to the device, without the monitor.
    """

    def __init__(self, buffer: Any, capacity: int) -> None:
        """``buffer``: at least ``size(capacity)`` bytes, zeros at first."""
        self.counts = np.frombuffer(buffer, np.int64, COUNTS)
        self.controls = np.frombuffer(buffer, np.float64, CONTROLS, 8 * COUNTS)
        offset = 8 * (COUNTS + CONTROLS)
        data = np.frombuffer(buffer, np.float32, RINGS * capacity, offset).reshape(RINGS, capacity)
        heads = (Count.HEARD, Count.PLAYED, Count.SPARE, Count.SENT)
        rings = [SharedRing(self.counts[head : head + 1], row) for head, row in zip(heads, data)]
        self.heard, self.played, self.spare, self.sent = rings

    @staticmethod
    def size(capacity: int) -> int:
        """Bytes."""
        return 8 * (COUNTS + CONTROLS) + 4 * RINGS * capacity

    @staticmethod
    def capacity(rate: int) -> int:
        return int(SECONDS * rate)

    def reset(self) -> None:
        """The state before the first sample: nothing expected, volume 1, no monitor."""
        self.counts[:] = 0
        self.counts[Count.PLAY_FROM] = NEVER
        self.controls[:] = 0.0
        self.controls[[Control.VOLUME, Control.GUARD]] = 1.0

    def release(self) -> None:
        """Lets go of the memory, so that it can be closed."""
        del self.counts, self.controls, self.heard, self.played, self.spare, self.sent


class Exchange:
    """The device's side of the shared memory. Not a sample is allocated after the start.

    Where ``played`` ends too early the spare sound goes on and silence follows; what comes after fades in. Mute,
    stop and every gain take hold within the block, by a ramp of 8 ms or the block's length.
    """

    def __init__(self, shared: Shared, rate: int, position: int = 0) -> None:
        """``position``: absolute index of the first sample."""
        self._shared, self.position = shared, position
        self._fade = max(1, round(FADE_SECONDS * rate))
        self._dry, self._wet, self._conceal, self._weights = (np.zeros(MOST, np.float32) for _ in range(4))
        self._steps = np.arange(1, MOST + 1, dtype=np.float32)
        self._odd = np.zeros(MOST, dtype=bool)
        self._gain = self._monitor = 0.0
        self._weight, self._short = 1.0, False
        self._spare_gain, self._spare_end = (
            1.0,
            0,
        )  # of what is concealing now; later spare sounds are for later

    def run(self, heard: np.ndarray, sounding: np.ndarray) -> None:
        """Takes input [n, C], fills output [n, C'], both float32; output is finite and within ±1."""
        self._shared.counts[Count.BLOCK] = len(heard)
        for start in range(0, len(heard), MOST):
            self._piece(heard[start : start + MOST], sounding[start : start + MOST])
        self._shared.counts[Count.CALLBACKS] += 1

    def _piece(self, heard: np.ndarray, sounding: np.ndarray) -> None:
        shared, start, count = self._shared, self.position, len(heard)
        self.position = start + count
        shared.counts[Count.CLAIMED] = self.position  # first: from here on these samples are settled
        dry, wet = self._dry[:count], self._wet[:count]
        self._listen(heard, dry)
        shared.heard.write(start, dry)
        self._assemble(start, wet)
        self._scale(wet)
        shared.sent.write(start, wet)
        self._add_monitor(wet, dry)
        np.clip(wet, -1.0, 1.0, out=wet)
        for channel in range(sounding.shape[1]):
            sounding[:, channel] = wet

    def _listen(self, heard: np.ndarray, dry: np.ndarray) -> None:
        """The channels' mean; what is no number becomes 0 and is counted, ±100 is the most."""
        channels, odd, one = heard.shape[1], self._odd[: len(dry)], self._conceal[: len(dry)]
        dry[:] = 0.0
        for channel in range(channels):
            one[:] = heard[:, channel]
            np.isfinite(one, out=odd)
            np.logical_not(odd, out=odd)
            self._shared.counts[Count.BAD] += np.count_nonzero(odd)
            np.copyto(one, 0.0, where=odd)
            np.clip(one, -100.0, 100.0, out=one)
            dry += one
        dry *= 1.0 / channels

    def _assemble(self, start: int, wet: np.ndarray) -> None:
        """What is to sound at ``start`` and after, concealed where it is not there."""
        shared, count = self._shared, len(wet)
        missing = shared.played.read_into(start, wet)
        if start + count <= shared.counts[Count.PLAY_FROM]:
            return
        there = count - missing
        if missing or self._weight < 1.0:
            self._blend(start, wet, there)
        if missing:
            shared.counts[Count.UNDERRUNS] += not self._short
            shared.counts[Count.MISSING] += missing
        self._short = missing > 0

    def _blend(self, start: int, wet: np.ndarray, there: int) -> None:
        conceal, weights = self._conceal[: len(wet)], self._weights[:there]
        self._read_spare(start, conceal)
        np.multiply(self._steps[:there], 1.0 / self._fade, out=weights)
        weights += self._weight
        np.minimum(weights, 1.0, out=weights)
        wet[:there] -= conceal[:there]
        wet[:there] *= weights
        wet += conceal
        if there:
            self._weight = float(weights[-1])
        if there < len(wet) and self._weight > 0.0:
            # From here on only the spare sound is there: as loud as what it continues.
            self._spare_gain, self._weight = self._weight, 0.0
            self._spare_end = self._shared.spare.written
            self._read_spare(start + there, wet[there:])

    def _read_spare(self, start: int, out: np.ndarray) -> None:
        self._shared.spare.read_into(start, out)
        out[max(0, self._spare_end - start) :] = 0.0
        out *= self._spare_gain

    def _scale(self, wet: np.ndarray) -> None:
        shared = self._shared
        silent = shared.counts[Count.STOPPED] or shared.counts[Count.MUTED]
        target = 0.0 if silent else shared.controls[Control.VOLUME] * shared.controls[Control.GUARD]
        self._gain = self._ramp(wet, self._gain, float(target))

    def _add_monitor(self, wet: np.ndarray, dry: np.ndarray) -> None:
        """Adds the input to the output. Stopping stops it too; muting leaves the player's own sound."""
        shared = self._shared
        target = 0.0 if shared.counts[Count.STOPPED] else shared.controls[Control.MONITOR]
        self._monitor = self._ramp(dry, self._monitor, float(target * shared.controls[Control.GUARD]))
        wet += dry

    def _ramp(self, samples: np.ndarray, now: float, target: float) -> float:
        """Scales in place, from gain ``now`` to ``target``; returns the gain at the end."""
        if now == target:
            samples *= target
            return target
        length = min(self._fade, len(samples))
        ramp = self._weights[:length]
        np.multiply(self._steps[:length], (target - now) / length, out=ramp)
        ramp += now
        samples[:length] *= ramp
        samples[length:] *= target
        return target
