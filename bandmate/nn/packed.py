"""A playing copy of a network: weights in 8 bits, blocks in as few calls as they can be written in.

A streamed step works on one to a few rows. Its time is that of reading the weights, and of the many small calls around
the products. Here each row of a weight matrix is kept as int8 with one scale, a quarter of the bytes, and is multiplied
with inputs rounded to bfloat16; gains are folded into the weights behind them. What is played is not the same bit by bit
as from weights in float32; how little it differs is measured in docs/results.md.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.nn.conv import ConvNeXtBlock
from bandmate.nn.linear import Linear
from bandmate.nn.transformer import DUET, Block, Projections, RMSNorm, SwiGLU

STEP = 16  # the kernel wants inputs in multiples of this

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def can_pack() -> bool:
    """Whether this processor has the quick kernels; elsewhere the same products take longer than in float32."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def packed(network: AnyModule) -> AnyModule:
    """A copy to play from, on the CPU and without gradients; the network itself stays as it is."""
    network = copy.deepcopy(network).float().requires_grad_(False).eval()
    replace_children(network)
    return network


def replace_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        counterpart = packed_counterpart(child)
        if counterpart is None:
            replace_children(child)
        else:
            setattr(module, name, counterpart)


def packed_counterpart(module: nn.Module) -> nn.Module | None:
    """What stands for a module in the playing copy, or None where it stays, but for its parts."""
    if isinstance(module, Block) and PackedBlock.fits(module):
        return PackedBlock(module)
    if isinstance(module, Projections) and PackedProjections.fits(module):
        return PackedProjections(module)
    if isinstance(module, ConvNeXtBlock) and PackedConvNeXtBlock.fits(module):
        return PackedConvNeXtBlock(module)
    if isinstance(module, RMSNorm):
        return PackedNorm(module)
    if isinstance(module, Linear) and PackedLinear.fits(module.weight):
        return PackedLinear(module.weight, module.bias)
    return None


class PackedLinear(nn.Module):
    """x @ W.T + bias from int8 weights with a scale for each row; weight-only quantisation."""

    codes: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        codes, scale = quantise_rows(weight)
        self.register_buffer("codes", codes)  # [outputs, inputs] int8
        self.register_buffer("scale", scale)  # [outputs] bfloat16
        self.register_buffer("bias", bias)

    @staticmethod
    def fits(weight: Tensor) -> bool:
        return weight.shape[1] % STEP == 0

    def forward(self, x: Tensor) -> Tensor:
        """x [..., inputs] -> [..., outputs] float32. Rows do not depend on one another, to the last bit."""
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])
        y = torch._weight_int8pack_mm(rows, self.codes, self.scale).float().view(*x.shape[:-1], -1)
        return y if self.bias is None else y.add_(self.bias)


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [N, D] -> codes [N, D] int8 and scale [N] bfloat16, the largest weight of each row being 127."""
    scale = (weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127).bfloat16()
    return (weight / scale.float()).round().clamp(-127, 127).to(torch.int8), scale[:, 0]


def inverse_rms(x: Tensor, eps: Tensor) -> Tensor:
    """1 / rms(x) over the last axis, which is kept; ``eps`` is added to the mean square."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


