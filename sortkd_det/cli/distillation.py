"""What distils in a config: found, changed, and taken out."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

_VARIABLES = ('teacher', 'method', 'pairs', 'pair')
_DISTILL_HOOK = 'DistillHook'


def find_distill_hook(cfg: Config) -> dict | None:
    """The entry of ``custom_hooks`` that distils, or None."""
    for hook in cfg.get('custom_hooks') or []:
        kind = hook.get('type')
        name = kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]
        if name == _DISTILL_HOOK:
            return hook
    return None


def set_teacher_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Name the teacher's weights.

    Raises:
        ValueError: nothing in the config distils.
    """
    hook = find_distill_hook(cfg)
    if hook is None:
        raise ValueError(
            '--teacher-checkpoint: this config has no sortkd_det.DistillHook in custom_hooks'
        )
    if isinstance(hook.get('teacher'), Mapping):  # of what else it is, the hook complains
        hook.teacher.checkpoint = checkpoint


def student_config(cfg: Config) -> Config:
    """The plain student's config: all that stock MMDetection needs, and nothing of ours."""
    plain = Config({key: value for key, value in cfg.items() if key not in _VARIABLES})
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is_ours(hook.get('type'))]
    plain.pop('custom_hooks', None)
    if hooks:
        plain.custom_hooks = hooks
    imports = plain.pop('custom_imports', None)
    if imports:
        names = imports['imports']
        names = [names] if isinstance(names, str) else names
        imports['imports'] = [name for name in names if not _is_ours(name)]
        if imports['imports']:
            plain.custom_imports = imports
    return plain


def _is_ours(kind: Any) -> bool:
    return package_of(kind) == 'sortkd_det'


def package_of(kind: Any) -> str:
    """The package, or scope, of a type in a config: a name, or a class."""
    return str(kind.__module__ if isinstance(kind, type) else kind).split('.')[0]
