"""With what runs were made, and where those that are compared differ in more than their method."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

_WHOLE = ('model', 'optim_wrapper', 'param_scheduler')
_OF_THE_LOOP = ('max_epochs', 'max_iters')
_NOT_OF_SCORES = ('data_root', 'cache', 'check_teacher', 'interval', 'grad_interval')
_DISTILLATION = ('DistillHook', 'TeacherAuditHook')
_TEACHER = 'custom_hooks.DistillHook.teacher.'
_SHOWN = 4  # settings that a sentence names
_LONGEST = 40  # letters of a value


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """What a score depends on among the entries of a run's config, flat.

    That are the model, the optimizer and its schedule, the length of the training, its batches
    and data set, and the hooks. Seeds and folders are left out: these differ from run to run,
    and from machine to machine.

    Args:
        config: of a training.

    Returns:
        Dotted name → value as Python prints it; of hooks ``custom_hooks.<type>.…``.
    """
    loader = config.get('train_dataloader') or {}
    parts = {name: config.get(name) for name in _WHOLE}
    parts['train_cfg'] = {
        name: value for name, value in (config.get('train_cfg') or {}).items()
        if name in _OF_THE_LOOP
    }  # fmt: skip
    parts['train_dataloader'] = {name: loader.get(name) for name in ('batch_size', 'dataset')}
    parts['custom_hooks'] = {
        str(hook.get('type')).rpartition('.')[2]: hook
        for hook in config.get('custom_hooks') or ()
        if isinstance(hook, Mapping)
    }
    return dict(_flat(parts, ''))


def differing(first: Mapping[str, str], second: Mapping[str, str], method: bool) -> str:
    """The settings in which two runs differ, for a sentence; empty where there are none.

    Args:
        first: from :func:`settings_of`; without any nothing is known.
        second: likewise.
        method: whether the two are of one method, so that its settings count too; else only
            their teachers do, where both have one. Its weights may be of the seed.
    """
    if not first or not second:
        return ''
    taught = all(any(name.startswith(_TEACHER) for name in each) for each in (first, second))

    def is_left_out(name: str) -> bool:
        if method:
            return name == f'{_TEACHER}checkpoint'
        return _is_distillation(name) and not (taught and name.startswith(_TEACHER))

    names = [
        name
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name) and not is_left_out(name)
    ]
    shown = [f'{name} ({_short(first, name)}, {_short(second, name)})' for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f'{len(names) - _SHOWN} more')
    return ', '.join(shown)


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in _NOT_OF_SCORES:
                continue
            if key in ('config', 'checkpoint') and isinstance(each, str):  # wherever they lie
                each = PurePath(each).name
            yield from _flat(each, f'{name}.{key}' if name else str(key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _flat(each, f'{name}.{index}')
    elif value is not None:
        yield name, repr(value)


def _is_distillation(name: str) -> bool:
    return any(name.startswith(f'custom_hooks.{hook}.') for hook in _DISTILLATION)


def _short(settings: Mapping[str, str], name: str) -> str:
    value = settings.get(name, 'not set')
    return value if len(value) <= _LONGEST else f'{value[: _LONGEST - 1]}…'
