"""A window played through a model as a stream would: frame by frame, call by call, nothing else.

Slow and obvious: the oracle of the streaming engine, and the way evaluation makes its codes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bandmate.spec import StreamSpec


def frames_needed(spec: StreamSpec, n_frames: int, *, first_column: int = 0, levels: int = 4) -> int:
    """How many input frames the calls for ``n_frames`` of output hear at most."""
    columns = n_frames + levels - 1
    last = first_column + max(0, columns - 1 - first_column) // spec.k * spec.k
    return max(0, last + spec.t_f)


@torch.inference_mode()
def generate(
    model: Any,
    x: Tensor,
    spec: StreamSpec,
    sampler: Any,
    instrument: int | Sequence[int],
    n_frames: int,
    *,
    first_column: int = 0,
    levels: int = 4,
) -> Tensor:
    """Codes [B, K, n_frames] int64 that the model plays along with x.

    Args:
        model: a streaming model (``init_state``, ``listen``, ``play``).
        x: [B, T, ...] what the model hears: features of its ears, or codes as [B, T, K]. Calls that
            would hear more than T frames hear what there is; the engine hears silence there.
        instrument: class id, one for all or one each.
        first_column: the column from which the model plays; before it, it only listens. Frames before are -1.
    """
    batch = x.shape[0]
    ids = torch.as_tensor(instrument).expand(batch)
    state = model.init_state(ids, spec, batch, column=first_column, guided=sampler.guided)
    codes, heard, column = [torch.zeros(batch, levels, 0, dtype=torch.int64)], 0, first_column
    while column < n_frames + levels - 1:
        while heard < min(column + spec.t_f, x.shape[1]):
            state = model.listen(x[:, heard : heard + 1], state)
            heard += 1
        count = min(spec.k, n_frames + levels - 1 - column)
        emitted, state = model.play(state, count, sampler)
        codes.append(emitted.cpu())
        column += count
    played = torch.cat(codes, dim=2)
    return torch.nn.functional.pad(played, (n_frames - played.shape[2], 0), value=-1)


def generate_windows(
    model: Any,
    windows: Tensor,
    spec: StreamSpec,
    sampler: Any,
    instruments: Sequence[int],
    n_frames: int,
    *,
    batch_size: int = 16,
    first_column: int = 0,
    levels: int = 4,
) -> Tensor:
    """``generate`` for N windows [N, T, ...] in batches: codes [N, K, n_frames].

    Window i is player i of the sampler, so that the result does not depend on ``batch_size``.
    """
    parts = []
    for start in range(0, len(windows), batch_size):
        x = windows[start : start + batch_size]
        players = tuple(range(start, start + len(x)))
        own = dataclasses.replace(sampler, players=players)
        ids = list(instruments[start : start + len(x)])
        parts.append(generate(model, x, spec, own, ids, n_frames, first_column=first_column, levels=levels))
    return torch.cat(parts)
