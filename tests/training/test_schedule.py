"""A resumed run has the learning rates that a run of its config has, whatever wrote the checkpoint.

Each test trains under one config, resumes under another, and compares the rate of every iteration
with that of a run of the second config from its beginning.
"""

import copy
from pathlib import Path

import pytest
from small_runs import KillAt, Killed

WARNED = 'the schedule of this config is not that of the checkpoint'
WARMUP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5)
SCHEDULES = {
    'LinearLR, MultiStepLR': [WARMUP, dict(type='MultiStepLR', milestones=[1, 3])],
    'LinearLR to the end': [dict(type='LinearLR', start_factor=0.1, by_epoch=False)],
    'CosineAnnealingLR': [dict(type='CosineAnnealingLR', eta_min=1e-5)],
    'CosineAnnealingLR by iterations': [
        WARMUP,
        dict(type='CosineAnnealingLR', eta_min_ratio=0.01, convert_to_iter_based=True),
    ],
    'PolyLR': [dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False)],
    'PolyLR of epochs': [WARMUP, dict(type='PolyLR', power=2.0)],
    'OneCycleLR': [dict(type='OneCycleLR', eta_max=0.1, convert_to_iter_based=True)],
    'StepLR, momentum': [
        dict(type='StepLR', step_size=1, gamma=0.5),
        dict(type='CosineAnnealingMomentum', eta_min=0.5, by_epoch=False),
    ],
    'ExponentialLR, ConstantLR': [
        dict(type='ConstantLR', factor=0.5, by_epoch=False, end=4),
        dict(type='ExponentialLR', gamma=0.9, by_epoch=False),
    ],
    'CosineRestartLR': [
        dict(type='CosineRestartLR', periods=[2, 4], restart_weights=[1, 0.5], eta_min=0.0)
    ],
    'none': None,
}


@pytest.fixture
def cfg(classifier):
    """Epochs of 3 iterations, without a validation; every iteration's settings are kept."""
    classifier.train_cfg.val_begin = 100
    classifier.custom_hooks = []
    classifier.default_hooks.checkpoint.update(save_best=None, max_keep_ckpts=-1)
    return classifier


class Settings(list):
    """The settings of an optimizer in each iteration."""

    def watch(self, runner):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._note)

    def _note(self, optimizer, args, kwargs):
        self.append(
            [
                {key: group[key] for key in ('lr', 'momentum', 'weight_decay')}
                for group in optimizer.param_groups
            ]
        )


@pytest.fixture
def settings_of(start, tmp_path):
    """Train under a config; the settings of every iteration, and the text of the log."""
    numbers = iter(range(100))

    def run(cfg, resume=None, killed_at=None):
        cfg = copy.deepcopy(cfg)
        if resume is not None:
            cfg.load_from = str(resume)
        runner = start(cfg, work_dir=str(tmp_path / f'{next(numbers)}'), resume=resume is not None)
        settings = Settings()
        settings.watch(runner)
        if killed_at is not None:
            runner.register_hook(KillAt('after_train_iter', killed_at, False))
            with pytest.raises(Killed):
                runner.train()
        else:
            runner.train()
        (log,) = Path(runner.log_dir).glob('*.log')
        return settings, log.read_text(), Path(runner.work_dir)

    return run


def changed(cfg, **changes):
    """A copy with other settings, by dotted names with `__` for the dot."""
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


@pytest.mark.parametrize('name', SCHEDULES)
def test_with_more_epochs(cfg, settings_of, name):
    cfg.param_scheduler = SCHEDULES[name]
    _, _, folder = settings_of(changed(cfg, train_cfg__max_epochs=2))
    more = changed(cfg, train_cfg__max_epochs=4)
    fresh, _, _ = settings_of(more)
    resumed, log, _ = settings_of(more, folder / 'epoch_2.pth')
    assert len(resumed) == 6
    assert resumed == fresh[6:]
    assert (WARNED in log) == (name != 'none')  # the end at least differs


@pytest.mark.parametrize(
    'name', ['LinearLR, MultiStepLR', 'CosineAnnealingLR by iterations', 'OneCycleLR']
)
def test_with_other_batches(cfg, settings_of, name):
    """The same epochs have 2 iterations then."""
    cfg.param_scheduler = SCHEDULES[name]
    cfg.train_cfg.max_epochs = 4
    cfg.default_hooks.checkpoint.by_epoch = False
    _, _, folder = settings_of(cfg, killed_at=8)  # in the third epoch, which is begun anew
    other = changed(cfg, train_dataloader__batch_size=6)
    fresh, _, _ = settings_of(other)
    for saved, epochs in (('iter_6.pth', 2), ('iter_7.pth', 2)):
        resumed, _, _ = settings_of(other, folder / saved)
        assert resumed == fresh[2 * epochs :]


