"""ShuffleNet for CIFAR: 1×1 stem, no pooling before the stages.

Source: Zhang et al., arXiv 1707.01083.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, global_average, register

_GROUPS = 3
_STEM_CHANNELS = 24
_CHANNELS = (240, 480, 960)
_BLOCKS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1×1, depthwise 3×3 and grouped 1×1 convolutions, channels shuffled after the first.

    With stride 2 the average-pooled input is appended, else the input is added.

    Args:
        in_channels, channels: of input and output, appended channels included.
        stride: 1 or 2.
        first_groups: groups of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, first_groups: int) -> None:
        super().__init__()
        self.stride = stride
        self.first_groups = first_groups
        own = channels - in_channels if stride == 2 else channels
        inner = own // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, own, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(own)

    def forward(self, features: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(features)), inplace=True)
        branch = F.channel_shuffle(branch, self.first_groups)
        branch = F.relu(self.bn2(self.conv2(branch)), inplace=True)
        branch = self.bn3(self.conv3(branch))
        if self.stride == 1:
            return F.relu(branch + features, inplace=True)
        pooled = F.avg_pool2d(features, 3, stride=2, padding=1)
        return F.relu(torch.cat([branch, pooled], 1), inplace=True)


class ShuffleNetV1(Classifier):
    """ShuffleNet 1× of three groups; 1/8 of height and width at the end.

    Weights start as PyTorch's default.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        in_channels = _STEM_CHANNELS
        self.conv1 = nn.Conv2d(3, in_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        stages = []
        for channels, num_blocks in zip(_CHANNELS, _BLOCKS, strict=True):
            first_groups = 1 if in_channels == _STEM_CHANNELS else _GROUPS
            first = ShuffleUnit(in_channels, channels, 2, first_groups)
            rest = (ShuffleUnit(channels, channels, 1, _GROUPS) for _ in range(num_blocks - 1))
            stages.append(nn.Sequential(first, *rest))
            in_channels = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(in_channels, self.num_classes)

    def logits(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(global_average(features))


register('cifar/ShuffleV1', ShuffleNetV1)
