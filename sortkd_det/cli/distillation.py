"""What distils in a config: put in by flags, found, changed, and taken out."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS

from sortkd_det.distill import Method

from .methods import MethodFile, known_methods
from .packages import imported_by, package_of, uses_mmdet

#: What ``--cfg-options`` may call the arguments of the two hooks; ``audit`` is the second one.
SETTINGS = ('teacher', 'method', 'student_weight', 'check_teacher', 'audit')
_DISTILL_HOOK, _AUDIT_HOOK = 'DistillHook', 'TeacherAuditHook'
_CHECK_TEACHER = 500  # images of the validation set that a detector's teacher is tested on


def distil(
    cfg: Config, teacher: str | None, checkpoint: str | None, method: MethodFile | None
) -> None:
    """Make a student's run a distillation, or give one another teacher or method.

    A detector's teacher is tested on a few images first and watched by ``TeacherAuditHook``; a
    classifier's is watched where ``audit.interval=…`` asks for it.

    Args:
        cfg: the config of the student, which is changed.
        teacher: a config file, ``mmdet::…``, or the name of a network of the
            student's family; None: as the config says.
        checkpoint: the teacher's weights; None: those of the model zoo.
        method: the method; None: as the config says.

    Raises:
        ValueError: a teacher without a method, or a method without a teacher.
        KeyError: no network of the teacher's name.
    """
    hook = find_distill_hook(cfg)
    if hook is None:
        _check_both(teacher, method)
        hook = _add_hooks(cfg)
    else:
        _tell_what_is_replaced(teacher, method)
    if teacher is not None:
        hook.teacher = ConfigDict(_teacher(cfg, teacher, checkpoint))
    if method is not None:
        hook.method = method.terms
        hook.pop('student_weight', None)
        if method.student_weight is not None:
            hook.student_weight = method.student_weight
    _import(cfg, ['sortkd_det.hooks', *(method.imports if method else ())])


def check_method(cfg: Config) -> None:
    """Raise if the config distils by a method that cannot be built.

    Raises:
        KeyError, TypeError, ValueError: as :class:`~sortkd_det.distill.Method`.
    """
    hook = find_distill_hook(cfg) or {}
    if 'method' in hook:
        Method(hook['method'], hook.get('student_weight', 1.0))


def _check_both(teacher: str | None, method: MethodFile | None) -> None:
    """Raise unless there are a teacher and a method, where the config has neither."""
    if method is None:
        raise ValueError(
            f'--teacher {teacher} needs a method: give --method NAME, one of '
            f'{", ".join(known_methods())}, or a file of your own'
        )
    if teacher is None:
        raise ValueError(
            f'--method {method.name} needs a teacher: give --teacher CONFIG and its weights by '
            '--teacher-checkpoint PATH'
        )


def _add_hooks(cfg: Config) -> dict:
    """Add the hook that distils and, for detectors, the audit; the first one, without arguments."""
    added = ConfigDict(type=f'sortkd_det.{_DISTILL_HOOK}')
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), added]
    hook = find_distill_hook(cfg)
    if uses_mmdet(cfg):
        if cfg.get('val_dataloader') and cfg.get('val_evaluator'):
            hook.check_teacher = _CHECK_TEACHER
        _audit_index(cfg)
    return hook


def _tell_what_is_replaced(teacher: str | None, method: MethodFile | None) -> None:
    for name, value in (('teacher', teacher), ('method', method)):
        if value is not None:
            print_log(
                f'{name} of the DistillHook in this config: that of the command line is taken',
                logger='current',
                level=logging.INFO,
            )


def _teacher(cfg: Config, name: str, checkpoint: str | None) -> dict[str, Any]:
    """The ``teacher`` of a hook."""
    is_file = name.endswith(('.py', '.json', '.yml', '.yaml')) or os.path.exists(name)
    config = name if is_file or '::' in name else dict(model=_classifier(cfg, name))
    if checkpoint is None and '::' not in name:
        raise ValueError(
            f'--teacher {name} needs its weights: give --teacher-checkpoint PATH; only configs of '
            'the model zoo, mmdet::…, have weights there'
        )
    weights = {} if checkpoint is None else dict(checkpoint=checkpoint)
    return dict(config=config, **weights)


def _classifier(cfg: Config, name: str) -> dict[str, Any]:
    """The model of a network by its name, on the student's classes and images."""
    family, slash, _ = str(cfg.model.get('type')).rpartition('/')
    if not slash or package_of(family) != 'sortkd_det':
        raise ValueError(
            f'--teacher {name} is neither a config file nor mmdet::…, and names of networks are '
            'for classifiers of this package, which the student of this config is not; give the '
            "teacher's config"
        )
    kind = f'{family}/{name}'
    if MODELS.get(kind) is None:
        raise KeyError(f'{kind} is not in the model registry')
    model = dict(type=kind, data_preprocessor=dict(cfg.model.data_preprocessor))
    model['data_preprocessor'].pop('num_views', None)  # of the student's training alone
    if 'num_classes' in cfg.model:
        model['num_classes'] = cfg.model.num_classes
    return model


