"""From two matrices of logits to one number, in as few passes over memory as the device allows."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .kernels import WIDEST_ON_CUDA, load_kernels
from .sort import Sort

_KERNEL_DTYPES = {torch.float16, torch.bfloat16, torch.float32}


class Divergence(NamedTuple):
    """A loss that the kernel knows, summed over temperatures.

    Attributes:
        kind: ``'kd'``, the KL divergence between softmaxes; ``'dkd'``, α · TCKD
            + β · NCKD; ``'bernoulli'``, the KL divergence between sigmoids.
        temperatures: T > 0; the losses of several are summed.
        alpha: weight of TCKD; ≥ 0.
        beta: weight of NCKD; ≥ 0.
        loss_weight: multiplies the result; ≥ 0.
    """

    kind: str
    temperatures: tuple[float, ...] = (1.0,)
    alpha: float = 1.0
    beta: float = 1.0
    loss_weight: float = 1.0


def sorts_in_kernel(rewrite: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether the kernel of :func:`fused_loss` can do what ``rewrite`` does to a target."""
    return isinstance(rewrite, Sort) and rewrite.background is None


def fused_loss(
    student: Tensor,
    target: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    avg_factor: float | Tensor | None,
    divergence: Divergence,
    sort: Sort | None,
) -> Tensor | None:
    """The loss of a batch by one kernel: sort of the target, divergence, weights and average.

    The kernel writes the gradient for the student's logits as well, so that the backward
    pass is a multiplication; no gradient flows to the target. Arguments are those of
    :meth:`LogitLoss.forward`, checked; ``sort`` is a rewriting that
    :func:`sorts_in_kernel`, or None.

    Returns:
        Float32 scalar; None where there is no such kernel: the same has to be put together
        from the divergences of this package and :func:`reduce_rows`.

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
    sorting = (False, None) if sort is None else (True, sort.ignore_index)
    unit = _unit_of(student, avg_factor, divergence)
    arguments = (target, labels, weight, avg_factor, *divergence, *sorting, unit)
    if torch.compiler.is_compiling():
        return _compiled(student, *arguments)
    return _Divergence.apply(student, *arguments)


def _kernel_works() -> bool:
    return load_kernels('divergence_cuda') is not None


# What torch.compiler.assume_constant_result does, which imports torch._dynamo for it: a second.
_kernel_works._dynamo_marked_constant = True


def _unit_of(student: Tensor, avg_factor: float | Tensor | None, divergence: Divergence) -> float:
    """A power of two that multiplies the gradient between forward and backward pass.

    In float16 a gradient that is divided by thousands of rows would lose its bits before the
    scale of mixed precision reaches it. Where each row weighs 1, no number of it is above 2¹⁰
    then, which leaves room for weights.
    """
    if student.dtype != torch.float16:
        return 1.0
    _, temperatures, alpha, beta, loss_weight = divergence
    largest = loss_weight * sum(temperatures) * (alpha + beta)
    if not isinstance(avg_factor, Tensor):  # a tensor is 1 or more
        largest /= len(student) if avg_factor is None else max(avg_factor, 1e-6)
    return 2.0 ** min(max(10 - math.ceil(math.log2(max(largest, 1e-9))), 0), 24)


def _keep_gradient(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.unit = inputs[-1]
    ctx.num_others = len(inputs) - 1


# Whether the graph is to be used again; torch tells it to its own compiler alone.
_keeps_graph = getattr(torch._C._autograd, '_get_current_graph_task_keep_graph', lambda: True)


class _Divergence(torch.autograd.Function):
    """The kernel, which gives loss and gradient at once."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        output = load_kernels('divergence_cuda').divergence(*arguments)
        _keep_gradient(ctx, arguments, output)
        return output[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple:
        (gradient,) = ctx.saved_tensors
        scale = load_kernels('divergence_cuda').scale
        in_place = not _keeps_graph()
        return scale(gradient, upstream, ctx.unit, in_place), *[None] * ctx.num_others


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
    unit: float,
) -> tuple[Tensor, Tensor]:
    factor = avg_number if avg_factor is None else avg_factor
    settings = (kind, tuple(temperatures), alpha, beta, loss_weight, sort, ignore_index, unit)
    kernel = load_kernels('divergence_cuda').divergence
    return kernel(student, target, labels, weight, factor, *settings)


@_divergence_op.register_fake
def _(student: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    # Contiguous, as the kernel's gradient is, whatever the strides of the student's logits are.
    return student.new_empty((), dtype=torch.float32), student.new_empty(student.shape)


def _scale_gradient(ctx: Any, upstream: Tensor, _: Any) -> tuple:
    (gradient,) = ctx.saved_tensors
    scaled = (gradient.float() * (upstream / ctx.unit)).to(gradient.dtype)
    return scaled, *[None] * ctx.num_others


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
