"""A session on a device: its input heard, its output laid where it belongs, by the device's own count of samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bandmate.audio.resample import StreamResampler
from bandmate.stream.devices import Device, DeviceLost
from bandmate.stream.engine import Engine
from bandmate.stream.exchange import Control, Count
from bandmate.stream.guard import HowlGuard
from bandmate.stream.limiter import limit
from bandmate.stream.recording import Recording
from bandmate.stream.scheduler import Call, Timing
from bandmate.stream.session import Session
from bandmate.stream.spare import SpareSound

RETRY = 0.5  # seconds between two tries to bring a device back
PIECE = 0.25  # seconds of input taken at once, at most
QUANTUM = np.float32(2**-23)  # of what is heard: a file of 24 bits holds it exactly


@dataclass(frozen=True)
class Timeline:
    """Where the stream lies on a device: sample 0 of its input is the device's ``origin``, of its output
    ``origin - lead``, so that both sound together in the air. All in the device's samples.
    """

    rate: int
    engine_rate: int
    origin: int
    lead: int

    def instant(self, claimed: int) -> float:
        """The first sample of the engine's output that can still be changed; negative before the stream begins."""
        return (claimed + self.lead - self.origin) * self.engine_rate / self.rate


class DeviceClock:
    """Calls begin and end where the device's output stands. Exact, and no clock on the wall can drift from it."""

    def __init__(self, instant: Callable[[], float]) -> None:
        self._instant = instant

    def begin(self, call: Call) -> float:
        return self._instant()

    def end(self, call: Call, seconds: float, skipped: bool) -> float:
        return self._instant()


