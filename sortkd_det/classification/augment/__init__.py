"""Augmentation of whole batches, on the device that trains."""

from .noise import uniform
from .strong import strong_view
from .weak import crop_flip, crop_flip_normalize, normalize

__all__ = ['crop_flip', 'crop_flip_normalize', 'normalize', 'strong_view', 'uniform']
