"""The paper's random-prefix objective beside ours, which supervises every chunk, at equal compute.

Both tiny models see the same windows in the same order and stop once the same number of operations is spent. Judged alike:
nats of all columns of unseen songs, each as its chunk sees it. A store without codes of mixtures will do: then another
stem of the song takes the place of the mixture.

usage: python runs/objectives.py --data prepared [--gflop 60] [--set frames=120 model.window=128 model.k=10 ...]
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from bandmate.configs import preset
from bandmate.data.layout import Entry
from bandmate.data.tokens import Example, TokenStore
from bandmate.data.windows import playable, valid_starts
from bandmate.model.paper import wanted_columns
from bandmate.model.teacher import cell_nats
from bandmate.model.tokens import to_columns
from bandmate.train import presets, runs
from bandmate.train.flops import Counter
from bandmate.train.loop import clip, cosine_with_warmup, set_rate
from bandmate.train.paper import PaperTraining

OBJECTIVES = ("random_prefix", "every_chunk")


@dataclasses.dataclass(frozen=True)
class Arguments:
    data: Path
    codec: str = ""
    """Run or bundle whose codebooks to take when the store holds none."""
    gflop: float = 60.0
    """What each objective may spend."""
    windows: tuple[int, int] = (8, 1)
    """Windows a step for the random prefix and for every chunk, whose windows cost several times as much."""
    objectives: tuple[str, ...] = OBJECTIVES
    checks: int = 6
    """How often, evenly over the compute, the model is judged."""
    rate: float = 5e-3
    json: Path | None = None
    set: Annotated[list[str], tyro.conf.arg(metavar="FIELD=VALUE")] = dataclasses.field(default_factory=list)


class StemPairs(TokenStore):
    """A store whose mixtures are single stems: x is another stem of the song than y."""

    def _draw(
        self, entry: Entry, rng: np.random.Generator, frames: int, pre: int, post: int, instrument: int | None
    ) -> Example | None:
        stems = playable(entry.instruments)
        if len(stems) < 2:
            return None
        target, other = rng.choice(stems, 2, replace=False).tolist()
        arrays = self.arrays(entry)
        starts = valid_starts(arrays.active(other), arrays.active(target), frames, pre, post)
        if not starts.size:
            return None
        start = int(rng.choice(starts))
        example = self.example(entry, 0, target, start, frames, pre, post)
        heard = arrays.stem_codes(other, start - pre, start + frames + post)
        return dataclasses.replace(example, x_codes=heard, x_features=None, members=(other,))


def begin(args: Arguments, objective: str) -> PaperTraining:
    """Both begin with the same weights."""
    windows = args.windows[OBJECTIVES.index(objective)]
    settings = [f"model.objective={objective}", f"batch={windows}", "parts=1", *args.set]
    config = runs.override(preset(presets.LM, "prefix-decoder-tiny"), settings)
    table = codebook(args)
    sizes = dict(zip(("levels", "codes", "latent"), table.shape, strict=True))
    fitted = dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))
    torch.manual_seed(config.seed)
    training = PaperTraining(fitted, args.data, table)
    if not training.store.config.submix_codes:
        training.store, training.valid = (StemPairs(args.data, split) for split in ("train", "valid"))
    return training


def codebook(args: Arguments) -> torch.Tensor:
    if args.codec:
        return runs.find_codec(args.codec).codebook_table().detach()
    return torch.from_numpy(TokenStore(args.data).codebook())


@torch.inference_mode()
def judge(training: PaperTraining, windows: int = 64) -> float:
    """Nats per code of every column of unseen songs."""
    model, c = training.model.eval(), training.config
    drawn = [training.valid.window(1, index, c.frames, *training.span) for index in range(windows)]
    part = training.part(drawn, torch.zeros(windows, dtype=torch.bool), (0,))
    logits = model.every_chunk(part.x, part.y, part.instrument)
    columns = to_columns(part.y, model.config.pad, logits.shape[1])
    wanted = wanted_columns(columns, model.config.codes)
    nats, cells = cell_nats(logits, wanted)
    model.train()
    return float(nats.sum() / cells.sum())


def cost(training: PaperTraining) -> float:
    """Operations of a step, in 10^9: mean over a few, because prefixes differ."""
    with Counter() as counted:
        for step in range(8):
            for part in range(training.config.parts):
                training.loss(training.draw_part(step, part))[0].backward()
    training.model.zero_grad()
    return counted.flops / 8 / 1e9


def train(training: PaperTraining, steps: int, rate: float, checks: int) -> list[float]:
    """What :func:`judge` says, evenly over the steps."""
    c, optimizer = training.config, training.configure_optimizers()
    marks = {round(steps * (index + 1) / checks) - 1 for index in range(checks)}
    curve = []
    for step in range(steps):
        for part in range(c.parts):
            (training.loss(training.draw_part(step, part))[0] / c.parts).backward()
        clip(training.model.parameters(), c.clip)
        set_rate([optimizer], rate * cosine_with_warmup(step, steps, max(1, steps // 20), c.floor))
        optimizer.step()
        training.model.zero_grad()
        if step in marks:
            curve.append(judge(training))
    return curve


def main() -> None:
    args = tyro.cli(Arguments)
    report: dict[str, Any] = {}
    for objective in args.objectives:
        training = begin(args, objective)
        spent = cost(training)
        steps = max(args.checks, int(args.gflop / spent))
        curve = train(training, steps, args.rate, args.checks)
        report[objective] = {"gflop_per_step": spent, "steps": steps, "nats": curve}
        print(
            f"{objective:<14}{spent:8.3f} GFLOP a step, {steps} steps: {', '.join(f'{v:.4f}' for v in curve)}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
