"""The paper's streaming models at test size, and ways to play them column by column."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from bandmate.configs import decoder_tiny, encoder_decoder_tiny, prefix_decoder_tiny
from bandmate.model.decoder import Decoder
from bandmate.model.encoder_decoder import EncoderDecoder
from bandmate.model.prefix_decoder import PrefixDecoder
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import to_columns

INSTRUMENTS = torch.tensor([3, 8])
KINDS = {
    "decoder": (decoder_tiny, Decoder),
    "prefix_decoder": (prefix_decoder_tiny, PrefixDecoder),
    "encoder_decoder": (encoder_decoder_tiny, EncoderDecoder),
}
PLANE = [
    (kind, t_f, k)
    for t_f in (-50, -3, 0, 1, 10)
    for k in (1, 2, 5)
    for kind in ("decoder" if k == 1 else "prefix_decoder", "encoder_decoder")
]


class Fixed:
    """Stands in for a sampler: plays given columns and keeps the logits."""

    guide, plausible = Sampler.guide, None

    def __init__(self, columns: Tensor, guidance: float = 1.0, first: int = 0) -> None:
        self.columns, self.guidance, self.first = columns, guidance, first
        self.logits: list[Tensor] = []

    @property
    def guided(self) -> bool:
        return self.guidance != 1.0

    def __call__(self, logits: Tensor, column: int) -> Tensor:
        self.logits.append(logits)
        return self.columns[:, :, column - self.first]


def make(kind: str, t_f: int | None, k: int, window: int = 80, **changes: Any) -> Any:
    """A model in float64 whose every weight has a value, so that nothing is hidden by zeros."""
    torch.manual_seed(0)
    config, module = KINDS[kind]
    model = module(
        dataclasses.replace(config(), t_f=t_f, k=k, window=window, **changes), torch.randn(4, 32, 8)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.double().eval()


def inputs(frames: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes x and y [B, K, T]."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randint(0, 32, (batch, 4, frames), generator=generator) for _ in range(2))
    return x, y


def whole(model: Any, x: Tensor, y: Tensor, drop_input: Tensor | None = None) -> Tensor:
    """Logits of all columns of a window in one pass, [B, T, K, V]."""
    every = model.every_chunk if isinstance(model, PrefixDecoder) else model
    return every(x, y, INSTRUMENTS, drop_input)


def play(model: Any, x: Tensor, length: int, sampler: Any, state: Any = None, first: int = 0) -> Tensor:
    """Frames played in calls of k columns, each after listening to x[: column + t_f]."""
    c = model.config
    if state is None:
        state = model.init_state(INSTRUMENTS[: len(x)], guided=sampler.guided, column=first)
    frames = []
    for column in range(first, length, c.k):
        seen = min(max(0, column + c.t_f), x.shape[2])
        if seen > state.heard:
            state = model.listen(x.transpose(1, 2)[:, state.heard : seen], state)
        piece, state = model.play(state, min(c.k, length - column), sampler)
        frames.append(piece)
    return torch.cat(frames, dim=2)


def columns_of(y: Tensor) -> Tensor:
    """What a Fixed sampler plays so that the codes y come out: columns [B, K, T]; cells without a frame are 0."""
    return to_columns(y, 0, y.shape[2])
