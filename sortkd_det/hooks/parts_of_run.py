"""What several hooks ask of a run."""

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn


def student_of(runner: Runner) -> nn.Module:
    """The model of a run, without what DDP or test-time augmentation wraps around it."""
    model = runner.model
    return model.module if is_model_wrapper(model) or isinstance(model, BaseTTAModel) else model


def device_of(runner: Runner) -> torch.device:
    """The device that a run's model is on."""
    return next(runner.model.parameters()).device


def is_accumulating(runner: Runner) -> bool:
    """Whether gradients wait for those of further iterations, before the optimizer's step."""
    return any(
        getattr(each, '_inner_count', 0) % getattr(each, '_accumulative_counts', 1)
        for each in wrappers_of(runner)
    )


def wrappers_of(runner: Runner) -> list[OptimWrapper]:
    """The optimizers' wrappers of a run."""
    wrapper = runner.optim_wrapper
    return list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
