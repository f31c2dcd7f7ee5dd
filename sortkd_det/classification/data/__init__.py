"""Labelled images as uint8 batches."""

from .base import ClassificationDataset, collate
from .cifar import CIFAR
from .folders import ImageFolder, ImageNet, TinyImageNet
from .images import decode_image

__all__ = [
    'CIFAR',
    'ClassificationDataset',
    'ImageFolder',
    'ImageNet',
    'TinyImageNet',
    'collate',
    'decode_image',
]
