"""Adapters: each reads the logits of one family of heads, of the student and of its teacher.

Importing this room registers the adapters of this package. MMDetection is
imported when a detector is met, and not before.
"""

from .adapter import Adapter, build_adapter, count_classes, find_adapter
from .classifier_adapter import ClassifierAdapter
from .dense_head_adapter import DenseHeadAdapter
from .detector_adapter import DetectorAdapter
from .feature_adapter import FeatureAdapter
from .loss_calls import LossCalls
from .mask_query_adapter import MaskQueryAdapter
from .object_adapter import ObjectAdapter
from .roi_head_adapter import RoIHeadAdapter

__all__ = [
    'Adapter',
    'ClassifierAdapter',
    'DenseHeadAdapter',
    'DetectorAdapter',
    'FeatureAdapter',
    'LossCalls',
    'MaskQueryAdapter',
    'ObjectAdapter',
    'RoIHeadAdapter',
    'build_adapter',
    'count_classes',
    'find_adapter',
]
