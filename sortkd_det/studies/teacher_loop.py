"""A run that learns nothing: batches pass student and teacher as in training, and are counted."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_rank, get_world_size, is_main_process
from mmengine.runner import Runner
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from sortkd_det.adapters import RoIHeadAdapter, count_classes
from sortkd_det.cli.distillation import find_distill_hook
from sortkd_det.distill.class_names import classes_of_dataset
from sortkd_det.distill.teacher import read_teacher_config
from sortkd_det.functional import check_choice, check_whole
from sortkd_det.hooks import DistilledBatch, DistillHook
from sortkd_det.hooks.parts_of_run import student_of
from sortkd_det.registry import LOOPS
from sortkd_det.training import EpochLoop, seed_generators

from .changed_rows import ChangedRows
from .progress import StepProgress
from .teacher_analysis import TeacherAnalysis
from .teacher_examples import TeacherExamples

# What is another thing in train mode; mmcv's DropPath is told by its name.
_RESTLESS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
#: Whose rows are read: those of the teacher, as its own student, or of the config's model.
ROWS_OF = ('teacher', 'student')


def make_analysis(
    cfg: Config, num_images: int, rows_of: str = 'teacher', num_examples: int = 0
) -> None:
    """Make a distillation's config one of a run in which the teacher is looked at.

    Which rows there are is the student's affair: its proposals are sampled, and some heads assign
    labels by what they predict. A student that has learned nothing proposes boxes without
    objects; the teacher as its own student shows those that a good one comes to. It samples and
    assigns as the config says, where both are of one type.

    Args:
        cfg: the config, which is changed.
        num_images: of the training set, in whole batches, if there are as many; ≥ 1.
        rows_of: one of :data:`ROWS_OF`; the config's model begins with its ``load_from``.
        num_examples: how many rows that sorting changes are kept; ≥ 0.

    Raises:
        ValueError: nothing distils in the config, or another ``rows_of``.
        TypeError: ``num_images`` is no whole number.
    """
    check_whole('--images', num_images)
    check_whole('--report-images', num_examples, minimum=0)
    check_choice('--rows-of', rows_of, ROWS_OF)
    hook = find_distill_hook(cfg)
    if hook is None or not isinstance(hook.get('teacher'), Mapping):
        raise ValueError('no teacher named: give --teacher CONFIG and --teacher-checkpoint PATH')
    hook.method = [dict(loss='KDLoss')]  # any that reads logits
    hook.student_weight, hook.check_teacher = 1.0, None
    cfg.custom_hooks = [hook]
    cfg.default_hooks = {**(cfg.get('default_hooks') or {}), 'checkpoint': None}
    for split in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg.pop(f'{split}_{part}', None)
    # There are no steps; what a config says of the student's layers may not fit the teacher's.
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0))
    cfg.param_scheduler = None
    cfg.auto_scale_lr = None
    cfg.resume = False
    cfg.train_cfg = dict(
        type='sortkd_det.TeacherLoop',
        num_images=num_images,
        rows_of=rows_of,
        num_examples=num_examples,
    )
    if rows_of == 'teacher':
        teacher = read_teacher_config(hook.teacher.config, hook.teacher.get('cfg_options'))
        cfg.model = _as_student(teacher.model, cfg.model)
        cfg.load_from = hook.teacher.get('checkpoint') or teacher.get('model_path')


def _as_student(teacher: Mapping, student: Mapping) -> dict:
    """The config of the teacher's model, as a student whose weights are loaded."""
    model = _without_pretrained(copy.deepcopy(dict(teacher)))
    if model.get('type') == student.get('type') and student.get('train_cfg') is not None:
        model['train_cfg'] = student['train_cfg']
    return model


def _without_pretrained(value: Any) -> Any:
    """A model's config without weights that would be fetched to be overwritten."""
    if isinstance(value, Mapping):
        return {
            key: _without_pretrained(item)
            for key, item in value.items()
            if key != 'pretrained' and not (key == 'init_cfg' and _is_pretrained(item))
        }
    if isinstance(value, list | tuple):
        return type(value)(_without_pretrained(item) for item in value)
    return value


def _is_pretrained(init_cfg: Any) -> bool:
    return isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained'


