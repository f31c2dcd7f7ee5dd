"""From two matrices of logits to one number, in as few passes over memory as the device allows."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checks import check_choice, check_labels, check_pair, check_positive, check_weight
from .divergences import bernoulli_divergence, decoupled_kd, kl_divergence
from .kernels import WIDEST_ON_CUDA, load_kernels
from .reduction import reduce_rows
from .sort import sort_logits

DIVERGENCES = ('kd', 'dkd', 'bernoulli')
_KERNEL_DTYPES = {torch.float16, torch.bfloat16, torch.float32}


def divergence_loss(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    kind: str = 'kd',
    temperatures: tuple[float, ...] = (1.0,),
    alpha: float = 1.0,
    beta: float = 1.0,
    weight: Tensor | None = None,
    avg_factor: float | Tensor | None = None,
    loss_weight: float = 1.0,
    sort: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """The loss of a batch: optional sort of the target, divergence, weights and average.

    On CUDA all of it is one kernel, which writes the gradient for the student's
    logits as well, so that the backward pass is a multiplication; no gradient
    flows to the target. Everywhere else, and for arguments that the kernel does
    not take, the same is computed by :func:`sort_logits`, the divergences of this
    package and :func:`reduce_rows`.

    Args:
        student: (N, C) logits.
        target: (N, C) logits that the student is to follow.
        labels: (N,) int64, each in [0, C).
        kind: ``'kd'``, the KL divergence between softmaxes; ``'dkd'``, α · TCKD
            + β · NCKD; ``'bernoulli'``, the KL divergence between sigmoids.
        temperatures: T > 0; the losses of several are summed.
        alpha: weight of TCKD; ≥ 0.
        beta: weight of NCKD; ≥ 0.
        weight: (N,), multiplies each row's loss; None: ones.
        avg_factor: divisor of the weighted sum; None: N.
        loss_weight: multiplies the result; ≥ 0.
        sort: whether the target is sorted by the labels first.
        ignore_index: rows of the target with this label are not sorted.

    Returns:
        Scalar tensor, in float32 at least; for N = 0 a zero that keeps its graph.

    Raises:
        TypeError, ValueError: logits that are no floating (N, C) pair, labels or a
            weight that do not fit them, an unknown kind, a number out of range.
    """
    check_pair(student, target)
    check_labels(target, labels, ignore_index)
    check_weight(weight, len(student))
    check_choice('kind', kind, DIVERGENCES)
    check_positive('loss_weight', loss_weight, allow_zero=True)
    settings = Divergence(
        kind,
        tuple(float(check_positive('temperature', value)) for value in temperatures),
        check_positive('alpha', alpha, allow_zero=True),
        check_positive('beta', beta, allow_zero=True),
        loss_weight,
    )
    given = (student, target, labels, weight, avg_factor)
    loss = fused_loss(*given, settings, sort, ignore_index)
    if loss is not None:
        return loss
    if len(student) == 0:
        return student.sum()
    if sort:
        target = sort_logits(target, labels, ignore_index)
    wide = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        rows = _row_losses(student.to(wide), target.to(wide), labels, settings)
        return loss_weight * reduce_rows(rows, weight, avg_factor)


class Divergence(NamedTuple):
    """What :func:`divergence_loss` computes; its arguments of these names."""

    kind: str
    temperatures: tuple[float, ...] = (1.0,)
    alpha: float = 1.0
    beta: float = 1.0
    loss_weight: float = 1.0


def fused_loss(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    avg_factor: float | Tensor | None,
    divergence: Divergence,
    sort: bool,
    ignore_index: int | None,
) -> Tensor | None:
    """:func:`divergence_loss` of checked arguments by one kernel; None where there is none.

    A kernel needs Triton and all tensors on CUDA, none of them in float64, and
    gives a gradient to the student alone. For rows of more than 4,096 classes
    there is one of KD at one temperature.
    """
    if not student.is_cuda or len(student) == 0:
        return None
    others = [x for x in (target, weight, avg_factor) if isinstance(x, Tensor)]
    if not all(x.is_cuda for x in others) or not {student.dtype, target.dtype} <= _KERNEL_DTYPES:
        return None
    if torch.is_grad_enabled() and any(x.requires_grad for x in others):
        return None
    kind, temperatures = divergence.kind, divergence.temperatures
    if student.shape[1] > WIDEST_ON_CUDA and (kind != 'kd' or len(temperatures) > 1):
        return None
    if not _kernel_works():
        return None
    arguments = (target, labels, weight, avg_factor, *divergence, sort, ignore_index)
    if torch.compiler.is_compiling():
        return _compiled(student, *arguments)
    return _Divergence.apply(student, *arguments)


@torch.compiler.assume_constant_result
def _kernel_works() -> bool:
    return load_kernels('divergence_cuda') is not None


def _row_losses(student: Tensor, target: Tensor, labels: Tensor, settings: Divergence) -> Tensor:
    """The loss of each row, (N,), in plain torch."""
    if settings.kind == 'kd':
        return sum(kl_divergence(student, target, value) for value in settings.temperatures)
    if settings.kind == 'bernoulli':
        return sum(bernoulli_divergence(student, target, value) for value in settings.temperatures)
    halves = [decoupled_kd(student, target, labels, value) for value in settings.temperatures]
    return sum(settings.alpha * tckd + settings.beta * nckd for tckd, nckd in halves)


def _keep_gradient(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.num_others = len(inputs) - 1


def _scale_gradient(ctx: Any, upstream: Tensor, *_: Any) -> tuple:
    (gradient,) = ctx.saved_tensors
    return gradient * upstream, *[None] * ctx.num_others


class _Divergence(torch.autograd.Function):
    """The kernel, which gives loss and gradient at once."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        output = load_kernels('divergence_cuda').divergence(*arguments)
        _keep_gradient(ctx, arguments, output)
        return output[0]

    backward = staticmethod(torch.autograd.function.once_differentiable(_scale_gradient))


# For torch.compile the same kernel is an operator, which it need not look into.
@torch.library.custom_op('sortkd_det::divergence', mutates_args=())
def _divergence_op(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    avg_factor: Tensor | None,
    avg_number: float | None,
    kind: str,
    temperatures: list[float],
    alpha: float,
    beta: float,
    loss_weight: float,
    sort: bool,
    ignore_index: int | None,
) -> tuple[Tensor, Tensor]:
    factor = avg_number if avg_factor is None else avg_factor
    settings = (kind, tuple(temperatures), alpha, beta, loss_weight, sort, ignore_index)
    kernel = load_kernels('divergence_cuda').divergence
    return kernel(student, target, labels, weight, factor, *settings)


@_divergence_op.register_fake
def _(student: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    # Contiguous, as the kernel's gradient is, whatever the strides of the student's logits are.
    return student.new_empty((), dtype=torch.float32), student.new_empty(student.shape)


_divergence_op.register_autograd(_scale_gradient, setup_context=_keep_gradient)


def _compiled(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    avg_factor: float | Tensor | None,
    kind: str,
    temperatures: tuple[float, ...],
    *settings: Any,
) -> Tensor:
    """The kernel as an operator of a graph that is compiled."""
    tensor = avg_factor if isinstance(avg_factor, Tensor) else None
    number = None if avg_factor is None or tensor is not None else float(avg_factor)
    return _divergence_op(
        student, target, labels, weight, tensor, number, kind, list(temperatures), *settings
    )[0]
