"""Which package the types in a config belong to."""

from typing import Any

from mmengine.config import Config


def package_of(kind: Any) -> str:
    """The package, or scope, of a type in a config: a name, or a class."""
    return str(kind.__module__ if isinstance(kind, type) else kind).split('.')[0]


def imported_by(cfg: Config) -> list[str]:
    """The modules that a config has imported, which may be a list or a name alone."""
    names = (cfg.get('custom_imports') or {}).get('imports', [])
    return [names] if isinstance(names, str) else list(names)


def uses_mmdet(cfg: Config) -> bool:
    """Whether the run is one of MMDetection's; a classifier needs neither it nor mmcv."""
    kind = (cfg.get('model') or {}).get('type')  # a class, in configs of the new style
    return cfg.get('default_scope') == 'mmdet' or package_of(kind) == 'mmdet'
