"""Runs of seconds: a distilled classifier in epochs, a distilled detector in iterations."""

import copy
import itertools
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from sortkd_det.checkpoints import load_checkpoint, newest_checkpoint
from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner, prepare

REPO = Path(__file__).parents[1]
NUMBERS = itertools.count()


@pytest.fixture
def classifier(tmp_path, pictures, teacher_weights) -> Config:
    return _classifier(tmp_path, pictures, teacher_weights)


def _classifier(folder, pictures, teacher_weights) -> Config:
    """SortKD with CTKD's temperature, two views, a scheduled term, the audit; 3 epochs of 3."""
    cfg = run_config(
        REPO / 'configs/clothing/student.py',
        teacher='resnet14',
        teacher_checkpoint=str(teacher_weights),
        method='sortkd',
        cfg_options={'model.num_classes': 3},
        work_dir=str(folder / 'classifier'),
    )
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = 4
        loader.dataset.update(root=str(pictures), split=split, size=20)
    cfg.train_cfg.update(max_epochs=3, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2, save_best='accuracy/top1')
    cfg.custom_hooks[0].method = [
        dict(
            processors=['SortLogits'],
            loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature')),
        ),
        dict(loss=dict(type='DKDLoss', temperature=4.0), begin=2, warmup=2),
    ]
    cfg.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=2))
    return cfg


@pytest.fixture
def detector(tmp_path, toy_data, random_teacher) -> Config:
    return _detector(tmp_path, toy_data, random_teacher)


def _detector(folder, toy_data, random_teacher) -> Config:
    """SortKD for a thin Faster R-CNN; 8 iterations of 2 images, validated twice."""
    cfg = run_config(
        REPO / 'configs/toy/student.py',
        teacher=str(REPO / 'configs/toy/teacher.py'),
        teacher_checkpoint=str(random_teacher),
        method='sortkd',
        cfg_options={'check_teacher': None},
        work_dir=str(folder / 'detector'),
    )
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(toy_data) + '/'
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.val_evaluator.ann_file = str(toy_data / cfg.val_dataloader.dataset.ann_file)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=4)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=8)]
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=2, save_best='auto'
    )
    prepare(cfg, ())
    return cfg


@pytest.fixture
def start():
    """Build the runner of a config, under a name that no other run has."""
    with _starter() as build:
        yield build


@contextmanager
def _starter():
    runners = []

    def build(cfg: Config, work_dir: str | None = None, resume: bool | str = False):
        cfg = copy.deepcopy(cfg)
        cfg.work_dir = work_dir or cfg.work_dir
        cfg.resume = resume
        cfg.experiment_name = f'{Path(cfg.work_dir).parent.name}-{next(NUMBERS)}'
        runners.append(build_runner(cfg))
        return runners[-1]

    yield build
    # A collected runner waits five seconds for each worker: its queues are closed first.
    for runner in runners:
        for loop in (runner._train_loop, runner._val_loop):  # a dict, if it was not built
            iterator = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
            if iterator is not None:
                iterator._shutdown_workers()


@pytest.fixture(scope='session')
def through(tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """``through('detector')``: what that run ends with if nothing happens to it; run once."""

    @cache
    def run(kind: str):
        folder = tmp_path_factory.mktemp('through')
        cfg = (
            _classifier(folder, pictures, teacher_weights)
            if kind == 'classifier'
            else _detector(folder, toy_data, random_teacher)
        )
        with _starter() as build:
            runner = build(cfg)
            runner.train()
        return ending(runner)

    return run


class Killed(BaseException):
    """What no code of a run catches."""


class KillAt(Hook):
    """Dies at the n-th call of a hook's method; before every other hook, or after."""

    def __init__(self, method, number, first):
        self.priority = 'VERY_HIGH' if first else 'LOWEST'
        self.left = number
        setattr(self, method, self._count)

    def _count(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise Killed


def killed_and_resumed(start, cfg, *moments):
    """Train, dying at each of the moments, and resuming after each."""
    for times, moment in enumerate(moments):
        runner = start(cfg, resume=times > 0)
        runner.register_hook(KillAt(*moment))
        with pytest.raises(Killed):
            runner.train()
    runner = start(cfg, resume=True)
    runner.train()
    return runner


def ending(runner):
    """All that a run ends with."""
    method = next(hook.method for hook in runner.hooks if type(hook).__name__ == 'DistillHook')
    hub = runner.message_hub
    newest = load_checkpoint(newest_checkpoint(runner.work_dir))
    return {
        'seed': runner.seed,
        'recorded': {
            'iter': newest['meta']['iter'],
            'best': newest['message_hub']['runtime_info'].get('best_score'),
        },
        'losses': {
            name: history.data[0].tolist()
            for name, history in hub.log_scalars.items()
            if name.startswith(('train/loss', 'train/teacher', 'train/share', 'train/lr'))
        },
        'weights': runner.model.state_dict(),
        'method': method.state_dict(),
        'optimizer': runner.optim_wrapper.state_dict(),
        'schedulers': [scheduler.state_dict() for scheduler in runner.param_schedulers],
        'best': {k: v for k, v in hub.runtime_info.items() if k == 'best_score'},
    }


def weights(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def assert_same(first, second, path=''):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f'{path}/{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f'{path}/{index}')
    else:
        assert first == second, path
