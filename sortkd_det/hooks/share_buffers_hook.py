"""One set of buffers for all processes, before a validation."""

from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from sortkd_det.registry import HOOKS


@HOOKS.register_module()
class ShareBuffersHook(Hook):
    """Validates the model that is saved; ``ResumableRunner`` adds it to every run.

    Each of several processes has batch norm statistics of its own, and the
    checkpoints hold those of the first: before a validation all take them over.
    Hooks that average statistics (MMDetection's ``SyncNormHook``), or swap an
    averaged model in, come first.
    """

    priority = 'VERY_LOW'

    def before_val_epoch(self, runner: Runner) -> None:
        """Copy the first process's buffers to all others."""
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer)
