"""Recipes as runs of seconds on a folder of small pictures."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from sortkd_det.cli.config import choose_pair
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import DistillHook

REPO = Path(__file__).parents[2]
TINY_PAIR = dict(
    teacher='resnet14', student='resnet8', lr=0.05, beta=2.0,
    lskd_temperature=2.0, lskd_weight=9.0, sld_lr=0.025, sld_own=1.0, checkpoint='none.pth',
)  # fmt: skip


@pytest.fixture
def make_config(tmp_path, pictures, teacher_weights):
    """``make_config('cifar100/kd')``: that recipe as a run of one epoch on the pictures."""

    def make(name: str, **changes) -> Config:
        cfg = Config.fromfile(REPO / f'configs/{name}.py')
        cfg.pairs = {'tiny': TINY_PAIR}
        choose_pair(cfg, 'tiny')
        cfg.work_dir = str(tmp_path / name)
        cfg.launcher = 'none'
        alone = name.endswith('teacher')
        cfg.model.type = f'sortkd_det.cifar/{TINY_PAIR["teacher" if alone else "student"]}'
        cfg.model.num_classes = 3
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
        for hook in cfg.get('custom_hooks') or []:
            if 'teacher' not in hook:
                continue
            hook.teacher.config.model.type = f'sortkd_det.cifar/{TINY_PAIR["teacher"]}'
            hook.teacher.config.model.num_classes = 3
            hook.teacher.checkpoint = str(teacher_weights)
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
