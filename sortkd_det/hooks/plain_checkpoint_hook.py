"""Checkpoints that hold tensors and plain types alone."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from sortkd_det.checkpoints import restore_history, to_plain
from sortkd_det.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Checkpoints of tensors and plain types, which torch ≥ 2.6 loads as they are.

    MMEngine's own hold ``HistoryBuffer`` objects, which torch's weights-only
    loading refuses. The tools add this hook to every run; a run that has
    ``DistillHook`` needs no other.
    """

    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn the checkpoint's objects into lists and numbers."""
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn lists and numbers back into the objects that MMEngine expects."""
        restore_history(checkpoint.get('message_hub', {}))


def make_plain(checkpoint: dict) -> None:
    """Turn the objects in a checkpoint into tensors and plain types, in place."""
    for key in checkpoint:
        checkpoint[key] = to_plain(checkpoint[key])
