"""Checks of arguments, spelled once for every function, processor and loss."""

import os
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

#: What heads make of their logits.
ACTIVATIONS = ('softmax', 'sigmoid')

_debug = os.environ.get('SORTKD_DEBUG', '') not in ('', '0')


def set_debug(enabled: bool) -> None:
    """Switch on or off the checks that look at every number.

    On CUDA they make the host wait for the device, so they are off unless
    the environment variable ``SORTKD_DEBUG`` is 1 or this switches them on.
    On the CPU labels and weights are always checked.
    """
    global _debug
    _debug = bool(enabled)


def is_debug() -> bool:
    """Whether the checks of :func:`set_debug` are on."""
    return _debug


def check_finite(logits: Tensor, what: str) -> None:
    """In debug mode, raise if a row of ``logits`` (N, C) holds a NaN or an infinite number.

    Raises:
        ValueError: names ``what``, the number of such rows and the first of them.
    """
    if not is_debug() or torch.compiler.is_compiling():
        return
    bad = ~logits.detach().isfinite().all(1)
    if bad.any():
        raise ValueError(
            f'{what} must be finite; {int(bad.sum())} of {len(bad)} rows hold a NaN or an '
            f'infinite number, the first of them is row {int(bad.nonzero()[0])}'
        )


def check_logits(logits: Tensor, name: str = 'logits', least: int = 2) -> None:
    """Raise unless ``logits`` is a floating (N, C) tensor with C ≥ ``least``.

    Raises:
        TypeError: not a tensor, or not of a floating dtype.
        ValueError: the logits do not have two dimensions, or have too few classes.
    """
    if not isinstance(logits, Tensor):
        raise TypeError(f'{name} must be a Tensor, got {type(logits).__name__}')
    if not logits.is_floating_point():
        raise TypeError(
            f'{name} must be of a floating dtype, got {logits.dtype}: pass raw logits, '
            'not class indices'
        )
    if logits.dim() != 2:
        raise ValueError(f'{name} must have shape (N, C), got {tuple(logits.shape)}')
    if logits.shape[1] < least:
        raise ValueError(
            f'{name} must have at least {least} classes (columns), got {tuple(logits.shape)}'
        )


