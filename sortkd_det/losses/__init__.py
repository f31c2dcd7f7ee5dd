"""Registered losses between two matrices of logits, and between two maps of features."""

from .base import LogitLoss, TemperedLoss
from .cwd import CWDLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .feature_loss import FeatureLoss
from .fitnet import FitNetLoss
from .gram import BatchGramLoss, ClassGramLoss
from .kd import KDLoss
from .nkd import NKDLoss
from .pkd import PKDLoss
from .pld import PLDLoss
from .ranking import KendallLoss, RankingLoss
from .temperature import LearnableTemperature
from .ttm import TTMLoss

__all__ = [
    'BatchGramLoss',
    'CWDLoss',
    'ClassGramLoss',
    'DISTLoss',
    'DKDLoss',
    'FeatureLoss',
    'FitNetLoss',
    'KDLoss',
    'KendallLoss',
    'LearnableTemperature',
    'LogitLoss',
    'NKDLoss',
    'PKDLoss',
    'PLDLoss',
    'RankingLoss',
    'TTMLoss',
    'TemperedLoss',
]