def _import(cfg: Config, modules: Sequence[str]) -> None:
    """Have modules imported where the config, or what is kept of it in a work dir, is read."""
    every = list(dict.fromkeys((*imported_by(cfg), *modules)))
    cfg.custom_imports = dict(imports=every, allow_failed_imports=False)


# -- what is there -----------------------------------------------------------


def find_distill_hook(cfg: Config) -> dict | None:
    """The entry of ``custom_hooks`` that distils, or None."""
    index = _index_of(cfg, _DISTILL_HOOK)
    return None if index is None else cfg.custom_hooks[index]


def place_of(cfg: Config, key: str) -> str:
    """Where a setting of the distillation stands: ``method.0.weight`` → ``custom_hooks.0.…``.

    Args:
        cfg: the config of a run; an audit is added where a setting of it is asked for.
        key: a dotted name that begins with one of ``SETTINGS``.

    Raises:
        ValueError: nothing distils in the config.
    """
    index = _index_of(cfg, _DISTILL_HOOK)
    if index is None:
        raise ValueError(
            f'--cfg-options {key}=… would be without effect: nothing distils in this run; give '
            '--teacher and --method, or a config with a sortkd_det.DistillHook in custom_hooks'
        )
    name, _, rest = key.partition('.')
    if name != 'audit':
        return f'custom_hooks.{index}.{key}'
    if not rest:
        raise ValueError(f'--cfg-options {key}=… finds no place: write audit.interval=…')
    return f'custom_hooks.{_audit_index(cfg)}.{rest}'


def _audit_index(cfg: Config) -> int:
    """Where the audit stands in ``custom_hooks``; it is added if there is none."""
    index = _index_of(cfg, _AUDIT_HOOK)
    if index is None:
        cfg.custom_hooks = [*cfg.custom_hooks, ConfigDict(type=f'sortkd_det.{_AUDIT_HOOK}')]
        index = len(cfg.custom_hooks) - 1
    return index


def _index_of(cfg: Config, wanted: str) -> int | None:
    hooks = cfg.get('custom_hooks') or []
    for index, hook in enumerate(hooks if isinstance(hooks, Sequence) else []):
        kind = hook.get('type') if isinstance(hook, Mapping) else None
        name = kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]
        if name == wanted:
            return index
    return None


def set_teacher_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Name the teacher's weights.

    Raises:
        ValueError: nothing in the config distils.
    """
    hook = find_distill_hook(cfg)
    if hook is None:
        raise ValueError(
            '--teacher-checkpoint: this config has no sortkd_det.DistillHook in custom_hooks; give '
            '--teacher and --method too'
        )
    if isinstance(hook.get('teacher'), Mapping):  # of what else it is, the hook complains
        hook.teacher.checkpoint = checkpoint


def student_config(cfg: Config) -> Config:
    """The plain student's config: all that stock MMDetection needs, and nothing of ours."""
    plain = Config({key: value for key, value in cfg.items() if key not in ('teacher', 'method')})
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is_ours(hook.get('type'))]
    plain.pop('custom_hooks', None)
    if hooks:
        plain.custom_hooks = hooks
    imports = plain.pop('custom_imports', None)
    if imports:
        imports['imports'] = [name for name in imported_by(cfg) if not _is_ours(name)]
        if imports['imports']:
            plain.custom_imports = imports
    return plain


def _is_ours(kind: Any) -> bool:
    return package_of(kind) == 'sortkd_det'
