"""Losses and gradients that are not finite: seen before the optimizer takes them in."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn

from sortkd_det.registry import HOOKS

_NAMED = 5  # how many of many a message names
#: Entry of the message hub, and so of checkpoints: steps left out so far.
SKIPPED = 'skipped_steps'


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Looks at the losses and gradients of every step, before the optimizer does.

    It is asked by the optimizer itself, so under AMP only for steps that the
    gradient scaler does not leave out on its own account.
    :class:`ResumableRunner` adds it to every run.

    Args:
        action: ``'stop'``: raise, with weights and checkpoints untouched;
            ``'skip'``: leave the step out, put buffers (statistics of batch norm) back
            to what they were before it, and count.

    Raises:
        ValueError: another action.
        FloatingPointError: names the losses or parameters, the iteration and the images.
    """

    priority = 'LOW'  # after the hooks that add losses

    def __init__(self, action: str = 'stop') -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"action must be 'stop' or 'skip', got {action!r}")
        self.action = action
        self._handles: list = []
        self._losses: dict[str, Tensor] = {}
        self._batch: Any = None

    def before_train(self, runner: Runner) -> None:
        """Listen to the student's losses and to the optimizer."""
        self._runner = runner
        student = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._names = {parameter: name for name, parameter in student.named_parameters()}
        self._buffers = list(student.buffers()) if self.action == 'skip' else []
        self._kept = [buffer.clone() for buffer in self._buffers]

        def note(module: nn.Module, args: tuple, output: Any) -> None:
            if module is student and isinstance(output, Mapping):  # not a copy's (EMA)
                self._losses = dict(_losses_in(output))

        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        self._handles = [
            student.register_forward_hook(note),
            *(each.optimizer.register_step_pre_hook(self._before_step) for each in wrappers),
        ]

    def after_train(self, runner: Runner) -> None:
        """Say how many steps were left out."""
        for handle in self._handles:
            handle.remove()
        if skipped := runner.message_hub.runtime_info.get(SKIPPED):
            runner.logger.warning(f'{skipped} steps were left out: their numbers were not finite')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the batch, and the buffers as they are."""
        self._batch = data_batch
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        found = getattr(optimizer, 'found_inf', None)  # a fused one leaves such steps out itself
        if found is not None and bool(found):
            return
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        largest = torch.nn.utils.get_total_norm(gradients, norm_type=float('inf'))
        numbers = [largest, *(loss.to(largest) for loss in self._losses.values())]
        wrong = ~torch.stack(numbers).isfinite().all()
        if get_world_size() > 1:  # all leave a step out, or none
            wrong = wrong.float()
            all_reduce(wrong, op='max')
        if not bool(wrong):
            return
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
        hub = self._runner.message_hub
        skipped = hub.runtime_info.get(SKIPPED, 0) + 1
        hub.update_info(SKIPPED, skipped)
        self._runner.logger.warning(f'{message}: the step is left out ({skipped} so far)')

    def _describe(self, parameters: list[nn.Parameter]) -> str:
        losses = [
            f'{name} = {loss.item()}' for name, loss in self._losses.items() if not loss.isfinite()
        ]
        wrong = [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]
        names = [self._names.get(p, 'a parameter of the method') for p in wrong]
        parts = []
        if losses:
            parts.append(f'losses {_some(losses)}')
        if names:
            parts.append(f'gradients of {_some(names)}')
        what = ' and '.join(parts) or 'numbers of another process'
        return (
            f'not finite at iteration {self._runner.iter + 1}: {what}; images: '
            f'{_some([str(name) for name in image_names(self._batch)])}'
        )


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
    samples = batch.get('data_samples') or []
    return [getattr(s, 'img_path', None) or getattr(s, 'img_id', '?') for s in samples]


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more
