"""MobileNetV1 for ImageNet.

Source: Howard et al., arXiv 1704.04861.
"""

from torch import Tensor, nn

from .base import Classifier, global_average, register

# Channels and stride of each depthwise-separable convolution.
_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


def _conv_bn_relu(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


class MobileNetV1(Classifier):
    """MobileNetV1 of full width; 1/32 of height and width at the end.

    Weights start as PyTorch's default.

    Args:
        num_classes, data_preprocessor, init_cfg: as in :class:`Classifier`.
    """

    def build(self) -> None:
        in_channels = 32
        layers = [nn.Sequential(*_conv_bn_relu(3, in_channels, 3, stride=2))]
        for channels, stride in _LAYERS:
            depthwise = _conv_bn_relu(in_channels, in_channels, 3, stride, groups=in_channels)
            layers.append(nn.Sequential(*depthwise, *_conv_bn_relu(in_channels, channels, 1)))
            in_channels = channels
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(in_channels, self.num_classes)

    def logits(self, images: Tensor) -> Tensor:
        return self.fc(global_average(self.model(images)))


register('imagenet/MobileNetV1', MobileNetV1)
