"""``bandmate stream``: a file played through the engine as if live."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bandmate.commands.files import check_targets, write_whole
from bandmate.commands.parsing import parse
from bandmate.commands.playing import (
    OPTIONS,
    Player,
    check_options,
    elsewhere,
    refuse_what_cannot_be_played,
)

if TYPE_CHECKING:
    from bandmate.audio.io import AudioReader
    from bandmate.spec import StreamSpec
    from bandmate.stream.overview import Overview
    from bandmate.stream.replay import Replay
    from bandmate.stream.session import Session

FILE = tyro.conf.arg(metavar="FILE")


@dataclass(frozen=True)
class Arguments:
    """Play a file through the engine as if it came in live; write what the model plays along.

    Example: bandmate stream song.wav -o bass.wav --instrument Bass --mix both.wav --plot run.png
    """

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")]
    """Music to play along with: WAV, FLAC, OGG, MP3 or AIFF, any rate, any number of channels."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """Where to write the accompaniment: mono, with the rate and length of the input."""
    instrument: str = "Bass"
    """What to play: Piano, Chromatic Percussion, Organ, Guitar, Bass, Strings, Ensemble, Brass, Reed, Pipe, Synth Lead,
    Synth Pad, Synth Effects, Ethnic, Percussive (drums), Sound Effects, Vocal, Unknown."""
    t_f: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = -0.4
    """How far the model hears ahead of what it plays, -4 to 4; below 0 it predicts, as live playing needs."""
    k: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 0.1
    """How much is played per call, 0.02 to 2."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    seed: int = 0
    """The same input and seed give the same output, bit by bit, on one kind of processor."""
    gain: Annotated[float, tyro.conf.arg(metavar="DB")] = 0.0
    """Applied to the input before the model hears it; not to the output."""
    guidance: float | None = None
    """How much stronger than usual the model follows the input; default: the model's own."""
    temperature: float | None = None
    """Of the sampling, 0 = always the likeliest; default: the model's own."""
    top_k: int | None = None
    """Sample among this many; default: the model's own."""
    plausible: int | None = None
    """Guidance chooses among this many codes, the likeliest without it; default: the model's own."""
    listen: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 0.0
    """Only listen for so long before the first note."""
    mix: Annotated[Path | None, FILE] = None
    """Also write input + output."""
    plot: Annotated[Path | None, FILE] = None
    """Also draw input, output and the time each call took (.png)."""
    json: Annotated[Path | None, FILE] = None
    """Also write what was measured."""
    realtime: bool = False
    """Keep to the wall clock; what is not ready in time does not sound."""
    latency: Annotated[str | None, tyro.conf.arg(metavar="MEAN[:SD]")] = None
    """Pretend that every call takes so many seconds, and treat late ones as live playing would."""
    shift: bool = False
    """With --realtime or --latency: when it cannot be in time, play later by as much as is needed."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the weights: int8 plays in little more than half the time (fp32 what is not made for it, model or processor)."""
    threads: int = 1
    """CPU threads; one is quickest for a model this small, 0 = as many as torch takes by itself."""
    replay: Annotated[Path | None, tyro.conf.arg(metavar="SESSION")] = None
    """The session.json of a recording by bandmate jam: its calls, their instants and its options once more."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate stream")
    args, replay = as_recorded(args)
    spec = check(args)
    from bandmate.audio.io import AudioWriter, open_audio

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_audio(args.input))
        run = Run(args, spec, reader, replay)
        writer = stack.enter_context(AudioWriter(args.output, reader.rate))
        mix = stack.enter_context(AudioWriter(args.mix, reader.rate)) if args.mix else None
        run.perform(writer, mix)
    return 0


def as_recorded(args: Arguments) -> "tuple[Arguments, Replay | None]":
    """With --replay the options are those of the session. ValueError for one that makes no sense with it."""
    if args.replay is None:
        return args, None
    from bandmate.spec import StreamSpec
    from bandmate.stream.replay import Replay

    if args.realtime or args.latency is not None or args.shift:
        raise ValueError(
            "--replay keeps to the recorded instants: leave out --realtime, --latency and --shift"
        )
    replay = Replay.read(args.replay)
    try:
        spec = StreamSpec(**replay.facts["spec"])
        options = {name: replay.facts["options"][name] for name in OPTIONS}
        place = {"model": replay.facts["model"], "instrument": replay.facts["instrument"]}
    except (KeyError, TypeError):
        raise ValueError(f"{args.replay} is damaged: its options cannot be read") from None
    return replace(args, t_f=spec.t_f_seconds, k=spec.k_seconds, **place, **options), replay


def check(args: Arguments) -> "StreamSpec":
    """Refuses what cannot work before anything is loaded; ValueError with one sentence."""
    from bandmate.spec import StreamSpec
    from bandmate.stream.scheduler import SimulatedLatency

    check_options(args)
    if args.realtime and args.latency is not None:
        raise ValueError("--realtime keeps to the wall clock, --latency to a made-up one: choose one of them")
    if args.latency is not None:
        SimulatedLatency.parse(args.latency)
    if args.plot and args.plot.suffix.lower() != ".png":
        raise ValueError(f"--plot writes PNG only: name the file {args.plot.with_suffix('.png')}")
    targets = {"--output": args.output, "--mix": args.mix, "--plot": args.plot, "--json": args.json}
    check_targets(targets, args.input)
    return StreamSpec.from_seconds(args.t_f, args.k)


class Run:
    """One performance of one file, from the loaded model to the report."""

    def __init__(
        self, args: Arguments, spec: "StreamSpec", reader: "AudioReader", replay: "Replay | None" = None
    ) -> None:
        self.began = time.perf_counter()
        self.args, self.spec, self.reader, self.replay = args, spec, reader, replay
        self.player = Player(args)
        if told := elsewhere(self.player.bundle.card, spec):
            note(told)

    def perform(self, writer: Any, mix: Any) -> None:
        """Plays the whole file; the two audio writers are the caller's, plot and report are written here."""
        from bandmate.stream.file import FileOutput, play_file
        from bandmate.stream.overview import Overview
        from bandmate.stream.warmup import warm_up

        step = warm_up(lambda spec: self.player.engine(spec, drawn=self.spec), self.spec)
        session, shift = self.session(step)
        heard, played = (Overview(session.engine.geometry.rate) for _ in range(2))
        output = FileOutput(writer, mix, session.engine.geometry.rate, self.reader.rate)
        self.ready_after = time.perf_counter() - self.began
        with progress_bar(self.reader.seconds) as progress:
            frames = play_file(
                self.reader, session, output, on_input=heard.push, on_output=played.push, progress=progress
            )
        report = self.report(session, frames / self.reader.rate, shift, output.peak, heard.loudest)
        # The sound first: should the disk be full, none of the outputs is left behind.
        picture = self.picture(session, report, heard, played) if self.args.plot else None
        writer.close()
        if mix is not None:
            mix.close()
        if self.args.plot and picture is not None:
            write_whole(self.args.plot, picture)
        if self.args.json:
            write_whole(self.args.json, (json.dumps(report, indent=2) + "\n").encode())
        print("\n".join(self.summary(report, heard.loudest)))

    def session(self, step: float) -> "tuple[Session, int]":
        """The engine under the clock that was asked for, and the shift in samples."""
        from bandmate.stream.late import LatePolicy
        from bandmate.stream.scheduler import SimulatedLatency, VirtualClock, WallClock
        from bandmate.stream.session import Session
        from bandmate.stream.warmup import feasibility

        args, frame_rate = self.args, self.spec.frame_rate
        engine = self.player.engine(self.spec, round(args.listen * frame_rate))
        rate = engine.geometry.rate
        if self.replay is not None:
            shift = self.replay.facts["shift_samples"]
            resting = self.replay.resting
            return Session(engine, self.replay, LatePolicy(), shift=shift, resting=resting), shift
        if args.latency is not None:
            cost = SimulatedLatency.parse(args.latency, args.seed)
            plan = feasibility(engine.schedule, cost.mean, 3 * cost.deviation)
            if not plan.keeps_up:
                note(f"calls of {cost.mean:g} s overrun --k {self.spec.k_seconds:g}: some will be left out")
            shift = plan.shift_samples(rate) if args.shift else 0
            return Session(engine, VirtualClock(rate, cost), LatePolicy(), shift=shift), shift
        if args.realtime:
            plan = feasibility(engine.schedule, step, 0.5 * step)
            refuse_what_cannot_be_played(self.spec, plan, args.shift)
            shift = plan.shift_samples(rate) if args.shift else 0
            clock = WallClock(rate, time.perf_counter, time.sleep)
            return Session(engine, clock, LatePolicy(), shift=shift), shift
        if args.shift:
            note("--shift has no effect without --realtime or --latency")
        return Session(engine, VirtualClock(rate), ignore_first=True), 0

    def report(
        self, session: "Session", seconds: float, shift: int, peak: float, loudest: float
    ) -> dict[str, Any]:
        from bandmate.stream.report import measured, versions

        args, numbers = self.args, measured(session, seconds)
        numbers["bad_samples"] += self.reader.bad_samples
        return {
            **{name: numbers.pop(name) for name in ("real_time_factor", "step_ms", "misses")},
            **self.player.place(self.spec),
            "seconds": round(seconds, 6),
            "versions": versions(),
            **numbers,
            "clock": self.clock,
            "latency": args.latency,
            "shift_seconds": shift / session.engine.geometry.rate,
            "listen": args.listen,
            "gain_db": args.gain,
            "sampling": self.player.sampling(self.spec),
            "precision": self.player.precision,
            "startup_seconds": round(self.ready_after, 3),
            "input": {
                "file": args.input.name,
                "rate": self.reader.rate,
                "channels": self.reader.channels,
                "peak": round(loudest, 6),
            },
            "output": {"file": args.output.name, "peak": round(peak, 6)},
        }

    @property
    def clock(self) -> str:
        """What told the time: none, a virtual clock, the wall, or a session of before."""
        if self.replay is not None:
            return "replay"
        return "wall" if self.args.realtime else "virtual" if self.args.latency is not None else "none"

    def picture(
        self, session: "Session", report: dict[str, Any], heard: "Overview", played: "Overview"
    ) -> bytes:
        from bandmate.stream.report import Picture, draw

        schedule = session.engine.schedule
        step = report["step_ms"]
        return draw(
            Picture(
                heard,
                played,
                session.trace.timings,
                session.engine.geometry.rate,
                schedule.budget,
                schedule.period,
                report["seconds"],
                f"Heard: {self.args.input.name}",
                f"Played: {self.player.instrument_name}   ({self.player.bundle.name}, t_f = {self.spec.t_f_seconds:g} s,"
                f" k = {self.spec.k_seconds:g} s)",
                f"Each call: median {step['p50']:.0f} ms, 99 % below {step['p99']:.0f} ms;"
                f" real-time factor {report['real_time_factor']:.2f};"
                f" {report['misses']} of {report['calls']} late",
            )
        )

    def summary(self, report: dict[str, Any], loudest: float) -> list[str]:
        """What is printed at the end: odd things about the input, the measures, where the files are."""
        args, step = self.args, report["step_ms"]
        lines = [f"{self.player.instrument_name} for {args.input}: {report['seconds']:.2f} s"]
        if report["bad_samples"]:
            lines.append(f"{report['bad_samples']} samples of the input were no numbers; heard as silence")
        if not loudest:
            lines.append("the input is silent")
        if args.listen >= report["seconds"]:
            lines.append(f"it ends before --listen {args.listen:g} s are over: nothing was played")
        if self.reader.channels > 1:
            lines.append(f"{self.reader.channels} channels were averaged to one")
        lines.append(
            f"real-time factor {report['real_time_factor']:.3f}; a call took {step['p50']:.1f} ms"
            f" (p99 {step['p99']:.1f}, max {step['max']:.1f}) of {1000 * report['k']:.0f} ms"
        )
        lines.append(self.punctuality(report))
        if report["shift_seconds"]:
            lines.append(f"played {report['shift_seconds']:.3f} s later, so as to be in time")
        names = {"accompaniment": args.output, "mix": args.mix, "picture": args.plot, "report": args.json}
        return lines + [f"{name:<14}{path}" for name, path in names.items() if path]

    def punctuality(self, report: dict[str, Any]) -> str:
        late = f"{report['misses']} of {report['calls']} calls"
        if report["clock"] != "none":
            return f"{late} came late ({report['skipped']} of them were left out)"
        budget = -self.spec.t_f_seconds
        from bandmate.spec import Latency

        if self.spec.slack(Latency()) < 0:
            return f"{late} would be late when played live: no machine plays t_f = {-budget:g} s in time"
        return f"{late} would have been late when played live on this machine"


def note(text: str) -> None:
    print(f"bandmate stream: {text}", file=sys.stderr)


@contextlib.contextmanager
def progress_bar(seconds: float, what: str = "playing") -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr when that is a terminal; None otherwise."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=seconds)
        yield lambda done: bar.update(task, completed=done)