@pytest.mark.parametrize('name', ['OneCycleLR', 'StepLR, momentum', 'none'])
def test_within_an_epoch_with_another_schedule(cfg, settings_of, name):
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.param_scheduler = [
        dict(type='MultiStepLR', milestones=[2, 4], gamma=0.5, by_epoch=False),
        dict(type='LinearMomentum', start_factor=0.5, by_epoch=False),
    ]
    _, _, folder = settings_of(cfg, killed_at=6)
    other = changed(cfg)
    other.param_scheduler = SCHEDULES[name]
    fresh, _, _ = settings_of(other)
    resumed, log, _ = settings_of(other, folder / 'iter_5.pth')
    assert resumed == fresh[5:]
    assert WARNED in log


def test_a_run_of_iterations(cfg, settings_of):
    """Of a longer run, of other batches, and of a run of epochs."""
    epochs = copy.deepcopy(cfg)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=100)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=6)
    cfg.param_scheduler = [
        WARMUP,
        dict(type='PolyLR', by_epoch=False),
        dict(type='StepLR', step_size=1),
    ]
    epochs.param_scheduler = [dict(type='StepLR', step_size=1)]
    more = changed(cfg, train_cfg__max_iters=9)
    fresh, _, _ = settings_of(more)
    _, _, folder = settings_of(cfg)
    resumed, log, _ = settings_of(more, folder / 'iter_6.pth')
    assert resumed == fresh[6:]
    assert 'param_scheduler.1.end is 6 there and 9 here' in log
    resumed, _, _ = settings_of(
        changed(more, train_dataloader__batch_size=6), folder / 'iter_6.pth'
    )
    assert resumed == fresh[6:]
    _, _, folder = settings_of(changed(epochs, train_cfg__max_epochs=2))
    resumed, _, _ = settings_of(more, folder / 'epoch_2.pth')
    assert resumed == fresh[6:]


def test_schedules_by_epoch_and_by_iteration_take_each_others_place(cfg, settings_of):
    by_epoch = changed(cfg)
    by_epoch.param_scheduler = [dict(type='MultiStepLR', milestones=[1, 2])]
    by_iteration = changed(cfg)
    by_iteration.param_scheduler = [dict(type='MultiStepLR', milestones=[1, 5], by_epoch=False)]
    for before, after in ((by_epoch, by_iteration), (by_iteration, by_epoch)):
        _, _, folder = settings_of(before)
        fresh, _, _ = settings_of(after)
        resumed, _, _ = settings_of(after, folder / 'epoch_1.pth')
        assert resumed == fresh[3:]


def test_another_rate_and_decay(cfg, settings_of):
    cfg.param_scheduler = SCHEDULES['LinearLR, MultiStepLR']
    _, _, folder = settings_of(cfg)
    other = changed(
        cfg, optim_wrapper__optimizer__lr=0.7, optim_wrapper__optimizer__weight_decay=0.03,
        auto_scale_lr=dict(enable=True, base_batch_size=2),
    )  # fmt: skip
    fresh, _, _ = settings_of(other)
    resumed, log, _ = settings_of(other, folder / 'epoch_2.pth')
    assert resumed == fresh[6:]
    assert resumed[0][0]['lr'] == pytest.approx(0.14)
    assert 'lr is 0.05 there and 1.4 here; weight_decay is 0.0005 there and 0.03 here' in log


def test_a_checkpoint_without_schedules(cfg, settings_of):
    cfg.param_scheduler = SCHEDULES['LinearLR, MultiStepLR']
    cfg.default_hooks.checkpoint.save_param_scheduler = False
    through, _, folder = settings_of(cfg)
    resumed, log, _ = settings_of(cfg, folder / 'epoch_2.pth')
    assert resumed == through[6:]
    assert 'param_scheduler has 0 there and 2 here' in log


def test_nothing_is_said_where_nothing_differs(cfg, settings_of):
    for name in ('LinearLR, MultiStepLR', 'OneCycleLR', 'none'):
        cfg.param_scheduler = SCHEDULES[name]
        through, _, folder = settings_of(cfg)
        resumed, log, _ = settings_of(cfg, folder / 'epoch_2.pth')
        assert resumed == through[6:]
        assert WARNED not in log


def test_a_schedule_by_metrics_goes_on_or_is_refused(cfg, settings_of):
    cfg.train_cfg.val_begin = 1
    plateau = dict(
        type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater', patience=0, threshold=100
    )
    cfg.param_scheduler = [WARMUP, plateau]
    through, _, folder = settings_of(cfg)
    rates = [groups[0]['lr'] for groups in through]
    assert rates[6] < rates[5]
    resumed, _, _ = settings_of(cfg, folder / 'epoch_2.pth')
    assert resumed == through[6:]
    cfg.param_scheduler[1].patience = 3
    with pytest.raises(
        ValueError,
        match=r'param_scheduler\.1\.patience is 0 there and 3 here\), and param_scheduler\.1, a '
        'ReduceOnPlateauLR, depends on the validations of the whole run',
    ):
        settings_of(cfg, folder / 'epoch_2.pth')
