"""Registered losses between two matrices of logits."""

from .base import LogitLoss
from .dkd import DKDLoss
from .kd import KDLoss

__all__ = ['DKDLoss', 'KDLoss', 'LogitLoss']
