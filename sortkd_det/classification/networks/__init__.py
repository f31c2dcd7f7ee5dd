"""Networks for CIFAR, Tiny-ImageNet and ImageNet, with the names of the published checkpoints.

Importing this room registers them in ``sortkd_det.registry.MODELS``, under
``'<data set>/<network>'``: ``dict(type='sortkd_det.cifar/resnet8x4', num_classes=100)``.
"""

from .base import ClassificationLoss, Classifier
from .mobilenet_v1 import MobileNetV1
from .mobilenet_v2 import HalfMobileNetV2, MobileNetV2, TinyMobileNetV2
from .resnet import ResNet
from .shufflenet_v1 import ShuffleNetV1
from .shufflenet_v2 import ShuffleNetV2
from .vgg import VGG
from .wide_resnet import WideResNet

__all__ = [
    'VGG',
    'ClassificationLoss',
    'Classifier',
    'HalfMobileNetV2',
    'MobileNetV1',
    'MobileNetV2',
    'ResNet',
    'ShuffleNetV1',
    'ShuffleNetV2',
    'TinyMobileNetV2',
    'WideResNet',
]