def check_labels(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int | None = None,
    least: int = 2,
    may_wait: bool = False,
) -> None:
    """Raise unless ``labels`` names one class of each row of ``logits``.

    Whether each label is in range is looked at on the CPU, and elsewhere in debug mode
    (see :func:`set_debug`) or with ``may_wait`` only: the host waits for the device.

    Args:
        logits: (N, C), floating.
        labels: (N,), int64, each in [0, C) or equal to ``ignore_index``.
        ignore_index: a label that stands for "leave this row alone".
        least: number of classes that are needed.
        may_wait: look at the numbers on every device.

    Raises:
        TypeError: labels of another dtype than int64, or no tensors.
        ValueError: shapes that do not fit, or a label out of range.
    """
    check_logits(logits, least=least)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        given = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f'labels must be an int64 Tensor, got {given}')
    num_rows, num_classes = logits.shape
    if labels.shape != (num_rows,):
        raise ValueError(
            f'labels must have shape ({num_rows},) to match logits {tuple(logits.shape)}, '
            f'got {tuple(labels.shape)}'
        )
    if num_rows == 0 or not _looks_at(labels, may_wait):
        return
    low, high = torch.stack(labels.aminmax()).tolist()
    if low >= 0 and high < num_classes:
        return
    wrong = (labels < 0) | (labels >= num_classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if wrong.any():
        row = int(wrong.nonzero()[0])
        also = '' if ignore_index is None else f' or ignore_index={ignore_index}'
        raise ValueError(
            f'labels must lie in 0…{num_classes - 1}{also}; row {row} has '
            f'{int(labels[row])} ({int(wrong.sum())} of {num_rows} rows are out of range)'
        )


def check_pair(student: Tensor, target: Tensor, name: str = 'target', least: int = 2) -> None:
    """Raise unless ``student`` and ``target`` are logits of the same samples.

    Args:
        student: (N, C), C ≥ ``least``.
        target: likewise.
        name: what an error calls ``target``.
        least: number of classes that are needed.

    Raises:
        TypeError, ValueError: as :func:`check_logits`, or the shapes differ.
    """
    check_logits(student, 'student', least)
    check_logits(target, name, least)
    if student.shape != target.shape:
        raise ValueError(
            f'student and {name} must be logits of the same samples and classes, got shapes '
            f'{tuple(student.shape)} and {tuple(target.shape)}'
        )


def check_weight(weight: Tensor | None, num_rows: int, may_wait: bool = False) -> None:
    """Raise unless ``weight`` is None or (num_rows,) finite numbers ≥ 0.

    The numbers are looked at where :func:`check_labels` looks at labels.

    Raises:
        ValueError: the weight has another shape, or a number that is none of these.
    """
    if weight is None:
        return
    if weight.shape != (num_rows,):
        raise ValueError(
            f'weight must have one number per row, shape ({num_rows},), got {tuple(weight.shape)}'
        )
    if num_rows == 0 or not _looks_at(weight, may_wait):
        return
    low, high = torch.stack(weight.detach().aminmax()).tolist()
    if not (low >= 0 and high < float('inf')):  # NaN is neither
        bad = ~(weight.isfinite() & (weight >= 0))
        row = int(bad.nonzero()[0])
        raise ValueError(
            f'weight must hold finite numbers ≥ 0; row {row} has {float(weight[row])} '
            f'({int(bad.sum())} of {num_rows} rows are out of range)'
        )


def check_row_losses(losses: Tensor, num_rows: int, name: str) -> Tensor:
    """Return what a loss gives for its rows, if it is one number for each.

    Args:
        losses: (num_rows,), floating.
        num_rows: number of rows N.
        name: what an error calls the loss.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, which would be multiplied by the wrong weights.
    """
    wanted = f'one number per row, shape ({num_rows},)'
    return _check_shape(losses, (num_rows,), f'{name} must give', wanted)


def check_scalar(loss: Tensor, name: str) -> Tensor:
    """Return what a loss gives for a batch, if it is one number.

    Args:
        loss: a tensor of shape ().
        name: what an error calls the loss.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, of which a run would take the mean.
    """
    remedy = '; reduce it as it is to count, with weight and avg_factor where it is given them'
    wanted = 'one number, a Tensor of shape ()'
    return _check_shape(loss, (), f'{name} must give', wanted, remedy)


def _check_shape(
    given: Tensor, shape: tuple[int, ...], who: str, wanted: str, remedy: str = ''
) -> Tensor:
    if not isinstance(given, Tensor):
        raise TypeError(f'{who} a Tensor, got {type(given).__name__}')
    if given.shape != shape:
        raise ValueError(f'{who} {wanted}, got {tuple(given.shape)}{remedy}')
    return given


def _looks_at(numbers: Tensor, may_wait: bool) -> bool:
    """Whether a check may ask what the numbers of a tensor are."""
    return not torch.compiler.is_compiling() and (numbers.is_cpu or may_wait or is_debug())


def check_positive(name: str, value: float, allow_zero: bool = False) -> float:
    """Return ``value`` if it is a finite number > 0 (≥ 0 with ``allow_zero``).

    Raises:
        TypeError: not a real number.
        ValueError: out of range.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f'{name} must be a number, got {value!r}')
    if not (value >= 0 if allow_zero else value > 0) or value == float('inf'):
        bound = '≥ 0' if allow_zero else '> 0'
        raise ValueError(f'{name} must be a finite number {bound}, got {value}')
    return value


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: ``value`` is none of ``choices``.
    """
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}')
    return value


def check_quantile(name: str, value: float | None) -> float | None:
    """Return ``value`` if it is None or a number in [0, 1].

    Raises:
        TypeError: not a real number.
        ValueError: out of range.
    """
    if value is not None and check_positive(name, value, allow_zero=True) > 1:
        raise ValueError(f'{name} must lie in [0, 1], got {value}')
    return value


def check_whole(name: str, value: int, minimum: int = 1, maximum: int | None = None) -> int:
    """Return ``value`` if it is a whole number of at least ``minimum`` and at most ``maximum``.

    Raises:
        TypeError: not an int.
        ValueError: below ``minimum`` or above ``maximum``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} must be a whole number, got {value!r}')
    if value < minimum:
        raise ValueError(f'{name} must be at least {minimum}, got {value}')
    if maximum is not None and value > maximum:
        raise ValueError(f'{name} must be at most {maximum}, got {value}')
    return value
