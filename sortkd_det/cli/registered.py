"""What configs can name."""

import contextlib
from importlib import import_module

from sortkd_det.registry import ADAPTERS, DATASETS, HOOKS, LOGIT_PROCESSORS, METRICS, MODELS


def registered() -> dict[str, dict[str, str]]:
    """What configs can name: by kind, each name with its docstring's first line."""
    for room in ('detection', 'classification'):
        with contextlib.suppress(ImportError):  # without MMDetection there are no detectors
            import_module(f'sortkd_det.{room}')
    kinds = {
        'Processors': (LOGIT_PROCESSORS, 'sortkd_det.processors'),
        'Losses and temperatures': (MODELS, 'sortkd_det.losses'),
        'Networks': (MODELS, 'sortkd_det.classification.networks'),
        'Data sets': (DATASETS, ''),
        'Metrics': (METRICS, ''),
        'Adapters': (ADAPTERS, ''),
        'Hooks': (HOOKS, ''),
    }
    for registry, _ in kinds.values():
        registry.import_from_location()
    return {
        kind: {
            name: cls.__doc__.strip().splitlines()[0].replace('``', '')
            for name, cls in sorted(registry.module_dict.items())
            if cls.__module__.startswith(module)
        }
        for kind, (registry, module) in kinds.items()
    }
