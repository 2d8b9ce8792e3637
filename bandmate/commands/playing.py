"""What ``stream`` and ``jam`` have in common: the player that was asked for, its options, what cannot be played."""

import math
from typing import TYPE_CHECKING, Any

from bandmate.commands.parsing import drawing_in_range, in_range

if TYPE_CHECKING:
    from bandmate.checkpoint import Bundle
    from bandmate.spec import StreamSpec
    from bandmate.stream.engine import Engine
    from bandmate.stream.warmup import Feasibility

T_F_RANGE, K_RANGE = (-4.0, 4.0), (0.02, 2.0)  # seconds, what the bundled model was trained for
OPTIONS = (
    "seed", "gain", "guidance", "plausible", "temperature", "top_k", "listen", "precision", "threads",
)  # fmt: skip


def check_options(args: Any) -> None:
    """The options of both verbs. ValueError with one sentence."""
    from bandmate.instruments import lookup

    for name, seconds, (least, most) in (("--t-f", args.t_f, T_F_RANGE), ("--k", args.k, K_RANGE)):
        if seconds is not None and not least - 1e-9 <= seconds <= most + 1e-9:
            raise ValueError(f"{name} {seconds:g} is out of range: give {least:g} to {most:g} seconds")
    in_range(
        {
            "--gain": (args.gain, -60.0, 60.0),
            "--listen": (args.listen, 0.0, 86_400.0),
            "--threads": (args.threads, 0, 1024),
            "--seed": (args.seed, 0, 2**63 - 1),
        }
    )
    drawing_in_range(args)
    lookup(args.instrument)


class Player:
    """The model that was asked for, loaded: makes the engines that play it, warm-up and all."""

    def __init__(self, args: Any) -> None:
        """ValueError for a model that is none, or that cannot stream."""
        from bandmate.instruments import INSTRUMENTS, lookup

        self.args, self.instrument = args, lookup(args.instrument)
        self.instrument_name = INSTRUMENTS[self.instrument]
        self.bundle, self.precision = load_to_play(args.model, args.precision, args.threads)

    def sampling(self, spec: "StreamSpec") -> dict[str, Any]:
        """How codes are drawn at this t_f: the model's own way, and what was asked for over it."""
        from bandmate.checkpoint import DRAWING, sampling_for

        return sampling_for(self.bundle.card, spec.t_f_seconds) | {
            name: getattr(self.args, name) for name in DRAWING if getattr(self.args, name) is not None
        }

    def engine(
        self, spec: "StreamSpec", first_column: int = 0, drawn: "StreamSpec | None" = None
    ) -> "Engine":
        """``drawn``: the place whose way of drawing is used, where it is not ``spec``."""
        from bandmate.model.sampling import Sampler
        from bandmate.stream.engine import Engine

        sampler = Sampler(seed=self.args.seed, **self.sampling(drawn or spec))
        codec, model = self.bundle.codec, self.bundle.model
        gain = self.args.gain
        return Engine(codec, model, spec, sampler, self.instrument, gain_db=gain, first_column=first_column)

    def place(self, spec: "StreamSpec") -> dict[str, Any]:
        """The first keys of a report: what was played, and where on the plane."""
        return {
            "t_f": spec.t_f_seconds,
            "k": spec.k_seconds,
            "model": self.bundle.name,
            "instrument": self.instrument_name,
            "seed": self.args.seed,
        }


def load_to_play(model: str, precision: str, threads: int) -> "tuple[Bundle, str]":
    """A bundle as it is played with so many threads, and in what precision. ValueError for one that cannot stream."""
    from bandmate.checkpoint import load_bundle
    from bandmate.stream.quick import precision_of, quick

    if threads:
        import torch

        torch.set_num_threads(threads)
    plain = load_bundle(model)
    if not hasattr(plain.model, "play"):
        raise ValueError(f"{plain.name} is an offline model: it cannot play for as long as one likes")
    played = quick(plain) if precision == "int8" else plain
    return played, precision_of(plain, played)


def refuse_what_cannot_be_played(spec: "StreamSpec", plan: "Feasibility", shift: bool) -> None:
    """ValueError for a (t_f, k) that the wall clock does not allow here, saying what to change."""
    task = f"t_f = {spec.t_f_seconds:g} s, k = {spec.k_seconds:g} s cannot be played in time here"
    if not plan.keeps_up:
        raise ValueError(
            f"{task}: a call takes {plan.usual or plan.step:.3f} s and the next one is due after {plan.period:.3f} s;"
            " give a longer --k"
        )
    if plan.shift and not shift:
        enough = math.floor((spec.t_f_seconds - plan.shift) * spec.frame_rate + 1e-9) / spec.frame_rate
        lower = f"give --t-f {enough:g} or less, or " if enough >= T_F_RANGE[0] else "give "
        raise ValueError(
            f"{task}: it would come {plan.shift:.3f} s late; {lower}--shift to play that much later"
        )


def elsewhere(card: dict[str, Any], spec: "StreamSpec") -> str:
    """A word when a specialist is played at another place than it was made for; empty else."""
    from bandmate.checkpoint import made_for

    own = made_for(card)
    asked = {"t_f": spec.t_f_seconds, "k": spec.k_seconds}
    if all(abs(asked[name] - seconds) < 1e-6 for name, seconds in own.items()):
        return ""
    flags = " ".join(f"--{name.replace('_', '-')} {seconds:g}" for name, seconds in own.items())
    return f"this model was made for another place than t_f = {asked['t_f']:g} s, k = {asked['k']:g} s: give {flags}"
