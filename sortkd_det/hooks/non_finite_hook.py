"""Losses and gradients that are not finite: seen before the optimizer takes them in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from sortkd_det.registry import HOOKS

from .parts_of_run import is_accumulating, student_of, wrappers_of

_NAMED = 5  # how many of many a message names
#: Entry of the message hub, and so of checkpoints: steps left out so far.
SKIPPED = 'skipped_steps'


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Looks at the losses and gradients of every step, before the optimizer does.

    It is asked by the optimizer itself, so under AMP gradients that overflow are
    left to the gradient scaler; a loss that is not finite is not. Where gradients
    are accumulated, the step is that of the whole group of iterations.
    ``ResumableRunner`` adds it to every run.

    Args:
        action: ``'stop'``: raise, with weights and checkpoints untouched;
            ``'skip'``: leave the step out, put buffers (statistics of batch norm) back
            to what they were before it, and count.

    Raises:
        ValueError: ``action`` is neither ``'stop'`` nor ``'skip'``.
        FloatingPointError: names the losses or parameters, the iteration and the images.
    """

    priority = 'LOW'  # after the hooks that add losses

    def __init__(self, action: str = 'stop') -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"action must be 'stop' or 'skip', got {action!r}")
        self.action = action
        self._handles: list = []
        self._group: list[_Iteration] = []  # whose gradients the next step takes
        self._left_out = False

    def before_train(self, runner: Runner) -> None:
        """Register the hooks on the student's losses and on the optimizer."""
        self._runner = runner
        student = student_of(runner)
        self._names = {parameter: name for name, parameter in student.named_parameters()}
        averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        kept = [student, *averages] if self.action == 'skip' else []
        self._buffers = [buffer for module in kept for buffer in module.buffers()]
        self._kept = [buffer.clone() for buffer in self._buffers]

        def note(module: nn.Module, args: tuple, output: Any) -> None:
            # Not the forward of a copy (EMA), nor one outside of an iteration.
            if module is student and isinstance(output, Mapping) and self._group:
                self._group[-1].losses.extend(_losses_in(output))

        wrappers = wrappers_of(runner)
        self._scaled = any(hasattr(each, 'loss_scaler') for each in wrappers)
        self._clipped = any(each.clip_grad_kwargs for each in wrappers)
        self._handles = [
            student.register_forward_hook(note),
            *(each.optimizer.register_step_pre_hook(self._before_step) for each in wrappers),
        ]

    def after_train(self, runner: Runner) -> None:
        """Log how many steps were left out."""
        for handle in self._handles:
            handle.remove()
        if skipped := runner.message_hub.runtime_info.get(SKIPPED):
            runner.logger.warning(f'{skipped} steps were left out: their numbers were not finite')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the batch, and the buffers as they are before the first iteration of a step."""
        if not is_accumulating(runner):
            self._group, self._left_out = [], False
            for kept, buffer in zip(self._kept, self._buffers, strict=True):
                kept.copy_(buffer)
        self._group.append(_Iteration(runner.iter + 1, data_batch))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of a step that the gradient scaler may have left out."""
        if self._scaled and not self._left_out and not is_accumulating(runner):
            losses = [loss for iteration in self._group for _, loss in iteration.losses]
            if losses and self._are_wrong(losses):
                self._act([])

    def _before_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        found = getattr(optimizer, 'found_inf', None)  # a fused one leaves such steps out itself
        if found is not None and bool(found):
            return
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        largest = torch.nn.utils.get_total_norm(gradients, norm_type=float('inf'))
        losses = [loss.to(largest) for iteration in self._group for _, loss in iteration.losses]
        if self._are_wrong([largest, *losses]):
            self._act(parameters)

    def _are_wrong(self, numbers: list[Tensor]) -> bool:
        wrong = ~torch.stack(numbers).isfinite().all()
        if get_world_size() > 1:  # all leave a step out, or none
            wrong = wrong.float()
            all_reduce(wrong, op='max')
        return bool(wrong)

    def _act(self, parameters: list[nn.Parameter]) -> None:
        """Stop, or leave the step of these parameters out."""
        message = self._describe(parameters)
        if self.action == 'stop':
            raise FloatingPointError(
                f'{message}. No weight was changed by it, and the checkpoints are untouched. Look '
                'at these images, or try a lower learning rate, gradient clipping '
                "(optim_wrapper.clip_grad), or custom_hooks=[dict(type='sortkd_det.NonFiniteHook', "
                "action='skip')]"
            )
        for parameter in parameters:
            parameter.grad = None  # optimizers pass over these: no decay, no momentum
        with torch.no_grad():
            for kept, buffer in zip(self._kept, self._buffers, strict=True):
                buffer.copy_(kept)
        self._left_out = True
        hub = self._runner.message_hub
        skipped = hub.runtime_info.get(SKIPPED, 0) + 1
        hub.update_info(SKIPPED, skipped)
        self._runner.logger.warning(f'{message}: the step is left out ({skipped} so far)')

    def _describe(self, parameters: list[nn.Parameter]) -> str:
        named = [
            (f'{name} = {loss.item()}', iteration)
            for iteration in self._group
            for name, loss in iteration.losses
            if not loss.isfinite()
        ]
        wrong = [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]
        parts = [f'losses {_some([loss for loss, _ in named])}'] if named else []
        if len(wrong) > 1 and self._clipped and len(wrong) == len(parameters):
            parts.append('gradients (clipping made all of them so)')
        elif wrong:
            names = [self._names.get(p, 'a parameter of the method') for p in wrong]
            parts.append(f'gradients of {_some(names)}')
        what = ' and '.join(parts) or 'numbers of another process'
        guilty = {iteration.number: iteration for _, iteration in named} or {
            iteration.number: iteration for iteration in self._group
        }
        images = [
            str(name) for iteration in guilty.values() for name in image_names(iteration.batch)
        ]
        return (
            f'not finite at iteration {", ".join(map(str, guilty))}: {what}; '
            f'images: {_some(images)}'
        )


@dataclass
class _Iteration:
    """What a step may have to name."""

    number: int
    batch: Any
    losses: list[tuple[str, Tensor]] = field(default_factory=list)


def _losses_in(output: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The entries that MMEngine adds up, each as one number."""
    for name, value in output.items():
        if 'loss' in name:
            values = value if isinstance(value, list | tuple) else [value]
            yield name, sum(v.detach().sum() for v in values)


def image_names(batch: Any) -> list[Any]:
    """Paths or ids of a batch's images: of a detector's samples, or a classifier's indices."""
    if not isinstance(batch, Mapping):
        return []
    if 'indices' in batch:
        return torch.as_tensor(batch['indices']).tolist()
    samples = batch.get('data_samples')
    if not isinstance(samples, list | tuple):
        return []
    return [getattr(s, 'img_path', None) or getattr(s, 'img_id', '?') for s in samples]


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more