class LiveStream:
    """Moves samples between a device and a session; ``pump`` as often as possible.

    The rates may differ. Nothing is ever moved in time: late is what the device's count of samples says is late.
    """

    def __init__(
        self,
        device: Device,
        engine: Engine,
        *,
        lead: int = 0,
        shift: int = 0,
        seconds: float = math.inf,
        recording: Recording | None = None,
        guarded: bool = True,
    ) -> None:
        """``lead`` in the device's samples, ``shift`` in the engine's; the input ends after ``seconds``.

        ``guarded``: against feedback; a loop of cables on purpose wants none.
        """
        self.device, self._shared, self._recording = device, device.shared, recording
        self.rate, engine_rate = device.facts.rate, engine.geometry.rate
        self._lead, self._limit = lead, seconds * self.rate
        self.timeline = Timeline(self.rate, engine_rate, 0, lead)
        self._forth, self._back = (
            StreamResampler(self.rate, engine_rate),
            StreamResampler(engine_rate, self.rate),
        )
        self.spare = SpareSound(engine_rate, self.rate)
        self.stopped = False  # nothing is played until this is false again
        self.session = Session(
            engine,
            DeviceClock(lambda: self.timeline.instant(device.position())),
            self.spare.policy,
            shift=shift,
            resting=lambda call: self.stopped,
            on_call=self._emit,
        )
        self.guard, self._guarded = HowlGuard(self.rate), guarded
        self.taken = 0  # samples of input, at the device's rate
        self.losses = 0  # of the device
        self.slack = engine.schedule.budget  # seconds that the last call was early
        self.levels = [0.0, 0.0]  # greatest since somebody set them to 0: heard, sent
        self._outage = round((engine.schedule.budget + engine.schedule.period + 0.5) * self.rate)
        self._outage += shift * self.rate // engine_rate
        self.shift = shift

    @property
    def seconds(self) -> float:
        """Of input, so far."""
        return self.taken / self.rate

    @property
    def over(self) -> bool:
        return self.taken >= self._limit

    def begin(self, ahead: float) -> None:
        """Fixes the stream's place on the device, ``ahead`` seconds from now, and runs the calls that need no input."""
        origin = self.device.position() + max(round(ahead * self.rate), self._lead)
        self.timeline = Timeline(self.rate, self.timeline.engine_rate, origin, self._lead)
        first = origin - self._lead
        self._shared.played.write(first, np.zeros(0, dtype=np.float32))
        self._shared.counts[Count.PLAY_FROM] = first
        self._lay(np.zeros(self.shift, dtype=np.float32))
        self.session.push(np.zeros(0, dtype=np.float32))

    def stop(self, stopped: bool) -> None:
        """Silence within a block of the device, and nothing is played; or starts again, with nothing of before."""
        self.stopped = stopped
        self._shared.counts[Count.STOPPED] = stopped
        if not stopped:
            self.guard.reset()

    def pump(self) -> bool:
        """Takes what the device has heard, runs the calls that are ready; whether there was anything."""
        block = self._hear()
        if not len(block):
            return False
        engine_block = self._forth.push(block)
        played = self.session.push(engine_block)
        if self._recording is not None:
            self._recording.played(played)
        return True

    def finish(self) -> None:
        """Ends the input; what is due until there is recorded."""
        played = [self.session.push(self._forth.flush()), self.session.finish()]
        if self._recording is not None:
            self._recording.played(np.concatenate(played))

    def _hear(self) -> np.ndarray:
        """The next samples of input, as a file of 24 bits would hold them, at most a piece."""
        start = self.timeline.origin + self.taken
        count = min(self._there() - start, self._limit - self.taken, PIECE * self.rate)
        block = np.zeros(max(0, int(count)), dtype=np.float32)
        if not len(block):
            return block
        self._shared.heard.read_into(start, block)
        block = np.clip(np.rint(block / QUANTUM) * QUANTUM, -1.0, 1.0 - QUANTUM)
        self.taken += len(block)
        self._observe(start, block)
        return block

    def _there(self) -> int:
        """Index up to which input can be taken. Of a device that is lost: silence, so late that nothing is played."""
        if self.device.lost:
            return self.device.position() - self._outage
        return min(self._shared.heard.written, self._shared.sent.written)

    def _observe(self, start: int, block: np.ndarray) -> None:
        """Meters, guard and recording of what was heard, and of what was sent beside it."""
        sent = np.zeros_like(block)
        self._shared.sent.read_into(start, sent)
        total = sent + np.float32(self._shared.controls[Control.MONITOR]) * block
        self.levels[0] = max(self.levels[0], float(np.abs(block).max()))
        self.levels[1] = max(self.levels[1], float(np.abs(total).max()))
        if self._guarded:
            self._shared.controls[Control.GUARD] = self.guard.push(block, total)
        if self._recording is not None:
            self._shared.sent.read_into(start - self._lead, sent)
            self._recording.heard(block, sent)

    def _emit(self, placed: np.ndarray, timing: Timing) -> None:
        """Lays the output of a call where it belongs, and after it what sounds should the next one be late."""
        self._lay(placed)
        first = self.timeline.origin - self._lead
        at, spare = self.spare.after(placed, self._back.given)
        self._shared.spare.write(first + at, spare)
        if timing.call.due is not None:
            self.slack = -timing.lateness / self.timeline.engine_rate
        if self._recording is not None:
            self._recording.call(timing)

    def _lay(self, samples: np.ndarray) -> None:
        at = self.timeline.origin - self._lead + self._back.given
        self._shared.played.write(at, limit(self._back.push(samples)))


def play(stream: LiveStream, over: Callable[[], bool], patience: float, note: Callable[[str], None]) -> None:
    """Plays until ``over``, or the input ends. DeviceLost when the device goes and stays away for ``patience`` s."""
    device = stream.device
    while not (stream.over or over()):
        if device.lost:
            bring_back(stream, over, patience, note)
        elif not stream.pump():
            device.wait()


def bring_back(
    stream: LiveStream, over: Callable[[], bool], patience: float, note: Callable[[str], None]
) -> None:
    """Reopens a lost device, by name, again and again; meanwhile the stream goes on unheard, playing nothing."""
    device, name = stream.device, stream.device.facts.output
    note(f"the sound device {name!r} is gone; trying to get it back for {patience:g} s")
    stream.losses += 1
    since = device.seconds()
    due = since
    while not (stream.over or over()):
        now = device.seconds()
        if now >= due:
            if device.reopen():
                note(f"the sound device {name!r} is back after {device.seconds() - since:.1f} s")
                return
            due = device.seconds() + RETRY
        if now - since >= patience:
            why = f": {device.trouble}" if device.trouble else ""
            raise DeviceLost(f"the sound device {name!r} did not come back within {patience:g} s{why}")
        if not stream.pump():
            device.wait()
