"""MobileNetV2, as three data sets have it: inverted residuals, differing in names and strides.

Source: Sandler et al., arXiv 1801.04381.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from .base import Classifier, global_average, initialize_convolutions, initialize_linear, register

# Expansion, channels and number of blocks of each stage.
_STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
_LAST_CHANNELS = 1280


def _conv_bn(
    in_channels: int,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution, batch normalisation and, if given, activation."""
    layers = [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=bias),
        nn.BatchNorm2d(channels),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class InvertedResidual(nn.Sequential):
    """A branch of one named child, plus its input where the shape stays."""

    def __init__(self, name: str, branch: nn.Sequential, adds_input: bool) -> None:
        super().__init__(OrderedDict({name: branch}))
        self.adds_input = adds_input

    def forward(self, features: Tensor) -> Tensor:
        branch = super().forward(features)
        return features + branch if self.adds_input else branch


def _stages(
    in_channels: int,
    strides: Sequence[int],
    *,
    name: str = 'conv',
    width_factor: float = 1.0,
    bias: bool = False,
    activation: type[nn.Module] = nn.ReLU6,
    nested: bool = False,
) -> Iterator[list[InvertedResidual]]:
    """The blocks of each stage.

    Args:
        in_channels: of the first stage's input.
        strides: of the first block of each stage.
        name: of each block's branch.
        width_factor: multiple of the stages' channels.
        bias: of the convolutions.
        activation: after the widening and the depthwise convolution.
        nested: those two, each with its normalisation and activation, in modules of
            their own, and no widening convolution in the first stage; else a flat
            branch.
    """
    options = {'bias': bias, 'activation': activation}
    for (expansion, stage_channels, num_blocks), first_stride in zip(_STAGES, strides, strict=True):
        channels = int(stage_channels * width_factor)
        blocks = []
        for stride in [first_stride] + [1] * (num_blocks - 1):
            hidden = in_channels * expansion
            groups = [
                _conv_bn(in_channels, hidden, **options),
                _conv_bn(hidden, hidden, 3, stride, groups=hidden, **options),
            ]
            if nested:
                groups = groups if expansion > 1 else groups[1:]
            else:
                groups = [layer for group in groups for layer in group]
            branch = nn.Sequential(*groups, *_conv_bn(hidden, channels, bias=bias))
            blocks.append(InvertedResidual(name, branch, stride == 1 and in_channels == channels))
            in_channels = channels
        yield blocks


class MobileNetV2(Classifier):
    """MobileNetV2 with the names of torchvision's; 1/32 of height and width at the end.

    Convolutions start as :func:`initialize_convolutions` says, the last layer, after
    a dropout of 0.2, as :func:`initialize_linear`.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        stages = _stages(32, (1, 2, 2, 2, 1, 2, 1), nested=True)
        self.features = nn.Sequential(
            _conv_bn(3, 32, 3, 2, activation=nn.ReLU6),
            *(block for stage in stages for block in stage),
            _conv_bn(_STAGES[-1][1], _LAST_CHANNELS, activation=nn.ReLU6),
        )
        last = nn.Linear(_LAST_CHANNELS, self.num_classes)
        self.classifier = nn.Sequential(nn.Dropout(0.2), last)
        initialize_convolutions(self)
        initialize_linear(last)

    def logits(self, images: Tensor) -> Tensor:
        return self.classifier(global_average(self.features(images)))


class HalfMobileNetV2(Classifier):
    """MobileNetV2 of half width for CIFAR, with ReLU; 1/16 of height and width at the end.

    Convolutions start as :func:`initialize_convolutions` says, the last layer as
    :func:`initialize_linear`.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        self.conv1 = _conv_bn(3, 16, 3, 2, activation=nn.ReLU)
        stages = _stages(16, (1, 1, 2, 2, 1, 2, 1), width_factor=0.5, activation=nn.ReLU)
        self.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        self.conv2 = _conv_bn(_STAGES[-1][1] // 2, _LAST_CHANNELS, activation=nn.ReLU)
        self.classifier = nn.Sequential(nn.Linear(_LAST_CHANNELS, self.num_classes))
        initialize_convolutions(self)
        initialize_linear(self.classifier[0])

    def logits(self, images: Tensor) -> Tensor:
        return self.classifier(global_average(self.conv2(self.blocks(self.conv1(images)))))


class TinyMobileNetV2(Classifier):
    """MobileNetV2 for Tiny-ImageNet: a 1×1 stem, biases, 1/8 of height and width at the end.

    The stem is padded by a pixel; the classifier is a 1×1 convolution. Weights
    start as PyTorch's default.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        self.pre = nn.Sequential(nn.Conv2d(3, 32, 1, padding=1), nn.BatchNorm2d(32), nn.ReLU6(True))
        stages = _stages(32, (1, 2, 2, 2, 1, 1, 1), name='residual', bias=True)
        for number, blocks in enumerate(stages, start=1):
            self.add_module(
                f'stage{number}', blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks)
            )
        self.conv1 = _conv_bn(_STAGES[-1][1], _LAST_CHANNELS, bias=True, activation=nn.ReLU6)
        self.conv2 = nn.Conv2d(_LAST_CHANNELS, self.num_classes, 1)

    def logits(self, images: Tensor) -> Tensor:
        features = self.pre(images)
        for number in range(1, len(_STAGES) + 1):
            features = getattr(self, f'stage{number}')(features)
        return self.conv2(self.conv1(features).mean((2, 3), keepdim=True)).flatten(1)


register('imagenet/MobileNetV2', MobileNetV2)
register('cifar/MobileNetV2', HalfMobileNetV2)
register('tiny_imagenet/MobileNetV2', TinyMobileNetV2)
