"""The hook that makes a run of a plain student a distillation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from sortkd_det.adapters import build_adapter
from sortkd_det.checkpoints import restore_history
from sortkd_det.distill import ClassMap, LogitBatch, Method, Teacher, TeacherCache
from sortkd_det.distill.class_names import classes_of_dataset
from sortkd_det.distill.learned_parameters import LearnedParameters
from sortkd_det.distill.teacher import read_teacher_config
from sortkd_det.distill.teacher_trial import try_teacher
from sortkd_det.functional import check_whole
from sortkd_det.registry import HOOKS

from .parts_of_run import student_of
from .plain_checkpoint_hook import make_plain

_MAP_ARGUMENTS = ('class_map', 'unmapped')
_TEACHER_ARGUMENTS = (
    *('config', 'checkpoint', 'cfg_options', 'dtype', 'compile', 'channels_last', 'fuse_conv_bn'),
    *_MAP_ARGUMENTS,
    'cache',
)


@dataclass
class DistilledBatch:
    """What a watcher of the hook sees of each batch, inside the student's forward.

    Attributes:
        logits: those of both models, with the student's graph; None where the method is of
            features alone.
        student_losses: the student's own entries of the dict of losses.
        distill_losses: the terms' entries.
    """

    logits: LogitBatch | None
    student_losses: dict[str, Any]
    distill_losses: dict[str, Tensor]


@HOOKS.register_module()
class DistillHook(Hook):
    """Adds the losses of a method to the student's own, in any MMEngine run.

    The model of the run stays the plain student; the teacher is built when
    training starts, and only then. Checkpoints are those of the student; what
    the method learns itself lies under the extra key ``sortkd_det``.

    Args:
        teacher: arguments of :class:`Teacher`: config, checkpoint, cfg_options, dtype,
            compile, channels_last, fuse_conv_bn; and, where its classes are not the student's, what
            :class:`ClassMap` takes as ``renamed`` and ``unmapped``: class_map, a dict of the
            teacher's names and the student's, and unmapped, ``'error'`` or ``'ignore'``. With
            cache, the path of a file, a classifier's logits are kept there for other runs of the
            same batches, and read where it has them (:class:`TeacherCache`).
        method: the terms, in a list: arguments of :class:`Term` or :class:`FeatureTerm`.
        student_weight: multiplies the student's own losses; ≥ 0.
        check_teacher: before training, test the teacher on this many images of
            the validation set (of a ``ConcatDataset``, by turns of each part) and log
            its metrics: a wrong checkpoint, normalisation or order of classes shows at
            once. None: do not.
        adapter: how the logits are read: ``dict(type='RoIHeadAdapter', …)`` with options,
            or a type alone. None: by the first registered adapter that accepts both models.

    Raises:
        KeyError, TypeError, ValueError: a method that is none (when the hook is
            built); a teacher that is missing or does not fit, a loss that is not made for
            the heads (before the first iteration).
        RuntimeError: the teacher's weights or statistics changed during the run; the
            student trains and a term has no gradient for it.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        teacher: Mapping,
        method: Sequence[dict] | dict,
        student_weight: float = 1.0,
        check_teacher: int | None = None,
        adapter: Mapping | str | None = None,
    ) -> None:
        if not isinstance(teacher, Mapping) or 'config' not in teacher:
            raise TypeError(f'teacher must be dict(config=…, checkpoint=…), got {teacher!r}')
        unknown = set(teacher) - set(_TEACHER_ARGUMENTS)
        if unknown:
            raise TypeError(
                f'teacher takes {", ".join(_TEACHER_ARGUMENTS)}, got {sorted(unknown)} too'
            )
        if not isinstance(teacher.get('cfg_options'), Mapping | None):
            raise TypeError(
                f"teacher.cfg_options must be dict('model.…': …), got {teacher['cfg_options']!r}"
            )
        if not isinstance(teacher.get('cache'), str | PathLike | None):
            raise TypeError(f'teacher.cache must be a path, got {teacher["cache"]!r}')
        if check_teacher is not None:
            check_whole('check_teacher', check_teacher)
        adapter = {'type': adapter} if isinstance(adapter, str) else adapter
        if adapter is not None and not (isinstance(adapter, Mapping) and 'type' in adapter):
            raise TypeError(f"adapter must be dict(type='RoIHeadAdapter', …), got {adapter!r}")
        self.teacher_config = dict(teacher)
        self.class_map_config = {
            name: self.teacher_config.pop(name) for name in _MAP_ARGUMENTS if name in teacher
        }
        self.cache_path = self.teacher_config.pop('cache', None)
        self.cache: TeacherCache | None = None
        self.adapter_config = adapter
        self.method = Method(method, student_weight)
        self.check_teacher = check_teacher
        self.watchers: list[Callable[[DistilledBatch], None]] = []
        self.learned_parameters: LearnedParameters | None = None
        self.now = 1
        self._handles: list = []
        self._numbers_checked = False

    # -- joining a run -------------------------------------------------------

    def before_run(self, runner: Runner) -> None:
        """Put what the method learns into the optimizer, where there is one.

        Raises:
            ValueError: the run has another such hook.
        """
        if any(isinstance(hook, DistillHook) and hook is not self for hook in runner.hooks):
            raise ValueError(
                'custom_hooks has several DistillHooks, expected one; what several losses are '
                'wanted for stands in its method, a term each'
            )
        if isinstance(runner.optim_wrapper, OptimWrapper):
            self._adapt_features(runner)
            device = next(student_of(runner).parameters()).device
            self.method.to(device)
            self.learned_parameters = LearnedParameters(self.method, runner.optim_wrapper)

    def _adapt_features(self, runner: Runner) -> None:
        """Give the terms of features what they learn; there is no teacher yet, but its config."""
        if not self.method.feature_terms:
            return
        teacher = read_teacher_config(
            self.teacher_config['config'], self.teacher_config.get('cfg_options')
        )
        # Not every neck tells its channels (ChannelMapper); then its config does.
        own = [runner.cfg.get('model', {}).get('neck'), getattr(student_of(runner), 'neck', None)]
        for term in self.method.feature_terms:
            term.adapt(own, teacher.model.get('neck'))

    def before_train(self, runner: Runner) -> None:
        """Build the teacher, check it against the student, and join the student's forward."""
        student = student_of(runner)
        self._check_schedule(runner)
        teacher = Teacher(**self.teacher_config)
        runner.logger.info(f'teacher: {type(teacher.model).__name__} from {teacher.checkpoint}')
        is_testable = self._classes_fit(teacher, runner)
        self._teacher_checksum = teacher.checksum()
        self.adapter = build_adapter(self.adapter_config, student, teacher, self.method.needs)
        if self.method.reads_logits:
            self.method.check(self.adapter.activation)
        teacher.to(next(student.parameters()).device)
        if self.check_teacher and is_testable:
            try_teacher(teacher, runner, self.check_teacher)
        if self.cache_path:
            self.cache = self.adapter.keep_teacher(self.cache_path)
        self._handles = [*self.adapter.attach(), *self._join(student)]
        if 'features' in self.method.needs:
            self._handles += self.adapter.attach_features()

    def _classes_fit(self, teacher: Teacher, runner: Runner) -> bool:
        """Whether the data set's classes are among the teacher's: logits need it, features do not.

        Raises:
            ValueError: they are not, and a term reads logits.
        """
        try:
            self._map_classes(teacher, runner)
        except ValueError as error:
            if self.method.reads_logits:
                raise
            runner.logger.warning(f'{error}. Its features teach all the same; it is not tested')
            return False
        return True

    def _map_classes(self, teacher: Teacher, runner: Runner) -> None:
        """Find the classes of the data set among those of the teacher, or raise."""
        own = classes_of_dataset(runner.train_dataloader.dataset)
        if own is None or teacher.classes is None:
            runner.logger.warning(
                'the checkpoint of the teacher names no classes: only their number is checked'
            )
        teacher.class_map = ClassMap(
            own,
            teacher.classes,
            self.class_map_config.get('class_map'),
            self.class_map_config.get('unmapped', 'error'),
        )
        teacher.class_map.tell()

    def _check_schedule(self, runner: Runner) -> None:
        """Raise if the run is over before any term begins; tell of a term that never grows up."""
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        unit = 'iteration' if by_iter else 'epoch'
        last = runner.max_iters if by_iter else runner.max_epochs
        first = min(term.schedule.begin for term in self.method.terms)
        if first > last:
            raise ValueError(
                f'the method begins in {unit} {first} and the run ends after {last}: nothing would '
                'be distilled; lower begin of a term'
            )
        for term in self.method.terms:
            if term.schedule.full_from > last:
                runner.logger.warning(
                    f'the term {term.name} has its whole weight from {unit} '
                    f'{term.schedule.full_from} on, and the run ends after {last}'
                )

    def after_train(self, runner: Runner) -> None:
        """Leave the student as it was found, and see that the teacher is what it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self.cache is not None:
            self.cache.close()
            runner.logger.info(self.cache.summary())
        if self.adapter.teacher.checksum() != self._teacher_checksum:
            raise RuntimeError(
                "the teacher's weights or normalisation statistics changed during training, which "
                'nothing should do: look for code that trains it or switches it to train mode; the '
                'student was taught by a moving target'
            )

    def _join(self, student: nn.Module) -> list:
        """Hooks on the student's forward; functions, not methods, so that a deep copy of the
        student copies neither this hook nor the teacher.
        """

        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            inputs, data_samples, mode = _forward_arguments(*args, **kwargs)
            if module is student:
                self.adapter.reset()
                if mode == 'loss':
                    self.adapter.prepare(inputs, data_samples)

        def after(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
            inputs, data_samples, mode = _forward_arguments(*args, **kwargs)
            if module is student and mode == 'loss':
                return self._add_losses(inputs, data_samples, output)
            return output

        return [
            student.register_forward_pre_hook(before, with_kwargs=True),
            student.register_forward_hook(after, with_kwargs=True),
        ]

    # -- every iteration -----------------------------------------------------

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the schedules where the run is."""
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        self.now = (runner.iter if by_iter else runner.epoch) + 1
        self.learned_parameters.copy_schedule()

    def _add_losses(self, inputs: Any, data_samples: Any, student_losses: dict) -> dict:
        features = self.adapter.features(inputs) if 'features' in self.method.needs else None
        batch = None
        if self.method.reads_logits:
            batch = self.adapter.batch(inputs, data_samples)
            batch = self.adapter.teacher.class_map.mask(batch)
            self._check_batch(batch)
        self.adapter.reset()
        distill_losses = self.method(batch, self.now, features)
        if torch.is_grad_enabled():
            self._check_gradients(distill_losses)
        first = self.method.loss_names[0]
        distill_losses[first] = self.learned_parameters.keep_in_graph(distill_losses[first])
        student_losses = self.method.scale_own(student_losses)
        for watcher in self.watchers:
            watcher(DistilledBatch(batch, student_losses, distill_losses))
        return {**student_losses, **distill_losses, **self.method.temperatures()}

    def _check_batch(self, batch: LogitBatch) -> None:
        """Raise unless the batch is of the promised activation and could teach the student; of
        the first one, unless its labels and weights are in range.
        """
        if not self._numbers_checked:  # once: the host waits for the device
            batch.check_numbers()
            self._numbers_checked = True
        name = type(self.adapter).__name__
        if batch.activation != self.adapter.activation:
            raise RuntimeError(
                f'{name}.activation is {self.adapter.activation!r} and its batch has '
                f'activation={batch.activation!r}; expected the same'
            )
        views = [batch] if batch.second is None else [batch, batch.second]
        for view in views:
            if torch.is_grad_enabled() and not view.student.requires_grad:
                raise RuntimeError(
                    f'the logits of the student that {name} has read, '
                    f'{tuple(view.student.shape)}, need no gradient: nothing would be distilled. '
                    "Expected those of the student's own loss; the adapter reads another call, or "
                    'all that makes the logits is frozen'
                )

    def _check_gradients(self, distill_losses: dict[str, Tensor]) -> None:
        """Raise if a loss could not teach the student anything."""
        for (name, loss), term in zip(distill_losses.items(), self.method.terms, strict=True):
            if not loss.requires_grad:
                raise RuntimeError(
                    f'{name} of the term {term.name} needs no gradient: nothing would be '
                    'distilled. Expected a loss that depends on the logits or features of the '
                    'student; look for detach() or no_grad in its loss and its '
                    'student_processors, and for frozen parts of the student'
                )

    # -- checkpoints ---------------------------------------------------------

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the student's checkpoint plain, and what the method learned apart."""
        if self.learned_parameters is not None and (
            saved := self.learned_parameters.split_off(checkpoint)
        ):
            checkpoint.setdefault('sortkd_det', {}).update(saved)
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Undo :meth:`before_save_checkpoint`."""
        saved = checkpoint.get('sortkd_det')
        if not getattr(runner, 'resuming', True):
            saved = None  # weights for another run, which begins to learn anew
        if self.learned_parameters is not None:
            self.learned_parameters.put_back(checkpoint, saved)
        restore_history(checkpoint.get('message_hub', {}))


def _forward_arguments(
    inputs: Any, data_samples: Any = None, mode: str = 'tensor', **_: Any
) -> tuple[Any, Any, str]:
    """The arguments of every MMEngine model's forward, by position or name."""
    return inputs, data_samples, mode
