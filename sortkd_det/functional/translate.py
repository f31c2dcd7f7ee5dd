"""Logits of a softmax as logits of a sigmoid per class, and back: the same probabilities."""

import torch
from torch import Tensor

from .checks import ACTIVATIONS, check_choice, check_logits


def translate(logits: Tensor, source: str, target: str) -> Tensor:
    """Logits of a detector's head as a head with another activation would have them.

    Args:
        logits: (N, C) with ``source='sigmoid'``; (N, C + 1) with ``'softmax'``, background last.
        source: what the logits are made for, ``'softmax'`` or ``'sigmoid'``.
        target: what is wanted.

    Returns:
        ``logits`` itself where both are the same; else see :func:`softmax_to_sigmoid` and
        :func:`sigmoid_to_softmax`.

    Raises:
        ValueError: another activation.
    """
    check_choice('source', source, ACTIVATIONS)
    check_choice('target', target, ACTIVATIONS)
    if source == target:
        return logits
    return sigmoid_to_softmax(logits) if target == 'softmax' else softmax_to_sigmoid(logits)


def softmax_to_sigmoid(logits: Tensor) -> Tensor:
    """The log-odds of each class: their sigmoid is the probability that the softmax gives it.

    Log-odds are z_c − logsumexp of all the others, background among them; these sums are
    made from both ends, so that nothing is lost where a probability is near 1.

    Args:
        logits: (N, C + 1), floating, background last.

    Returns:
        (N, C) in float32, or in float64 where the logits are.
    """
    check_logits(logits)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nothing = torch.full_like(logits[:, :1], -torch.inf)
    before = torch.cat([nothing, logits[:, :-1].logcumsumexp(1)], 1)
    after = torch.cat([logits[:, 1:].flip(1).logcumsumexp(1).flip(1), nothing], 1)
    return (logits - torch.logaddexp(before, after))[:, :-1]


def sigmoid_to_softmax(logits: Tensor) -> Tensor:
    """The distribution over classes and background, given that at most one class is there.

    Independent chances σ(z_c) leave Π(1 − σ(z_k)) for none of the classes and exp(z_c)
    times as much for c alone, so that the softmax is over z and a 0 for background.

    Args:
        logits: (N, C), floating.

    Returns:
        (N, C + 1), background last, in the dtype of the logits.
    """
    check_logits(logits, least=1)
    return torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)