class PackedProjections(nn.Module):
    """:class:`Projections` as duet has them; the halves that rotation pairs up lie side by side, as complex numbers.

    Queries and keys have their channels in another order than the plain module's: the two do not mix.
    """

    eps: Tensor
    gain: Tensor

    def __init__(self, plain: Projections) -> None:
        super().__init__()
        self.split, self.head_width = plain.split, plain.head_width
        self.turned = sum(self.split[:2])
        weight = plain.project.weight.detach()
        assert plain.norm.weight is not None
        weight = (weight * plain.norm.weight.detach()).unflatten(0, (-1, 2, self.head_width // 2)).clone()
        weight[: self.turned] = weight[: self.turned].transpose(1, 2).reshape_as(weight[: self.turned])
        self.project = PackedLinear(weight.flatten(0, 2))
        ones = torch.ones(self.split[1], 1)
        gain = ones if plain.query_gain is None else torch.cat([plain.query_gain.detach().view(-1, 1), ones])
        self.register_buffer("gain", gain)  # [turned heads, 1]
        self.register_buffer("eps", torch.full((1,), plain.style.norm_eps))

    @staticmethod
    def fits(plain: Projections) -> bool:
        return plain.style == DUET and PackedLinear.fits(plain.project.weight)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
        """x [B, T, D] -> queries [B, H, T, d] or None, keys and values [B, H_kv, T, d]."""
        heads = self.project(x * inverse_rms(x, self.eps)).unflatten(-1, (-1, self.head_width))
        turned = heads[:, :, : self.turned]
        turned = turned * inverse_rms(turned, self.eps).mul_(self.gain)
        spin = torch.complex(*angles)[:, None]  # [T, 1, d / 2]
        torch.view_as_complex(turned.unflatten(-1, (-1, 2))).mul_(spin)
        k, v = turned[:, :, -self.split[1] :].transpose(1, 2), heads[:, :, self.turned :].transpose(1, 2)
        return (turned[:, :, : self.split[0]].transpose(1, 2) if self.split[0] else None), k, v


class PackedBlock(nn.Module):
    """:class:`Block` as duet has it."""

    eps: Tensor

    def __init__(self, plain: Block) -> None:
        super().__init__()
        assert isinstance(plain.mlp, SwiGLU)
        assert plain.norm.weight is not None
        self.attention_in = PackedProjections(plain.attention_in)
        self.attention_out = PackedLinear(plain.attention_out.weight.detach())
        self.gate_up = PackedLinear(plain.mlp.gate_up.weight.detach() * plain.norm.weight.detach())
        self.down = PackedLinear(plain.mlp.down.weight.detach())
        self.register_buffer("eps", torch.full((1,), plain.norm.eps))

    @staticmethod
    def fits(plain: Block) -> bool:
        if plain.cross is not None or not isinstance(plain.mlp, SwiGLU):
            return False
        linear = (plain.attention_out, plain.mlp.gate_up, plain.mlp.down)
        return PackedProjections.fits(plain.attention_in) and all(PackedLinear.fits(m.weight) for m in linear)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [B, T, D] and what its queries fetched [B, H, T, d] -> the layer's output [B, T, D]."""
        x = x + self.attention_out(attended.transpose(1, 2).flatten(2))
        both = self.gate_up(x * inverse_rms(x, self.eps))
        hidden = both.shape[-1] // 2
        return self.down(F.silu(both[..., :hidden]).mul_(both[..., hidden:])).add_(x)


class PackedNorm(nn.Module):
    """:class:`RMSNorm`."""

    eps: Tensor
    weight: Tensor | None

    def __init__(self, plain: RMSNorm) -> None:
        super().__init__()
        self.register_buffer("weight", plain.weight)
        self.register_buffer("eps", torch.full((1,), plain.eps))

    def forward(self, x: Tensor) -> Tensor:
        y = x * inverse_rms(x, self.eps)
        return y if self.weight is None else y.mul_(self.weight)


class PackedConvNeXtBlock(nn.Module):
    """:class:`ConvNeXtBlock`."""

    def __init__(self, plain: ConvNeXtBlock) -> None:
        super().__init__()
        self.depthwise, self.norm = plain.depthwise, plain.norm
        self.taps = [tap.detach() for tap in plain.depthwise.weight]
        self.up = PackedLinear(plain.up.weight.detach(), plain.up.bias)
        scale = plain.scale.detach()
        self.down = PackedLinear(
            plain.down.weight.detach() * scale[:, None], plain.down.bias.detach() * scale
        )

    @staticmethod
    def fits(plain: ConvNeXtBlock) -> bool:
        return PackedLinear.fits(plain.up.weight) and PackedLinear.fits(plain.down.weight)

    def init_state(self, batch: int) -> Tensor:
        return self.depthwise.init_state(batch)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> [B, T, D]."""
        padded = torch.cat([self.init_state(x.shape[0]) if state is None else state, x], dim=1)
        length = x.shape[1]
        y = torch.addcmul(self.depthwise.bias, padded[:, :length], self.taps[0])
        for tap in range(1, len(self.taps)):
            y.addcmul_(padded[:, tap : tap + length], self.taps[tap])
        y = self.down(F.gelu(self.up(self.norm(y)), approximate="tanh"))
        return y.add_(x), padded[:, length:]
