"""Labelled images as uint8 batches, and the sampler that says which epoch they belong to."""

from .base import ClassificationDataset, collate
from .cifar import CIFAR
from .folders import ImageFolder, ImageNet, TinyImageNet
from .images import decode_image
from .sampler import SeededSampler

__all__ = [
    'CIFAR',
    'ClassificationDataset',
    'ImageFolder',
    'ImageNet',
    'SeededSampler',
    'TinyImageNet',
    'collate',
    'decode_image',
]
