"""ResNets: CIFAR's of three stages, and those of four stages for CIFAR, Tiny-ImageNet, ImageNet.

Source: He et al., arXiv 1512.03385; the bottleneck's stride is at its 3×3 convolution.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, global_average, initialize_convolutions, register


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)


class _Block(nn.Module):
    """ReLU of a residual branch plus a shortcut, which is projected where shapes differ.

    Args:
        in_channels: of the input.
        width: of the inner convolutions; ``expansion`` times as many channels come out.
        stride: of the block.
        projection: name of the shortcut's projection.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, projection: str) -> None:
        super().__init__()
        self.build_branch(in_channels, width, stride)
        channels = width * self.expansion
        self.projection = projection if stride != 1 or in_channels != channels else None
        if self.projection:
            layers = [_conv(in_channels, channels, 1, stride), nn.BatchNorm2d(channels)]
            self.add_module(projection, nn.Sequential(*layers))

    def build_branch(self, in_channels: int, width: int, stride: int) -> None:
        """Make the layers of the residual branch."""
        raise NotImplementedError

    def branch(self, features: Tensor) -> Tensor:
        """The residual branch."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        shortcut = getattr(self, self.projection)(features) if self.projection else features
        return F.relu(self.branch(features) + shortcut, inplace=True)


class BasicBlock(_Block):
    """Two 3×3 convolutions."""

    def build_branch(self, in_channels: int, width: int, stride: int) -> None:
        self.conv1 = _conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def branch(self, features: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        return self.bn2(self.conv2(features))


class Bottleneck(_Block):
    """A 3×3 convolution between two of 1×1, the last of which widens fourfold."""

    expansion = 4

    def build_branch(self, in_channels: int, width: int, stride: int) -> None:
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)

    def branch(self, features: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        features = F.relu(self.bn2(self.conv2(features)), inplace=True)
        return self.bn3(self.conv3(features))


class ResNet(Classifier):
    """A ResNet; from the second stage on, each halves height and width.

    Convolutions start as :func:`initialize_convolutions` says, the rest as PyTorch's default.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
        blocks: number of blocks of each stage.
        widths: of the stem, then of each stage.
        bottleneck: whether blocks are :class:`Bottleneck`; else :class:`BasicBlock`.
        imagenet_stem: 7×7 convolution of stride 2 and max pooling, a quarter of the
            height and width; else a 3×3 convolution.
        projection: name of the projections of shortcuts.
        head: name of the last layer.
    """

    def build(
        self,
        *,
        blocks: Sequence[int],
        widths: Sequence[int],
        bottleneck: bool = False,
        imagenet_stem: bool = False,
        projection: str = 'downsample',
        head: str = 'fc',
    ) -> None:
        block = Bottleneck if bottleneck else BasicBlock
        self.head = head
        self.conv1 = _conv(3, widths[0], 7, 2) if imagenet_stem else _conv(3, widths[0], 3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1) if imagenet_stem else nn.Identity()
        self.num_stages = len(blocks)
        channels = [widths[0], *(width * block.expansion for width in widths[1:])]
        for stage, (in_channels, out_channels) in enumerate(pairwise(channels), start=1):
            width, stride = widths[stage], 1 if stage == 1 else 2
            layers = [block(in_channels, width, stride, projection)]
            layers += [
                block(out_channels, width, 1, projection) for _ in range(blocks[stage - 1] - 1)
            ]
            self.add_module(f'layer{stage}', nn.Sequential(*layers))
        self.add_module(head, nn.Linear(channels[-1], self.num_classes))
        initialize_convolutions(self)

    def logits(self, images: Tensor) -> Tensor:
        features = self.pool(F.relu(self.bn1(self.conv1(images)), inplace=True))
        for stage in range(1, self.num_stages + 1):
            features = getattr(self, f'layer{stage}')(features)
        return getattr(self, self.head)(global_average(features))


for _depth in (8, 14, 20, 32, 44, 56, 110):
    _blocks = ((_depth - 2) // 6,) * 3
    register(f'cifar/resnet{_depth}', ResNet, blocks=_blocks, widths=(16, 16, 32, 64))
for _depth in (8, 32):
    _blocks = ((_depth - 2) // 6,) * 3
    register(f'cifar/resnet{_depth}x4', ResNet, blocks=_blocks, widths=(32, 64, 128, 256))

_LARGE = {
    'ResNet18': {'blocks': (2, 2, 2, 2)},
    'ResNet34': {'blocks': (3, 4, 6, 3)},
    'ResNet50': {'blocks': (3, 4, 6, 3), 'bottleneck': True},
    'ResNet101': {'blocks': (3, 4, 23, 3), 'bottleneck': True},
}
_LARGE_WIDTHS = (64, 64, 128, 256, 512)
_SMALL_IMAGES = {'projection': 'shortcut', 'head': 'linear'}
for _name in ('cifar/ResNet18', 'cifar/ResNet50', 'tiny_imagenet/ResNet18'):
    _blocks = _LARGE[_name.split('/')[1]]
    register(_name, ResNet, widths=_LARGE_WIDTHS, **_blocks, **_SMALL_IMAGES)
for _name, _blocks in _LARGE.items():
    register(f'imagenet/{_name}', ResNet, widths=_LARGE_WIDTHS, imagenet_stem=True, **_blocks)
