"""How well does what was heard one period ago say what comes? Correlation of onset strength, by t_f.

usage: python benchmarks/bench_recall.py STORE [--split valid] [--windows 60] [--listen 350]
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from bandmate.data.tokens import TokenStore
from bandmate.model.recall import GROUPS, likeness_at, novelty, places

FRAMES, K = 400, 5


def correlation(recalled: Tensor, true: Tensor) -> float:
    """Median over windows [B, S] in which both vary."""
    pairs = [(a, b) for a, b in zip(recalled.numpy(), true.numpy(), strict=True) if a.std() and b.std()]
    return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs])) if pairs else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--listen", type=int, default=350, help="frames heard before the window")
    args = parser.parse_args()
    store = TokenStore(args.store, args.split)
    windows = [store.window(5, index, FRAMES, args.listen, 50) for index in range(args.windows)]
    x = torch.from_numpy(np.stack([window.x_features for window in windows]))
    new = novelty(x, x[:, :1])
    onsets = new[..., :GROUPS].sum(-1)
    column = torch.arange(args.listen, args.listen + FRAMES)
    print("t_f (s)   recalled   with another song's period")
    for t_f in (-20, -50, -100, -200):
        heard = (column // K * K + t_f).clamp(min=0).expand(args.windows, -1)
        place = places(likeness_at(new, heard), column, heard).frame[:, :, 1, 0]
        own, other = (
            torch.where(at >= 0, onsets.gather(1, at.clamp(min=0)), 0.0) for at in (place, place.roll(1, 0))
        )
        true = onsets[:, args.listen : args.listen + FRAMES]
        print(f"{t_f / 50:7.1f}   {correlation(own, true):8.2f}   {correlation(other, true):8.2f}")


if __name__ == "__main__":
    main()
