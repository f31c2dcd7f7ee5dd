"""What a method learns itself: optimised beside the student, kept apart from it."""

from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn


class LearnedParameters:
    """Parameters of a method (CTKD's temperature, say, or a 1 × 1 convolution of features) in
    the student's optimizer.

    They are one more group of the student's own optimizer, so that unscaling under AMP and
    clipping see them, and have what its first group has: the first with the optimizer's own rate
    and decay, where parts of the student have others (``paramwise_cfg``). In checkpoints their
    weights and optimizer state, and the method's buffers, lie under a key of ours, and the
    student's entries are those of a run without them.

    Args:
        method: whose parameters they are.
        optim_wrapper: the run's, already built.

    Raises:
        TypeError: the method learns, and the run has several optimizers.
    """

    def __init__(self, method: nn.Module, optim_wrapper: OptimWrapper) -> None:
        self.method = method
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        if not self.parameters:
            return
        if isinstance(optim_wrapper, OptimWrapperDict):
            raise TypeError(
                'the method learns parameters (a temperature, or convolutions between features of '
                'other numbers of channels) in the optimizer of the student, and this run has '
                f'{len(optim_wrapper)}: {", ".join(optim_wrapper)}; expected one optimizer, or a '
                'fixed temperature and equal channels'
            )
        self.optimizer = optim_wrapper.optimizer
        self._like = _group_without_multiples(self.optimizer)
        like = self.optimizer.param_groups[self._like]
        group = {key: value for key, value in like.items() if key != 'params'}
        self.optimizer.add_param_group({**group, 'params': self.parameters})
        if get_world_size() > 1:
            for parameter in self.parameters:
                broadcast(parameter.data)
                parameter.register_hook(_average)

    @property
    def group(self) -> dict[str, Any]:
        """The optimizer's group of the learned parameters; loading a state makes a new one."""
        return self.optimizer.param_groups[-1]

    def copy_schedule(self) -> None:
        """Take over the current rate and momentum of the group that they are like; the schedulers
        know only the groups that were there when they were built.
        """
        if self.parameters:
            for key in ('lr', 'momentum', 'betas', 'weight_decay'):
                if key in self.group:
                    self.group[key] = self.optimizer.param_groups[self._like][key]

    def split_off(self, checkpoint: dict) -> dict[str, Any]:
        """Take the learned entries out of ``checkpoint['optimizer']`` and return them."""
        state = self.method.state_dict()
        if not state:
            return {}
        saved = {'method': {k: v.detach().cpu() for k, v in state.items()}}
        if self.parameters and 'optimizer' in checkpoint:
            optimizer = dict(checkpoint['optimizer'])
            *groups, group = optimizer['param_groups']
            state = dict(optimizer['state'])
            saved['optimizer'] = {
                'group': {key: value for key, value in group.items() if key != 'params'},
                'state': [state.pop(index, {}) for index in group['params']],
            }
            checkpoint['optimizer'] = {**optimizer, 'param_groups': groups, 'state': state}
        return saved

    def put_back(self, checkpoint: dict, saved: dict[str, Any] | None) -> None:
        """Undo :meth:`split_off`; a checkpoint without learned entries starts them afresh."""
        if saved and 'method' in saved and self.method.state_dict():
            self.method.load_state_dict(saved['method'])
        if not self.parameters or 'optimizer' not in checkpoint:
            return
        optimizer = dict(checkpoint['optimizer'])
        groups = list(optimizer['param_groups'])
        first = sum(len(group['params']) for group in groups)
        indices = list(range(first, first + len(self.parameters)))
        kept = (saved or {}).get('optimizer')
        fresh = {key: value for key, value in self.group.items() if key != 'params'}
        groups.append({**(kept['group'] if kept else fresh), 'params': indices})
        state = dict(optimizer['state'])
        for index, entry in zip(indices, kept['state'] if kept else [], strict=False):
            if entry:
                state[index] = entry
        checkpoint['optimizer'] = {**optimizer, 'param_groups': groups, 'state': state}

    def keep_in_graph(self, loss: torch.Tensor) -> torch.Tensor:
        """Tie the parameters to ``loss`` with factor 0, so that every process reduces them."""
        return loss + sum(p.sum() for p in self.parameters) * 0 if self.parameters else loss


def _group_without_multiples(optimizer: torch.optim.Optimizer) -> int:
    """The first group with the rate and the decay that the optimizer was given for all; a rate
    scaled to the size of the batch is no group's, then it is the first of all.
    """
    keys = ('lr', 'weight_decay')
    own = [optimizer.defaults.get(key) for key in keys]
    for index, group in enumerate(optimizer.param_groups):
        rate = group.get('initial_lr', group['lr'])  # schedulers may have begun to change it
        if [rate, group.get('weight_decay')] == own:
            return index
    return 0


def _average(gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    all_reduce(gradient, op='mean')
    return gradient
