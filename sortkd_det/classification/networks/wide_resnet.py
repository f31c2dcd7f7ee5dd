"""Wide ResNets for CIFAR.

Source: Zagoruyko and Komodakis, arXiv 1605.07146.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, global_average, initialize_convolutions, register


def _conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)


class PreActivationBlock(nn.Module):
    """Two 3×3 convolutions, normalisation and ReLU before each.

    A projected shortcut starts from the activated input, any other from the input itself.

    Args:
        in_channels, channels: of input and output.
        stride: of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.convShortcut = (
            None
            if in_channels == channels
            else nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(self.bn1(features), inplace=True)
        shortcut = features if self.convShortcut is None else self.convShortcut(active)
        branch = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        return shortcut + branch


class _Stage(nn.Module):
    """Blocks of one width, under the name of the published checkpoints."""

    def __init__(self, num_blocks: int, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        first = PreActivationBlock(in_channels, channels, stride)
        rest = (PreActivationBlock(channels, channels, 1) for _ in range(num_blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


class WideResNet(Classifier):
    """WRN-depth-widen_factor, without dropout; a quarter of height and width at the end.

    Convolutions start as :func:`initialize_convolutions` says; the last layer as
    PyTorch's default, with no bias.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
        depth: number of layers, 6·n + 4.
        widen_factor: multiple of the widths 16, 32 and 64.
    """

    def build(
        self,
        *,
        depth: int,
        widen_factor: int,
    ) -> None:
        num_blocks = (depth - 4) // 6
        widths = [widen_factor * width for width in (16, 32, 64)]
        self.conv1 = _conv3x3(3, 16)
        self.block1 = _Stage(num_blocks, 16, widths[0], 1)
        self.block2 = _Stage(num_blocks, widths[0], widths[1], 2)
        self.block3 = _Stage(num_blocks, widths[1], widths[2], 2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], self.num_classes)
        initialize_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def logits(self, images: Tensor) -> Tensor:
        features = self.block3(self.block2(self.block1(self.conv1(images))))
        return self.fc(global_average(F.relu(self.bn1(features), inplace=True)))


for _depth, _widen_factor in ((16, 1), (16, 2), (40, 1), (40, 2)):
    register(
        f'cifar/wrn_{_depth}_{_widen_factor}', WideResNet, depth=_depth, widen_factor=_widen_factor
    )
