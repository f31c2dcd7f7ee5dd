"""What a term does for, and asks of, losses and processors that anyone may have written."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def tell_epoch(loss: nn.Module, now: int) -> None:
    """Tell the parts of a loss that have a schedule of their own (CTKD's reversal) where it is.

    Args:
        loss: of a term.
        now: the epoch (iteration) that runs, counted from 1.
    """
    for part in loss.modules():
        if hasattr(part, 'set_epoch'):
            part.set_epoch(now)


def versions_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How often each tensor has been changed in place; nothing, where that cannot be asked."""
    if torch.compiler.is_compiling():
        return {}
    return {name: tensor._version for name, tensor in tensors.items()}


def check_unchanged(term: str, tensors: Mapping[str, Tensor], before: Mapping[str, int]) -> None:
    """Raise if a term changed in place what it was given.

    Args:
        term: its name.
        tensors: what it was given, by the names that an error uses.
        before: their :func:`versions_of` before it.

    Raises:
        RuntimeError: names the first tensor that was changed.
    """
    for name, version in before.items():
        if tensors[name]._version != version:
            raise RuntimeError(
                f'the term {term} changed {name} of the batch in place, which other terms and the '
                'log read too; its loss and its processors must make new tensors: x * 2, not '
                'x.mul_(2) or x *= 2'
            )
