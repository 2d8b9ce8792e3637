"""What the commands that play many clips say about ``--precision``."""

import sys


def warn_of_slow_bfloat16(precision: str, device: str) -> None:
    """A line to stderr where ``bf16`` would take far longer than ``fp32``; a folder begun so may need it all the same."""
    import torch

    from bandmate.nn.precision import is_quick_in_bfloat16

    if precision == "bf16" and torch.device(device).type == "cpu" and not is_quick_in_bfloat16("cpu"):
        print(
            "warning: this processor has no bfloat16 instructions: --precision fp32 is many times as quick",
            file=sys.stderr,
        )
