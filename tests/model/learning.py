"""A task that any model of codes must learn in seconds: play what is heard."""

from typing import Any

import numpy as np
import torch

from bandmate.model.teacher import cell_nats


def learn_to_copy(model: Any, steps: int, rate: float = 1e-2) -> float:
    """Trains by ``objective`` with y = x, 12 frames; returns the mean nats per code of the last ten steps."""
    c, rng = model.config, np.random.default_rng(0)
    optimiser, losses = torch.optim.Adam(model.parameters(), rate), []
    for step in range(steps):
        x = torch.from_numpy(rng.integers(c.codes, size=(16, c.levels, 12)))
        instrument = torch.zeros(16, dtype=torch.int64)
        logits, wanted = model.objective(x, x, instrument, rng)
        nats, cells = cell_nats(logits, wanted)
        loss = nats.sum() / cells.sum()
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses[-10:]))
