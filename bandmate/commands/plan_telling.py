"""What `bandmate plan` tells: the table, the advice, the report, the picture."""

import dataclasses
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bandmate.commands.measuring import TimedPlayer, table
from bandmate.spec import FRAME_RATE

if TYPE_CHECKING:
    from bandmate.stream.advice import Advice, Machine
    from bandmate.stream.loopback import Delay
    from bandmate.stream.measure import Times


@dataclass(frozen=True)
class Measured:
    """A machine measured with one model, and what follows from it.

    args: of the command. about: of the machine. share: see `run_probes`. lateness: seconds, of each wake-up. t_fs:
    frames, the columns of the table. card: where the sound card was measured.
    """

    args: Any
    player: TimedPlayer
    about: dict[str, Any]
    share: float
    lateness: list[float]
    times: "list[Times]"
    machine: "Machine"
    advice: "Advice"
    t_fs: list[int]
    card: "Delay | None"

    @property
    def assumed(self) -> list[str]:
        """Names of what was neither measured nor given."""
        names = ("device_in", "device_out") if self.card is None else ()
        return [name for name in names if getattr(self.args, name) is None]

    def report(self) -> dict[str, Any]:
        """In seconds, but for the milliseconds of a step."""
        from bandmate.stream.report import versions

        region, spec = self.machine.region(self.t_fs), self.advice.spec
        parts = {name: value for name, value in vars(self.machine.latency).items() if name != "t_gen"}
        return {
            "t_gen": {f"{times.k / FRAME_RATE:g}": times.t_gen for times in self.times},
            **parts,
            "assumed": self.assumed,
            "loopback": None if self.card is None else dataclasses.asdict(self.card),
            "wakes": len(self.lateness),
            "block": self.args.block,
            "advice": {
                "t_f": None if spec is None else spec.t_f_seconds,
                "k": None if spec is None else spec.k_seconds,
                "slack": self.advice.slack,
                "margin": self.advice.margin,
                "reason": self.advice.reason,
                "command": self.command(),
            },
            "region": {
                "t_f": [t_f / FRAME_RATE for t_f in region.t_f],
                "k": [k / FRAME_RATE for k in region.k],
                "deployable": region.deployable,
                "slack": region.slack,
            },
            "chunks": [
                {"k": times.k / FRAME_RATE, "calls": len(times.steps), "step_ms": times.summary()}
                for times in self.times
            ],
            "model": self.player.bundle.name,
            "precision": self.player.precision,
            "machine": self.about,
            "on_processor": round(self.share, 3),
            "versions": versions(),
        }

    def command(self) -> str | None:
        """What to type to play as advised; None where nothing is."""
        spec, args = self.advice.spec, self.args
        if spec is None:
            return None
        words = ["bandmate", "jam", "--t-f", f"{spec.t_f_seconds:g}", "--k", f"{spec.k_seconds:g}"]
        usual = {each.name: each.default for each in dataclasses.fields(args)}
        for name in ("model", "guidance", "precision", "threads", "input", "output"):
            if getattr(args, name) != usual[name]:
                words += [f"--{name}", str(getattr(args, name))]
        return shlex.join(words)

    def lines(self) -> list[str]:
        """What is printed."""
        from bandmate.stream import host

        player, spec = self.player, self.advice.spec
        head = [
            host.in_words(self.about, self.share),
            f"{player.bundle.name}, {player.precision}; {self.spent()}",
        ]
        if self.assumed:
            head.append(
                "the sound card is assumed, not measured: give --loopback, or --device-in and --device-out"
            )
        if few := [f"{times.k / FRAME_RATE:g}" for times in self.times if len(times.steps) < 100]:
            head.append(f"fewer than 100 calls of k = {', '.join(few)} s: their p99 is the longest of them")
        body = [
            "",
            "slack in ms; in brackets: too late; -: does not keep up",
            *table(self.rows()),
            "",
        ]
        if spec is None:
            again = "; measure again when nothing else runs" if self.share < host.BUSY else ""
            told = f"nothing can be played in time here. {self.advice.reason}{again}"
            return [*head, *body, told, *self.files()]
        return [
            *head,
            *body,
            f"advised: t_f = {spec.t_f_seconds:g} s, k = {spec.k_seconds:g} s: {self.advice.reason}",
            f"  {self.command()}",
            *self.files(),
        ]

    def files(self) -> list[str]:
        named = {"picture": self.args.plot, "report": self.args.json}
        return [f"{name:<9}{path}" for name, path in named.items() if path]

    def spent(self) -> str:
        """The parts of the latency in words."""
        spent, card = self.machine.latency, self.card
        if card is None:
            device = f"device {ms(spent.device_in)} in, {ms(spent.device_out)} out"
        else:
            device = (
                f"sound card {ms(card.seconds)} both ways (± {ms(card.spread / 2)}, {card.repeats} sweeps)"
            )
        wakes = f" (p99.9 of {len(self.lateness)} wake-ups)" if self.lateness else ""
        return (
            f"{device}; delay pattern {ms(spent.pattern)}; codec {ms(spent.synthesis)}; "
            f"jitter {ms(spent.jitter)}{wakes}"
        )

    def rows(self) -> list[list[str]]:
        """The table: a k each, what its chunks take, the slack at each t_f."""
        region = self.machine.region(self.t_fs)
        head = [
            "k s",
            "calls",
            "p50 ms",
            "p99 ms",
            "load",
            *(f"t_f {t_f / FRAME_RATE:g}" for t_f in self.t_fs),
        ]
        rows = [head]
        for times, slacks in zip(self.times, region.slack):
            load = self.machine.load(times.k)
            steps = times.summary()
            cells = [slack_cell(slack) if load <= 1 else "-" for slack in slacks]
            timed = [f"{steps['p50']:.1f}", f"{steps['p99']:.1f}", f"{100 * load:.0f} %"]
            rows.append([f"{times.k / FRAME_RATE:g}", str(len(times.steps)), *timed, *cells])
        return rows

    def picture(self) -> bytes:
        from bandmate.stream import host
        from bandmate.stream.measure import quantile
        from bandmate.stream.plan_picture import Plan, draw

        median = {times.k: quantile(times.steps, 0.5) for times in self.times}
        about = f"{self.about['processor']}, {self.about['threads']} thread"
        about += "s" if self.about["threads"] > 1 else ""
        title = f"{self.player.bundle.name} ({self.player.precision}) on {about}"
        if self.share < host.BUSY:
            title += f"; busy: the work had a processor {100 * self.share:.0f} % of its time"
        return draw(Plan(self.machine, self.advice, self.t_fs, median, title, self.spent()))


def slack_cell(slack: float) -> str:
    """Whole milliseconds, rounded down; in brackets below 0."""
    whole = math.floor(1000 * slack + 1e-6)
    return f"{whole}" if whole >= 0 else f"({whole})"


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
