"""EfficientNet-B0 without its top (Tan and Le 2019, arXiv 1905.11946), as COCOLA's encoder uses it.

Parameter names and padding are those of ``efficientnet_pytorch`` 0.7.1, so that weights made with it load. It pads as
for an image of 224 x 224, whatever the image: the odd row or column of a strided layer is always added at the end.
Stochastic depth is left out: it acts in training only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Repeats, kernel, stride of the first, expansion, channels out: table 1 of the paper.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels
SQUEEZE = 4  # a block's squeeze has a quarter of the channels that enter the block


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv(nn.Conv2d):
    """Convolution padded to ceil(size / stride) outputs of an even size, the larger half at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        total = self.kernel_size[0] - self.stride[0]
        before, after = total // 2, total - total // 2
        return super().forward(functional.pad(x, (before, after, before, after)))


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, weigh the channels, narrow; added to the input where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = _conv(inputs, wide)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._se_reduce = nn.Conv2d(wide, inputs // SQUEEZE, 1)
        self._se_expand = nn.Conv2d(inputs // SQUEEZE, wide, 1)
        self._project_conv = _conv(wide, outputs)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        y = functional.silu(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.silu(self._bn1(self._depthwise_conv(y)))
        weight = self._se_expand(functional.silu(self._se_reduce(y.mean((2, 3), keepdim=True))))
        y = self._bn2(self._project_conv(torch.sigmoid(weight) * y))
        return x + y if self.adds else y


class EfficientNetB0(nn.Module):
    """Images [B, channels, H, W] -> [B, 1280]: the head's channels, averaged over the image."""

    def __init__(self, channels: int):
        super().__init__()
        self._conv_stem = _conv(channels, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        blocks, inputs = [], STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _conv(inputs, HEAD)
        self._bn1 = _norm(HEAD)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.silu(self._bn1(self._conv_head(x))).mean((2, 3))
