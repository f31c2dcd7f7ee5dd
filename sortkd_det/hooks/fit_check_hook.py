"""Whether a model fits its data and the checkpoint that it begins with."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from sortkd_det.adapters import count_classes
from sortkd_det.checkpoints import fit_weights, starting_weights
from sortkd_det.distill.class_names import classes_of_dataset
from sortkd_det.registry import HOOKS

from .parts_of_run import student_of

_OF_A_RUN = {'meta', 'message_hub'}  # what --resume needs beside the weights


@HOOKS.register_module()
class FitCheckHook(Hook):
    """Stops a run before its first iteration if the model does not fit the data or the checkpoint.

    The tools add it to every run. Classes are counted where an adapter knows the
    model's family.

    Args:
        strict: the checkpoint must hold all weights of the model and no others, as for a
            test; a resumed run is always strict. Otherwise one fitting weight will do.

    Raises:
        ValueError: the model has another number of classes than the data set; weights
            that do not fit; a checkpoint to resume from that is not of a run.
    """

    priority = 'VERY_HIGH'

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights, and put them where MMEngine looks, under the model's names."""
        name = runner.cfg.load_from
        resumes = runner.cfg.get('resume')
        if resumes and not set(checkpoint) >= _OF_A_RUN:
            raise ValueError(
                f'{name} holds weights and no state of a run to go on with; to begin a run with '
                f'these weights, leave --resume out and give --cfg-options load_from={name}'
            )
        take = fit_weights if self.strict or resumes else starting_weights
        checkpoint['state_dict'] = take(student_of(runner), checkpoint, name)

    def before_train(self, runner: Runner) -> None:
        """Count the classes."""
        _check_num_classes(student_of(runner), runner.train_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Count the classes."""
        _check_num_classes(student_of(runner), runner.test_dataloader.dataset)


def _check_num_classes(model: nn.Module, dataset: Any) -> None:
    classes = classes_of_dataset(dataset)
    for name, number in count_classes(model).items():
        if classes and number != len(classes):
            raise ValueError(
                f'model.{name} is {number} and the data set has {len(classes)} classes: '
                f'{", ".join(classes[:5])}{" …" if len(classes) > 5 else ""}; expected as many '
                'of both'
            )
