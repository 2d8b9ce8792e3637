"""``bandmate prepare``: MIDI songs to rendered tracks, rendered tracks to the prepared store."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from bandmate.commands.parsing import parse

if TYPE_CHECKING:
    from bandmate.codec.spectral import SpectralCodec


@dataclass(frozen=True)
class Arguments:
    """Render MIDI through SoundFonts to aligned stems, or encode rendered stems into the store that models train on.

    Both go on where they were stopped. Example: bandmate prepare midi --out rendered && bandmate train codec
    --data rendered/train --out runs/codec && bandmate prepare store --data rendered --codec runs/codec --out prepared
    """

    what: tyro.conf.Positional[Literal["midi", "store"]]
    """midi: render songs; store: encode rendered tracks."""
    out: Path
    """Folder to write to."""
    data: Path | None = None
    """midi: a folder of your own songs (default: the bundled pack); store: the folder of rendered tracks."""
    codec: str | None = None
    """store: folder of a codec's run, or a bundled model whose codec to use."""
    renditions: int = 8
    """midi: of each training song; songs for validation and test get 2 at most."""
    seconds: float = 40.0
    """midi: length of a rendition's excerpt; store: only so much of each track."""
    submixes: int = 6
    """store: random mixtures per track."""
    workers: int = 0
    """Processes for rendering; 0 = one per core."""
    seed: int = 0
    """The same seed gives the same bytes."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate prepare")
    return render(args) if args.what == "midi" else encode(args)


def render(args: Arguments) -> int:
    from bandmate.data import render as renderer

    flags = {
        "--out": args.out, "--cache": args.out / "midi", "--train-renditions": args.renditions,
        "--eval-renditions": min(2, args.renditions), "--seconds": args.seconds, "--seed": args.seed,
        "--workers": args.workers or os.cpu_count() or 1,
    }  # fmt: skip
    own = ["--midi", str(args.data)] if args.data else []
    renderer.main([str(part) for pair in flags.items() for part in pair] + own)
    return 0


def encode(args: Arguments) -> int:
    if args.data is None or args.codec is None:
        raise ValueError("store needs --data, the folder of rendered tracks, and --codec, what encodes them")
    import torch

    from bandmate.data.render import lazy_tracks
    from bandmate.data.tokens import TokenStore, write_store
    from bandmate.train.encode import Encoders

    encoders = Encoders(load_codec(args.codec))
    tracks = [encoders.shortened(track, args.seconds) for track in lazy_tracks(args.data)]
    total = len(tracks)

    def report(done: int, name: str) -> None:
        print(f"\r{done} of at most {total}: {name:<50.50}", end="", file=sys.stderr, flush=True)

    with torch.inference_mode():
        failed = write_store(
            tracks, encoders.codes, encoders.features, args.out,
            submixes=args.submixes, seed=args.seed, codes=encoders.codec.codes, source=encoders.fingerprint, progress=report,
        )  # fmt: skip
    print(file=sys.stderr)
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    print(TokenStore(args.out).stats())
    return 0


def load_codec(name: str) -> "SpectralCodec":
    """From a run's folder, else from a bundle."""
    from bandmate.checkpoint import load_bundle
    from bandmate.train import runs

    return runs.load_codec(Path(name)) if (Path(name) / "last.ckpt").exists() else load_bundle(name).codec
