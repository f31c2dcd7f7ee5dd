"""What passes the classification losses of MMDetection's heads, in the words of one of them."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .adapter import Adapter


@dataclass(frozen=True, eq=False)
class LossCall:
    """What one call of a classification loss was given.

    Attributes:
        scores: logits, or probabilities where the loss says ``activated``; (N, C), or with
            more dimensions before the last.
        target: labels, ``(labels, quality)`` or one-hot times quality; see :func:`hard_labels`.
        weight: of each row, of each entry, or None.
        avg_factor: what the sum of the rows' losses is divided by, or None: their number.
    """

    scores: Tensor
    target: Any
    weight: Tensor | None
    avg_factor: Any = None

    def weights(self, share: float = 1.0) -> Tensor:
        """(N,) float32, the weight of each row times ``share``."""
        if self.weight is None:
            return self.scores.new_full((len(self.scores),), share, dtype=torch.float32)
        return self.weight.detach().float() * share  # MaskFormer's are whole numbers

    def matched(self, num_classes: int, share: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of objects: which of the N they are, their labels and their weights.

        Args:
            num_classes: C, the label of background.
            share: multiplies the weights.
        """
        labels = hard_labels(self.target, num_classes)
        rows = (labels != num_classes).nonzero().squeeze(1)
        return rows, labels[rows], self.weights(share)[rows]


class LossCalls(list[LossCall]):
    """The calls of a head's loss modules in one forward of a model, in their order.

    Calls by which heads and samplers choose are left out: those for the values of
    single rows (``reduction_override='none'``), and those under ``no_grad`` in a forward
    that is not.

    Args:
        modules: the losses; those that are no module (None) are never called.
    """

    def __init__(self, *modules: nn.Module | None) -> None:
        super().__init__()
        self.modules = [module for module in modules if isinstance(module, nn.Module)]
        self.reset()

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the modules."""

        def see(names: Sequence[str], *args: Any, **kwargs: Any) -> None:
            if torch.is_grad_enabled() == self._with_graph:
                # Each loss names the first two as it likes.
                named = [kwargs.pop(name) for name in names[len(args) :] if name in kwargs]
                call = read_loss_call(*args, *named, **kwargs)
                if call is not None:
                    self.append(call)

        return [
            Adapter.watch(
                module, partial(see, list(inspect.signature(module.forward).parameters)[:2])
            )
            for module in self.modules
        ]

    def reset(self) -> None:
        """Forget the calls; called before each forward, with gradients on or off as it is."""
        self.clear()
        self._with_graph = torch.is_grad_enabled()


def read_loss_call(
    scores: Tensor,
    target: Any,
    weight: Tensor | None = None,
    avg_factor: Any = None,
    reduction_override: str | None = None,
    *_: Any,
    **__: Any,
) -> LossCall | None:
    """The arguments of a loss of MMDetection, by position or name; None where it was asked for
    its values of single rows, by which heads and samplers choose.
    """
    if reduction_override == 'none':
        return None
    return LossCall(scores, target, weight, avg_factor)


def hard_labels(target: Any, num_classes: int) -> Tensor:
    """The class of each row, whatever form a loss takes it in.

    Args:
        target: int64 labels; a pair of them and a quality (GFL, RTMDet, DINO); or
            (…, C) floating, one-hot times quality (VFNet, YOLOX, YOLOv3), all zero for background.
        num_classes: C, which stands for background.

    Returns:
        int64 in [0, C], of the shape of the rows; labels that are no class (-1: ignored) are C.

    Raises:
        TypeError: a target of another kind.
    """
    labels = target[0] if isinstance(target, tuple | list) else target
    if not isinstance(labels, Tensor):
        raise TypeError(
            f'the target of a classification loss is {type(labels).__name__}; expected labels, '
            '(labels, quality), or one-hot times quality'
        )
    if labels.is_floating_point():
        top, labels = labels.max(-1)
        return labels.masked_fill(top <= 0, num_classes)
    return labels.masked_fill(labels < 0, num_classes)


def activation_of(loss_cls: Any) -> str:
    """What a head makes of its logits, as its loss tells: ``'softmax'`` or ``'sigmoid'``.

    Raises:
        ValueError: a loss with an activation of its own (Seesaw), or that does not tell.
    """
    use_sigmoid = getattr(loss_cls, 'use_sigmoid', None)
    if not isinstance(use_sigmoid, bool) or getattr(loss_cls, 'custom_activation', False):
        raise ValueError(
            f'{type(loss_cls).__name__} does not tell whether its logits go through a softmax or '
            'a sigmoid per class; expected a loss with use_sigmoid=True or False and no '
            'activation of its own'
        )
    return 'sigmoid' if use_sigmoid else 'softmax'


def as_logits(scores: Tensor, loss_cls: Any) -> Tensor:
    """Logits, from what a head hands to its loss.

    Args:
        scores: logits, or probabilities where ``loss_cls`` says ``activated`` (TOOD, DDQ).
        loss_cls: the loss.

    Returns:
        A tensor of the same shape; of probabilities float32 logits within ±13.8.
    """
    if getattr(loss_cls, 'activated', False):
        return torch.logit(scores.float(), eps=1e-6)
    return scores
