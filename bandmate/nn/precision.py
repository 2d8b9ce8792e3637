"""Where bfloat16 is worth having."""

import torch


def is_quick_in_bfloat16(device: torch.device | str) -> bool:
    """Whether a device multiplies bfloat16 by instructions of its own.

    A processor without them takes its numbers apart one by one: products are then tens of times as slow as in float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
