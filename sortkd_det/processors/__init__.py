"""Registered processors: they rewrite logits given labels, and have no parameters."""

from .operation import operation_of
from .sort import SortLogits
from .standardize import StandardizeLogits
from .swap import SwapLogits

__all__ = ['SortLogits', 'StandardizeLogits', 'SwapLogits', 'operation_of']