@LOOPS.register_module()
class TeacherLoop(EpochLoop):
    """Passes batches through the student's loss, for the run's :class:`DistillHook` to see.

    Nothing is trained, validated or saved.

    Args:
        runner: the run.
        dataloader: that of training.
        num_images: how many images are looked at, in whole batches, each at most once.
        rows_of: one of :data:`ROWS_OF`. A teacher that is its own student keeps the statistics
            of its normalisation, and drops nothing out.
        num_examples: how many rows that sorting changes are kept.

    Attributes:
        analysis: what was counted, of all processes.
        examples: rows that sorting changes, likewise.
        images: how many were looked at, by all processes.
        distill_hook: the run's, with its adapter.

    Raises:
        ValueError: a teacher that is its own student has other classes than the data.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        num_images: int,
        rows_of: str = 'teacher',
        num_examples: int = 0,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs=1)
        self.rows_of = rows_of
        dataset = self.dataloader.dataset
        self.num_images = min(num_images, len(dataset))
        self.classes = classes_of_dataset(dataset)
        self.analysis = TeacherAnalysis(self.classes)
        self.examples = TeacherExamples(num_examples)
        # Of the batch that passes.
        self._pictures: list[NDArray[np.uint8]] = []
        self._objects: list[Any] = []
        self.images = 0
        if rows_of == 'teacher':
            self._check_classes(student_of(runner))
        hooks = [hook for hook in runner.hooks if isinstance(hook, DistillHook)]
        self.distill_hook = hooks[0]

    def _check_classes(self, teacher: nn.Module) -> None:
        for number in count_classes(teacher).values():
            if self.classes and number != len(self.classes):
                raise ValueError(
                    f'the teacher tells {number} classes apart and the data set has '
                    f'{len(self.classes)}, so that it cannot be its own student; give --rows-of '
                    "student, and weights of the config's model by --cfg-options load_from=PATH, "
                    'if there are any'
                )

    def run(self) -> Any:
        """Count, and return the model."""
        self.runner.call_hook('before_train')
        self.distill_hook.watchers.append(self._count)
        self._hold_still(student_of(self.runner))
        share = -(-self.num_images // get_world_size())
        console = Console(quiet=not is_main_process())
        with StepProgress({'images': 'images'}, {'images': 1.0}, console) as progress:
            progress.start('images')
            for index, data in enumerate(self.dataloader):
                seed_generators(self.runner.seed, index, get_rank())
                self._look(data)
                progress.update('images', min(self.images / share, 1.0), f'{self.images} images')
                if self.runner.stop_asked:
                    raise KeyboardInterrupt('stopped by SIGTERM: nothing was written')
                if self.images >= share:
                    break
            total = torch.tensor(self.images)
            all_reduce(total, op='sum')
            self.images = int(total)
            progress.finish('images', f'{self.images} images')
        self.analysis.gather()
        self.examples.gather()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _hold_still(self, model: nn.Module) -> None:
        """Put the model in train mode, in which heads make their losses; the teacher's
        normalisation and dropout stay as it was tested.
        """
        model.train()
        if self.rows_of == 'teacher':
            for module in model.modules():
                if isinstance(module, _RESTLESS) or type(module).__name__ == 'DropPath':
                    module.eval()

    def _look(self, data: Any) -> None:
        model = student_of(self.runner)
        raw = data['inputs']
        data = model.data_preprocessor(data, True)
        inputs = data['inputs']
        # Only RoIs are boxes that say by themselves how well they fit an object.
        is_of_rois = isinstance(self.distill_hook.adapter, RoIHeadAdapter)
        self._objects = [each.gt_instances for each in data['data_samples'] if is_of_rois]
        self._pictures = _pictures(raw, data) if self.examples.number else []
        try:
            model(**data, mode='loss')
        except AttributeError as error:  # of a sample
            raise ValueError(
                f'{type(model).__name__} asks for annotations that the data of this config has '
                f'not ({error}); expected a model that trains on them: for a teacher with masks '
                "and data with boxes alone give --rows-of student, so that the config's model does"
            ) from error
        self.images += len(inputs[0] if isinstance(inputs, list | tuple) else inputs)

    def _count(self, batch: DistilledBatch) -> None:
        changed = ChangedRows.of(batch.logits, self._objects)
        self.analysis.add(changed)
        self.examples.add(changed, self._pictures)


def _pictures(raw: Any, data: Mapping[str, Any]) -> list[NDArray[np.uint8]]:
    """The images of a batch as they came, of the size in which the model has them, BGR.

    Args:
        raw: the batch's ``inputs`` before preprocessing: a (3, H, W) for each image.
        data: the batch after it.
    """
    samples = data.get('data_samples')
    found = []
    for index, image in enumerate(raw):
        picture = np.ascontiguousarray(image.cpu().numpy().clip(0, 255).transpose(1, 2, 0))
        picture = picture.astype(np.uint8)
        if not isinstance(samples, Sequence):  # our classifiers' images are RGB
            picture = np.ascontiguousarray(picture[..., ::-1])
        else:  # which may be resized with their batch
            height, width = samples[index].img_shape[:2]
            picture = cv2.resize(picture, (width, height))
        found.append(picture)
    return found
