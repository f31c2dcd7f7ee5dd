"""ShuffleNetV2 for CIFAR and Tiny-ImageNet: 1×1 stem, no pooling before the stages.

Source: Ma et al., arXiv 1807.11164.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, global_average, register

_STEM_CHANNELS = 24
_CHANNELS = (116, 232, 464)
_BLOCKS = (4, 8, 4)
_LAST_CHANNELS = 1024


def _conv(in_channels: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 1, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


class SplitUnit(nn.Module):
    """Half of the channels pass, the other half goes through three convolutions; then a shuffle.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = _conv(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = _depthwise(half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _conv(half, half), nn.BatchNorm2d(half)

    def forward(self, features: Tensor) -> Tensor:
        passed, branch = features.chunk(2, 1)
        branch = F.relu(self.bn1(self.conv1(branch)), inplace=True)
        branch = self.bn2(self.conv2(branch))
        branch = F.relu(self.bn3(self.conv3(branch)), inplace=True)
        return F.channel_shuffle(torch.cat([passed, branch], 1), 2)


class DownUnit(nn.Module):
    """Two branches of stride 2, each giving half of the output's channels; then a shuffle.

    Args:
        in_channels, channels: of input and output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = _depthwise(in_channels, 2), nn.BatchNorm2d(in_channels)
        self.conv2, self.bn2 = _conv(in_channels, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _conv(in_channels, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = _depthwise(half, 2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = _conv(half, half), nn.BatchNorm2d(half)

    def forward(self, features: Tensor) -> Tensor:
        left = self.bn1(self.conv1(features))
        left = F.relu(self.bn2(self.conv2(left)), inplace=True)
        right = F.relu(self.bn3(self.conv3(features)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        return F.channel_shuffle(torch.cat([left, right], 1), 2)


class ShuffleNetV2(Classifier):
    """ShuffleNetV2 1×; 1/8 of height and width at the end.

    Weights start as PyTorch's default.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        in_channels = _STEM_CHANNELS
        self.conv1, self.bn1 = _conv(3, in_channels), nn.BatchNorm2d(in_channels)
        stages = []
        for channels, num_blocks in zip(_CHANNELS, _BLOCKS, strict=True):
            rest = (SplitUnit(channels) for _ in range(num_blocks - 1))
            stages.append(nn.Sequential(DownUnit(in_channels, channels), *rest))
            in_channels = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2, self.bn2 = _conv(in_channels, _LAST_CHANNELS), nn.BatchNorm2d(_LAST_CHANNELS)
        self.linear = nn.Linear(_LAST_CHANNELS, self.num_classes)

    def logits(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer3(self.layer2(self.layer1(features)))
        features = F.relu(self.bn2(self.conv2(features)), inplace=True)
        return self.linear(global_average(features))


for _data_set in ('cifar', 'tiny_imagenet'):
    register(f'{_data_set}/ShuffleV2', ShuffleNetV2)
