"""A model made ready to be timed: what `bench` and `plan` have in common."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandmate.commands.parsing import in_range
from bandmate.commands.playing import K_RANGE, T_F_RANGE

if TYPE_CHECKING:
    from bandmate.checkpoint import Bundle
    from bandmate.spec import StreamSpec
    from bandmate.stream.engine import Engine
    from bandmate.stream.measure import Clocks, Probe

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "demo.flac"
INSTRUMENT = "Bass"  # the time of a step does not depend on it
T_F = -0.4  # seconds, where nothing else is asked for
QUICK_SOUND, QUICK_WORK = 3.0, 6.0  # seconds of sound for each k, of work in all


def check_common(args: Any) -> None:
    """ValueError for what cannot be in the options that both commands have."""
    for name, values in (("--k", args.k), ("--t-f", times_of(args.t_f))):
        least, most = K_RANGE if name == "--k" else T_F_RANGE
        for seconds in values:
            if not least - 1e-9 <= seconds <= most + 1e-9:
                raise ValueError(f"{name} {seconds:g} is out of range: give {least:g} to {most:g} seconds")
    in_range(
        {
            "--seconds": (args.seconds, 0.1, 86_400),
            "--threads": (args.threads, 0, 1024),
            "--guidance": (args.guidance, 0, 100),
        }
    )


def times_of(value: float | Sequence[float] | None) -> Sequence[float]:
    if value is None:
        return ()
    return (value,) if isinstance(value, float | int) else value


@dataclass(frozen=True)
class TimedPlayer:
    """A bundle as it is played; ``guidance`` instead of its own unless None."""

    bundle: "Bundle"
    precision: str
    guidance: float | None = None

    @property
    def own(self) -> "tuple[float, float] | None":
        """t_f and k in seconds of a model made for one place only; None for one that plays anywhere."""
        from bandmate.checkpoint import made_for
        from bandmate.spec import StreamSpec

        config = getattr(self.bundle.model, "config", None)
        t_f, k = getattr(config, "t_f", None), getattr(config, "k", None)
        if t_f is not None and k is not None:
            spec = StreamSpec(t_f, k)
            return spec.t_f_seconds, spec.k_seconds
        place = made_for(self.bundle.card)
        return (place["t_f"], place["k"]) if len(place) == 2 else None

    def sampling(self, t_f: float) -> dict[str, Any]:
        from bandmate.checkpoint import sampling_for

        given = {} if self.guidance is None else {"guidance": self.guidance}
        return sampling_for(self.bundle.card, t_f) | given

    def builder(self, spec: "StreamSpec") -> "Callable[[Any], Engine]":
        """What makes an engine of codec and model as a probe watches them."""
        from bandmate.instruments import lookup
        from bandmate.model.sampling import Sampler
        from bandmate.stream.engine import Engine
        from bandmate.stream.measure import Watched

        sampler = Sampler(**self.sampling(spec.t_f_seconds))
        codec, model = self.bundle.codec, self.bundle.model
        return lambda run: Engine(Watched(codec, run), Watched(model, run), spec, sampler, lookup(INSTRUMENT))

    def probes(self, t_f: float, ks: Sequence[float], audio: Path) -> "list[Probe]":
        """One per k (seconds), shortest first. ValueError for a place that the model cannot play at."""
        from bandmate.spec import StreamSpec
        from bandmate.stream.measure import Probe, read_sound

        specs = {StreamSpec.from_seconds(t_f, k).k: StreamSpec.from_seconds(t_f, k) for k in sorted(ks)}
        sound, timer = read_sound(audio, self.bundle.codec.sample_rate), clocks()
        return [Probe(self.builder(spec), spec, sound, timer) for spec in specs.values()]


def clocks() -> "Clocks":
    from bandmate.stream.measure import Clocks

    return Clocks(time.perf_counter, time.process_time, time.sleep)


@dataclass(frozen=True)
class Run:
    """share: of the work's wall time that was spent on a processor. warm: MB that the process held when it began."""

    share: float
    warm: float


def run_probes(
    player: TimedPlayer, probes: "list[Probe]", seconds: float, quick: bool = False, pause: float = 0.0
) -> Run:
    """Warms and times them under a progress bar."""
    from bandmate.commands.stream import progress_bar
    from bandmate.stream import host
    from bandmate.stream.measure import measure, window_of

    window = window_of(player.bundle.model)
    seconds, most = (min(seconds, QUICK_SOUND), QUICK_WORK) if quick else (seconds, math.inf)
    with progress_bar(len(probes) * (1 + seconds), "measuring") as progress:
        for done, probe in enumerate(probes):
            probe.warm(window)
            if progress:
                progress(done + 1)
        warm = host.memory()
        told = progress and (lambda done: progress(len(probes) + done))
        measure(probes, seconds, pause, most, told)
    work = sum(sum(probe.times.steps) for probe in probes)
    return Run(sum(probe.times.cpu for probe in probes) / work if work else 1.0, warm)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, each as wide as its widest cell, all flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
