"""VGG networks with batch normalisation for CIFAR.

Source: Simonyan and Zisserman, arXiv 1409.1556, with one linear layer in place of three.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, global_average, initialize_convolutions, initialize_linear, register

_WIDTHS = (64, 128, 256, 512, 512)
_FOURTH_POOLING = 64  # pixels of the smaller side from which on there is one


class VGG(Classifier):
    """A VGG; pooling halves after the first three blocks, from 64 pixels on after the fourth too.

    Convolutions start as :func:`initialize_convolutions` says, the last layer as
    :func:`initialize_linear`.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
        convolutions: number of convolutions of each of the five blocks.
    """

    smallest_side = 8

    def build(
        self,
        *,
        convolutions: Sequence[int],
    ) -> None:
        widths = pairwise((3, *_WIDTHS))
        for number, (in_channels, width) in enumerate(widths):
            layers = []
            for inner in [in_channels] + [width] * (convolutions[number] - 1):
                layers += [
                    nn.Conv2d(inner, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
            self.add_module(f'block{number}', nn.Sequential(*layers))
        self.classifier = nn.Linear(_WIDTHS[-1], self.num_classes)
        initialize_convolutions(self)
        initialize_linear(self.classifier)

    def logits(self, images: Tensor) -> Tensor:
        features = images
        for block in (self.block0, self.block1, self.block2):
            features = F.max_pool2d(block(features), 2)
        features = self.block3(features)
        if min(images.shape[2:]) >= _FOURTH_POOLING:
            features = F.max_pool2d(features, 2)
        return self.classifier(global_average(self.block4(features)))


for _depth, _convolutions in {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}.items():
    register(f'cifar/vgg{_depth}', VGG, convolutions=_convolutions)
