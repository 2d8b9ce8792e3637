"""``bandmate models import``: the authors' codec and one of their models as a folder that --model takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from torch import nn

FILE = tyro.conf.arg(metavar="FILE_OR_NAME")


@dataclass(frozen=True)
class Import:
    """Turn the authors' published checkpoints into a folder that --model takes.

    FILE_OR_NAME is a file, or the name of weights fetched before. Their codec costs about 90 ms a frame on a CPU: such a
    model plays files, not live. Example: bandmate models import --what decoder --codec stream-music-gen-dac
    --lm decoder.ckpt --out released-decoder
    """

    what: Literal["decoder", "prefix-decoder", "offline-prefix", "stemgen"]
    """Which of their models --lm is."""
    codec: Annotated[str, FILE]
    """The causal DAC that the model was trained with (.pth)."""
    lm: Annotated[str, FILE]
    """The model, as Lightning saved it (.ckpt)."""
    out: Path
    """Folder to write to."""
    t_f: float | None = None
    """Seconds. Needed for models that look ahead; those made for t_f <= 0 tell it themselves."""
    k: float | None = None
    """Seconds. Needed for prefix-decoder."""
    gain: float = 0.0
    """dB that bring a live input to the -16 LUFS that the codec was trained at."""
    half: bool = False
    """float16: half the size, and no longer exactly the authors' outputs."""


def run(args: Import) -> None:
    from bandmate.checkpoint import advised_sampling, save_bundle

    if args.out.exists() and any(args.out.iterdir() if args.out.is_dir() else [args.out]):
        raise ValueError(f"{args.out} is there already: name another folder with --out")
    codec = import_codec(located(args.codec), args.gain)
    model = import_model(args, located(args.lm), codec)
    about = {"source": "the authors of arXiv 2510.22105", "codec_file": args.codec, "model_file": args.lm}
    save_bundle(args.out, codec, model, advised_sampling(model), about, half=args.half)
    millions = sum(value.numel() for value in model.parameters()) / 1e6
    print(f"{args.out} can be given to --model: {args.what}, {millions:.0f} M parameters, {played(model)}")


def located(name: str) -> Path:
    """A file as it is, else fetched weights of that name."""
    from bandmate import weights

    if Path(name).is_file():
        return Path(name)
    known = name in weights.SOURCES or name.startswith(weights.PAPER_PREFIX)
    if not known:
        raise FileNotFoundError(
            f"there is no file {name}, nor weights of that name: see bandmate models list"
        )
    return weights.find(name)


def import_codec(path: Path, gain_db: float) -> "nn.Module":
    from bandmate import weights
    from bandmate.codec.dac import DacCodec
    from bandmate.codec.import_dac import import_dac

    config, state = import_dac(weights.read_pickled(path), gain_db=gain_db)
    codec = DacCodec(config)
    codec.load_state_dict(state)
    return codec.eval()


def import_model(args: Import, path: Path, codec: Any) -> "nn.Module":
    """The model over the codebooks of the codec."""
    from bandmate import weights
    from bandmate.configs import MODEL_KINDS, describe_config
    from bandmate.model.import_offline import import_offline_prefix, import_stemgen
    from bandmate.model.import_paper import import_decoder

    checkpoint = weights.read_pickled(path)
    if args.what in ("decoder", "prefix-decoder"):
        config, state = import_decoder(checkpoint, frames_of(args.t_f), chunk_of(args))
    elif args.t_f is not None or args.k is not None:
        raise ValueError(f"{args.what} is offline: leave --t-f and --k out")
    else:
        load = import_stemgen if args.what == "stemgen" else import_offline_prefix
        config, state = load(checkpoint)  # type: ignore[assignment]
    module: Any = MODEL_KINDS[describe_config(MODEL_KINDS, config)][1]
    model = module(config, codec.codebook_table())
    model.load_state_dict(state | {"input.codebook": model.state_dict()["input.codebook"]})
    return model.eval()


def frames_of(seconds: float | None) -> int | None:
    from bandmate.spec import StreamSpec

    return None if seconds is None else StreamSpec.from_seconds(seconds, 0.02).t_f


def chunk_of(args: Import) -> int:
    """k in frames; 1 for a decoder."""
    from bandmate.spec import StreamSpec

    if args.what == "decoder":
        if args.k is not None:
            raise ValueError("a decoder plays one frame per call: leave --k out")
        return 1
    if args.k is None or args.k < 0.04:
        raise ValueError("--k is needed for prefix-decoder, 0.04 s or more: it does not tell its own")
    return StreamSpec.from_seconds(0.0, args.k).k


def played(model: Any) -> str:
    """How it is played."""
    from bandmate.spec import StreamSpec

    if not hasattr(model, "listen"):
        return "offline: bandmate generate"
    spec = StreamSpec(model.config.t_f, model.config.k)
    return f"bandmate stream --t-f {spec.t_f_seconds:g} --k {spec.k_seconds:g}"
