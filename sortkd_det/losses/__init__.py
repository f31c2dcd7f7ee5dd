"""Registered losses between two matrices of logits."""

from .base import LogitLoss, TemperedLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .gram import BatchGramLoss, ClassGramLoss
from .kd import KDLoss
from .nkd import NKDLoss
from .pld import PLDLoss
from .ranking import KendallLoss, RankingLoss
from .temperature import LearnableTemperature
from .ttm import TTMLoss

__all__ = [
    'BatchGramLoss',
    'ClassGramLoss',
    'DISTLoss',
    'DKDLoss',
    'KDLoss',
    'KendallLoss',
    'LearnableTemperature',
    'LogitLoss',
    'NKDLoss',
    'PLDLoss',
    'RankingLoss',
    'TTMLoss',
    'TemperedLoss',
]
