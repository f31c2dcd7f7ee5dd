"""The package's registries, children of MMEngine's under the scope ``sortkd_det``.

Where the default scope is another one (MMDetection's), a config names a type of
ours with the prefix: ``type='sortkd_det.DistillHook'``. Inside a method the
prefix may be left out (see :func:`build`).
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

SCOPE = 'sortkd_det'


def _registry(name: str, parent: Registry | None = None, rooms: tuple[str, ...] = ()) -> Registry:
    return Registry(name, parent=parent, scope=SCOPE, locations=[f'{SCOPE}.{r}' for r in rooms])


#: Processors rewrite logits given labels: ``SortLogits``.
LOGIT_PROCESSORS = _registry('logit processor', rooms=('processors',))
#: Adapters know one family of heads: ``RoIHeadAdapter``.
ADAPTERS = _registry('adapter', rooms=('adapters',))
#: Losses between logits (``KDLoss``) or features (``PKDLoss``), networks.
MODELS = _registry('model', MMENGINE_MODELS, rooms=('losses',))
HOOKS = _registry('hook', MMENGINE_HOOKS, rooms=('hooks',))
DATASETS = _registry('dataset', MMENGINE_DATASETS)
DATA_SAMPLERS = _registry('data sampler', MMENGINE_DATA_SAMPLERS, rooms=('training',))
LOOPS = _registry('loop', MMENGINE_LOOPS, rooms=('training',))
TRANSFORMS = _registry('transform', MMENGINE_TRANSFORMS)
METRICS = _registry('metric', MMENGINE_METRICS)
VISUALIZERS = _registry('visualizer', MMENGINE_VISUALIZERS)


def find_similar(kind: str, name: str) -> list[str]:
    """Names with their scopes, in all registries of a kind, that resemble an unknown one.

    Args:
        kind: a registry's name: ``'hook'``.
        name: what was looked up there.
    """
    found: dict[str, list[str]] = {}
    for root in vars(mmengine_registry).values():
        if isinstance(root, Registry) and root.name == kind:
            for known in root.module_dict:
                found.setdefault(known, []).append(known)
            for scope, child in root.children.items():
                for known in child.module_dict:
                    found.setdefault(known, []).append(f'{scope}.{known}')
    similar = get_close_matches(name.split('.')[-1], found, n=3)
    return [full for known in similar for full in found[known]]


def build(registry: Registry, config: Any, what: str) -> Any:
    """Build one of our objects, whatever the run's default scope is.

    Args:
        registry: where the type is registered.
        config: ``dict(type=…, …)``, a bare type name, or an object already
            built, which is returned as it is.
        what: what a reader of an error calls it: ``'loss'``, ``'processor'``.

    Raises:
        KeyError: an unknown type; the message names the registered ones.
        TypeError: no type given, or arguments that the type does not take.
    """
    if isinstance(config, str):
        config = {'type': config}
    if not isinstance(config, Mapping):
        if callable(config):
            return config
        raise TypeError(f'a {what} is given by its type or by dict(type=…), got {config!r}')
    arguments = dict(config)
    name = arguments.pop('type', None)
    if name is None:
        raise TypeError(f'a {what} needs a type, got {dict(config)}')
    cls = registry.get(name) if isinstance(name, str) else name
    if cls is None:
        known = ', '.join(
            sorted(
                known
                for known, kind in registry.module_dict.items()
                if not kind.__module__.startswith(f'{SCOPE}.classification')  # networks
            )
        )
        raise KeyError(f'unknown {what} {name!r}; registered are: {known}')
    return construct(cls, arguments, f'{what} {name}')


def construct(cls: Callable, arguments: Mapping, what: str) -> Any:
    """Call ``cls`` with the arguments of a config.

    Raises:
        TypeError: arguments that it does not take, with those that it does, or of the wrong type;
            the message begins with ``what``.
    """
    try:
        return cls(**arguments)
    except TypeError as error:
        taken = inspect.signature(cls).parameters
        all_taken = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        hint = (
            ''
            if all_taken or taken.keys() >= arguments.keys()
            else f'; it takes {", ".join(taken)}'
        )
        raise TypeError(f'{what}: {error}{hint}') from error
