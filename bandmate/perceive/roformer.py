"""Attention and feed-forward blocks with rotary positions and gated heads, named as in Beat This' checkpoints."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(nn.Module):
    """Scales each vector to root mean square 1, times a gain per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * self.gamma


class Rotary(nn.Module):
    """Turns neighbouring pairs of a head's channels by position times frequency. The frequencies are in the weights."""

    def __init__(self, head: int):
        super().__init__()
        frequency = 10_000.0 ** -(torch.arange(0, head, 2) / head)
        self.freqs = nn.Parameter(frequency, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., T, head] -> the same shape."""
        angle = torch.arange(x.shape[-2], device=x.device)[:, None] * self.freqs
        cos, sin = angle.cos(), angle.sin()
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


class Attention(nn.Module):
    """Self-attention over the second axis, each head's output weighed by a gate."""

    def __init__(self, width: int, head: int, rotary: Rotary):
        super().__init__()
        self.heads = width // head
        self.rotary_embed = rotary
        self.norm = Norm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_gates = nn.Linear(width, self.heads)
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = self.norm(x)
        split = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [B, heads, T, head]
        out = functional.scaled_dot_product_attention(self.rotary_embed(query), self.rotary_embed(key), value)
        out = out * self.to_gates(x).sigmoid().transpose(1, 2)[..., None]
        return self.to_out[0](out.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Normalise, widen fourfold, GELU, narrow."""

    def __init__(self, width: int):
        super().__init__()
        # The places of the activation and of dropout are kept, for the numbers in the names.
        self.net = nn.Sequential(
            Norm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Transformer(nn.Module):
    """Layers of attention and feed-forward with skip connections, normalised at the end; [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, layers: int, head: int, rotary: Rotary):
        super().__init__()
        pairs = ([Attention(width, head, rotary), FeedForward(width)] for _ in range(layers))
        self.layers = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.norm = Norm(width)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            for part in layer.children():  # attention, feed-forward
                x = x + part(x)
        return self.norm(x)
