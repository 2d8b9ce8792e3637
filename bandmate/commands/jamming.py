"""A live session from the loaded model to the report: what ``bandmate jam`` does on an open device."""

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bandmate.checkpoint import made_for
from bandmate.commands.files import write_whole
from bandmate.commands.jam_display import display
from bandmate.commands.playing import OPTIONS, Player, elsewhere, refuse_what_cannot_be_played
from bandmate.spec import StreamSpec
from bandmate.stream.devices import DeviceLost
from bandmate.stream.exchange import Control, Count
from bandmate.stream.live import LiveStream, play
from bandmate.stream.placing import Measured
from bandmate.stream.recording import SESSION, Recording, session_document
from bandmate.stream.report import measured as measured_session
from bandmate.stream.report import versions
from bandmate.stream.scheduler import Schedule
from bandmate.stream.warmup import step_times

if TYPE_CHECKING:
    from bandmate.stream.devices import Device
    from bandmate.stream.warmup import Feasibility

USUAL_T_F = -0.4  # seconds, for the warm-up
MEASURED_CALLS, MEASURED_WORK = 60, 2.5  # at most: calls, seconds of work


class Jam:
    """One live session on an open device, from the loaded model to the report."""

    def __init__(self, args: Any, device: "Device") -> None:
        self.args, self.device, self.began = args, device, time.perf_counter()
        for doubt in device.facts.doubts if args.device_latency is None else ():
            note(doubt)
        self.player = Player(args)
        self.ending: int | None = None  # an exit code, once somebody wants to end

    def perform(self) -> int:
        """Plays until somebody ends it; returns the exit code."""
        with self.signals():
            spec, plan = self.place()
            recording = self.recording()
            stream = self.stream(spec, plan, recording)
            lost: DeviceLost | None = None
            try:
                stream.begin(ahead=self.time_to_begin(stream, plan))
                self.ready_after = time.perf_counter() - self.began
                with display(stream, self.end) as screen:
                    play(stream, lambda: self.ending is not None, self.args.patience, screen.note)
            except DeviceLost as error:
                lost = error
            finally:
                self.keep(stream, recording, spec)
        if lost is not None:
            raise lost
        return self.ending or 0

    def end(self) -> None:
        """The musician has had enough."""
        self.ending = self.ending or 0

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """The first Ctrl-C (or a request to end) ends the session and keeps everything; the second interrupts."""

        def interrupt(number: int, frame: Any) -> None:
            if self.ending is not None:
                raise KeyboardInterrupt
            self.ending = 128 + number  # 130 for Ctrl-C

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def place(self) -> "tuple[StreamSpec, Feasibility]":
        """Where on the plane to play, as this machine and device allow it, and what is to spare there.

        ValueError where it cannot be played in time.
        """
        asked = StreamSpec.from_seconds(USUAL_T_F if self.own_t_f is None else self.own_t_f, self.args.k)
        engine = self.player.engine(asked)
        steps = step_times(
            lambda spec: self.player.engine(spec, drawn=asked),
            asked,
            most=MEASURED_CALLS,
            enough=MEASURED_WORK,
        )
        worst_gap = int(self.device.shared.counts[Count.WORST_GAP_NS]) / 1e9
        rate = engine.geometry.rate
        measured = Measured(self.device.facts, self.lead, tuple(steps), worst_gap, rate)
        note(
            f"ready: a call takes {1000 * float(np.mean(steps)):.0f} ms (p99 {1000 * measured.step:.0f}) of"
            f" {1000 * asked.k_seconds:.0f} ms; sound takes {1000 * self.lead / self.device.facts.rate:.0f} ms"
            " out and in again"
        )
        spec = measured.best(asked) if self.own_t_f is None else asked
        plan = measured.plan(Schedule(spec, engine.geometry))
        refuse_what_cannot_be_played(spec, plan, self.args.shift)
        if told := elsewhere(self.player.bundle.card, spec):
            note(told)
        return spec, plan

    @property
    def own_t_f(self) -> float | None:
        """What was asked for, else what the model was made for, else None."""
        return self.args.t_f if self.args.t_f is not None else made_for(self.player.bundle.card).get("t_f")

    @property
    def lead(self) -> int:
        """Samples by which output goes out before its place, so that it sounds there: the way through the device."""
        facts = self.device.facts
        seconds = self.args.device_latency
        return round(
            (facts.input_latency + facts.output_latency if seconds is None else seconds) * facts.rate
        )

    def recording(self) -> Recording | None:
        if self.args.record is None:
            return None
        return Recording(self.args.record, self.device.facts.rate, self.player.bundle.codec.sample_rate)

    def stream(self, spec: StreamSpec, plan: "Feasibility", recording: Recording | None) -> LiveStream:
        args, controls = self.args, self.device.shared.controls
        controls[Control.VOLUME] = 10 ** (args.volume / 20)
        controls[Control.MONITOR] = 0.0 if args.monitor is None else 10 ** (args.monitor / 20)
        engine = self.player.engine(spec, round(args.listen * spec.frame_rate))
        return LiveStream(
            self.device,
            engine,
            lead=self.lead,
            shift=plan.shift_samples(engine.geometry.rate) if args.shift else 0,
            seconds=math.inf if args.seconds is None else args.seconds,
            recording=recording,
            guarded=not args.unguarded,
        )

    def time_to_begin(self, stream: LiveStream, plan: "Feasibility") -> float:
        """Seconds that the calls before the first sample may take, and some more."""
        schedule, count = stream.session.engine.schedule, 0
        while schedule.call(count).ready <= 0:
            count += 1
        return 0.2 + count * plan.step

    def keep(self, stream: LiveStream, recording: Recording | None, spec: StreamSpec) -> None:
        """Ends the stream; writes the report and whatever was recorded, and says how it went."""
        stream.finish()
        report = self.report(stream, spec)
        print("\n".join(summary(report)))
        if self.args.json:
            write_whole(self.args.json, (json.dumps(report, indent=2) + "\n").encode())
        if recording is not None:
            document = self.document(stream, recording, spec, report)
            write_whole(recording.folder / SESSION, (json.dumps(document) + "\n").encode())
            recording.finish()
            print(f"recording     {recording.folder}")

    def document(
        self, stream: LiveStream, recording: Recording, spec: StreamSpec, report: dict[str, Any]
    ) -> dict[str, Any]:
        """session.json: all that a replay needs, and what was measured."""
        return session_document(
            recording.calls,
            spec=asdict(spec),
            model=self.args.model,
            instrument=self.player.instrument_name,
            options={name: getattr(self.args, name) for name in OPTIONS},
            shift_samples=stream.shift,
            lead_samples=self.lead,
            report=report,
        )

    def report(self, stream: LiveStream, spec: StreamSpec) -> dict[str, Any]:
        """The keys of ``bandmate stream``, then what only a device has."""
        numbers, counts = measured_session(stream.session, stream.seconds), self.device.shared.counts
        numbers["bad_samples"] += int(counts[Count.BAD])
        return {
            **{name: numbers.pop(name) for name in ("real_time_factor", "step_ms", "misses")},
            **self.player.place(spec),
            "seconds": round(stream.seconds, 6),
            "versions": versions(),
            **numbers,
            "clock": "device",
            "rested": stream.session.tracker.rested,
            "underruns": int(counts[Count.UNDERRUNS]),
            "missing_samples": int(counts[Count.MISSING]),
            "flagged_callbacks": int(counts[Count.FLAGGED]),
            "losses": stream.losses,
            "howls": stream.guard.howls,
            "shift_seconds": stream.shift / stream.session.engine.geometry.rate,
            "lead_seconds": self.lead / stream.rate,
            "listen": self.args.listen,
            "gain_db": self.args.gain,
            "sampling": self.player.sampling(spec),
            "precision": self.player.precision,
            "startup_seconds": round(self.ready_after, 3),
            "device": self.device.facts.plain(),
        }


def summary(report: dict[str, Any]) -> list[str]:
    """What is printed at the end."""
    step, k = report["step_ms"], report["k"]
    lines = [
        f"{report['instrument']}: {report['seconds']:.1f} s live at t_f = {report['t_f']:g} s, k = {k:g} s",
        f"a call took {step['p50']:.1f} ms (p99 {step['p99']:.1f}, max {step['max']:.1f}) of {1000 * k:.0f} ms",
        f"{report['misses']} of {report['calls']} calls came late ({report['skipped']} of them were left out);"
        f" the device had to wait {report['underruns']} times",
    ]
    if report["bad_samples"]:
        lines.append(f"{report['bad_samples']} samples of the input were no numbers; heard as silence")
    if report["howls"]:
        lines.append(f"feedback: turned down {report['howls']} times")
    return lines


def note(text: str) -> None:
    print(f"bandmate jam: {text}", file=sys.stderr, flush=True)
