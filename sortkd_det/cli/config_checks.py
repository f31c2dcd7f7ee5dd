"""Settings that MMEngine would stumble over late, or take for something else."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, OPTIMIZERS, DefaultScope

from sortkd_det.functional import check_positive, check_whole

_SPLITS = ('train', 'val', 'test')
# Batch samplers of several sources take a list.
_BATCH_SIZES = tuple(f'{split}_dataloader.batch_size' for split in _SPLITS)
# Whole numbers, with the least of each.
_WHOLE = {
    'train_cfg.max_epochs': 1,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': -1,  # never
    'auto_scale_lr.base_batch_size': 1,
    'randomness.seed': 0,
    **dict.fromkeys(_BATCH_SIZES, 1),
    **{f'{split}_dataloader.num_workers': 0 for split in _SPLITS},
}
#: NumPy's generators, which a run seeds, take no larger one.
LARGEST_SEED = 2**32 - 1
_LARGEST = {'randomness.seed': LARGEST_SEED}
# Groups of settings, and lists of them.
_GROUPS = (
    'env_cfg',
    'default_hooks',
    'randomness',
    *(f'{split}_dataloader.{part}' for split in _SPLITS for part in ('dataset', 'sampler')),
)
_LISTS = ('custom_hooks',)
_RATE = 'optim_wrapper.optimizer.lr'
# Types that MMEngine looks up without a word on those that it does not find.
_TYPES = {
    'optim_wrapper.optimizer.type': OPTIMIZERS,
    **{f'{split}_dataloader.collate_fn.type': FUNCTIONS for split in _SPLITS},
}


def check_settings(cfg: Config) -> None:
    """Raise unless the config of a run could do.

    Raises:
        KeyError: an unknown optimizer or ``collate_fn``.
        TypeError, ValueError: a number out of its range; something else where a dict or a
            list belongs.
    """
    for name, kinds, expected in (
        *((name, Mapping, 'settings in a dict') for name in _GROUPS),
        *((name, list | tuple, 'a list of hooks') for name in _LISTS),
    ):
        value = _setting(cfg, name)
        if not isinstance(value, kinds | None):
            raise TypeError(f'{name} must be {expected}, got {value!r:.100}')
    for name, minimum in _WHOLE.items():
        value = _setting(cfg, name)
        values = value if name in _BATCH_SIZES and isinstance(value, list | tuple) else [value]
        for number in values:
            if number is not None:
                check_whole(name, number, minimum, _LARGEST.get(name))
    rate = _setting(cfg, _RATE)
    if rate is not None:
        check_positive(_RATE, rate, allow_zero=True)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for name, root in _TYPES.items():
            kind = _setting(cfg, name)
            with root.switch_scope_and_registry(None) as registry:
                if isinstance(kind, str) and registry.get(kind) is None:
                    raise KeyError(f'{kind} is not in the {registry.name} registry')


def _setting(cfg: Any, name: str) -> Any:
    """The value at a dotted name, or None."""
    for key in name.split('.'):
        cfg = cfg.get(key) if isinstance(cfg, Config | Mapping) else None
    return cfg
