"""Registered processors: they rewrite logits given labels, and have no parameters."""

from .sort import SortLogits

__all__ = ['SortLogits']
