"""Classifiers for CIFAR, Tiny-ImageNet and ImageNet, on the same hook, terms and losses.

Importing this room registers all that a classification config may name; it needs
neither mmcv nor MMDetection:

    custom_imports = dict(imports=['sortkd_det.classification'])
"""

from . import data, networks
from .metrics import Accuracy
from .preprocessor import ImagePreprocessor

__all__ = ['Accuracy', 'ImagePreprocessor', 'data', 'networks']
