"""Recipes as runs of seconds on a folder of small pictures."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import DistillHook

REPO = Path(__file__).parents[2]
# A data set's config, and the pair whose settings are taken.
DATA_SETS = {
    'cifar100': ('cifar100.py', 'resnet56-resnet20'),
    'clothing': ('clothing/student.py', None),
    'imagenet': ('imagenet.py', 'ResNet50-MobileNetV2'),
    'tiny_imagenet': ('tiny_imagenet.py', 'ResNet18-ShuffleV2'),
}


@pytest.fixture
def make_config(tmp_path, pictures, teacher_weights):
    """``make_config('cifar100/kd')``: that method there, in one epoch on the pictures."""

    def make(name: str, **changes) -> Config:
        data_set, method = name.split('/')
        config, pair = DATA_SETS[data_set]
        if method == 'teacher':
            config, method = f'{name}.py', 'student'
        alone = method == 'student'
        cfg = run_config(
            REPO / 'configs' / config,
            pair=pair,
            teacher=None if alone else 'resnet14',
            teacher_checkpoint=None if alone else str(teacher_weights),
            method=None if alone else method,
            cfg_options={
                'model.type': f'sortkd_det.cifar/resnet{14 if "teacher" in name else 8}',
                'model.num_classes': 3,
            },
            work_dir=str(tmp_path / name),
        )
        for split in ('train', 'val', 'test'):
            loader = cfg[f'{split}_dataloader']
            loader.batch_size = 6
            loader.num_workers, loader.persistent_workers = 0, False
            loader.dataset = dict(
                type='sortkd_det.ImageFolder', root=str(pictures), split=split, size=20
            )
        cfg.train_cfg.max_epochs = 1
        cfg.train_cfg.val_interval = 1
        cfg.default_hooks.logger.interval = 1
        cfg.default_hooks.checkpoint.interval = 1
        cfg.merge_from_dict(changes)
        return cfg

    return make


@pytest.fixture
def train():
    """Run a config to its end, under a name of its own, perhaps watched; returns the runner."""

    def run(cfg: Config, name: str = 'run', watcher=None):
        cfg = copy.deepcopy(cfg)
        cfg.work_dir = f'{cfg.work_dir}-{name}'
        cfg.experiment_name = f'{Path(cfg.work_dir).parent.parent.name}-{Path(cfg.work_dir).name}'
        runner = build_runner(cfg)
        if watcher is not None:
            (hook,) = (hook for hook in runner.hooks if isinstance(hook, DistillHook))
            hook.watchers.append(watcher)
        runner.train()
        return runner

    return run
