"""Runs that are set beside each other were made alike, or it is said where not."""

import copy

import pytest

from sortkd_det.studies.comparison import compare
from sortkd_det.studies.finished import Scored
from sortkd_det.studies.settings import differing, settings_of

KD = dict(
    type='sortkd_det.DistillHook',
    teacher=dict(config='work_dirs/big/gfl.py', checkpoint='work_dirs/big_0/epoch_18.pth'),
    method=[dict(loss=dict(type='KDLoss', temperature=1.0))],
)
CONFIG = dict(
    randomness=dict(seed=0),
    work_dir='work_dirs/a',
    model=dict(type='GFL', backbone=dict(depth=18)),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
    param_scheduler=[dict(type='MultiStepLR', milestones=[8, 11])],
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1),
    train_dataloader=dict(
        batch_size=2, num_workers=2, dataset=dict(ann_file='train.json', data_root='data/a/')
    ),
    custom_hooks=[KD],
)


def changed(name, value):
    """The config with another entry, or without one."""
    config = copy.deepcopy(CONFIG)
    *path, last = name.split('.')
    place = config
    for key in path:
        place = place[int(key) if key.isdigit() else key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return settings_of(config)


@pytest.mark.parametrize(
    ('name', 'value', 'said'),
    [
        ('model.backbone.depth', 50, 'model.backbone.depth (18, 50)'),
        ('optim_wrapper.optimizer.lr', 0.02, 'optim_wrapper.optimizer.lr (0.01, 0.02)'),
        ('param_scheduler.0.milestones', [8], 'param_scheduler.0.milestones.1 (11, not set)'),
        ('train_cfg.max_epochs', 24, 'train_cfg.max_epochs (12, 24)'),
        ('train_dataloader.batch_size', 4, 'train_dataloader.batch_size (2, 4)'),
        (
            'train_dataloader.dataset.ann_file', 'half.json',
            "train_dataloader.dataset.ann_file ('train.json', 'half.json')",
        ),
    ],
)  # fmt: skip
def test_what_a_score_depends_on_is_told_within_a_method_and_between_two(name, value, said):
    first, second = settings_of(CONFIG), changed(name, value)
    for method in (True, False):
        assert differing(first, second, method) == said
        assert differing(first, first, method) == ''


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('randomness.seed', 1),
        ('work_dir', 'work_dirs/b'),
        ('train_cfg.val_interval', 12),
        ('train_dataloader.num_workers', 0),
        ('train_dataloader.dataset.data_root', '/elsewhere/'),
        ('custom_hooks.0.teacher.config', '/elsewhere/gfl.py'),
        ('custom_hooks.0.teacher.cache', 'seed1.sqlite'),
        ('custom_hooks.0.check_teacher', 8),
    ],
)
def test_what_differs_from_run_to_run_and_machine_to_machine_is_not(name, value):
    for method in (True, False):
        assert differing(settings_of(CONFIG), changed(name, value), method) == ''


def test_a_method_is_what_two_methods_differ_in_and_a_teacher_is_not():
    first = settings_of(CONFIG)
    hotter = changed('custom_hooks.0.method', [dict(loss=dict(type='KDLoss', temperature=4.0))])
    temperature = 'custom_hooks.DistillHook.method.0.loss.temperature (1.0, 4.0)'
    assert differing(first, hotter, method=True) == temperature
    assert differing(first, hotter, method=False) == ''
    alone = changed('custom_hooks', [])
    assert differing(alone, first, method=False) == ''
    assert 'DistillHook' in differing(alone, first, method=True)
    weights = changed('custom_hooks.0.teacher.checkpoint', 'work_dirs/big_0/epoch_8.pth')
    assert 'checkpoint' in differing(first, weights, method=False)
    assert differing(first, weights, method=True) == ''  # a teacher of each seed
    small = changed('custom_hooks.0.teacher.config', 'small.py')
    told = "custom_hooks.DistillHook.teacher.config ('gfl.py', 'small.py')"
    assert differing(first, small, True) == differing(first, small, False) == told


def test_many_settings_are_counted_and_long_ones_cut():
    first, second = ({f'a{i}': v * 90 for i in range(6)} for v in 'xy')
    said = differing(first, second, method=True)
    assert said.startswith(f'a0 ({"x" * 39}…, {"y" * 39}…), a1 ')
    assert said.endswith('2 more')
    assert differing({}, second, method=True) == ''  # nothing is known


def test_a_comparison_tells_of_runs_of_other_settings():
    def run(method, seed, **settings):
        return Scored(method, seed, {'coco/bbox_mAP': 0.4 + seed / 100}, settings=settings)

    runs = [run('student', seed, epochs='8') for seed in (0, 1)]
    runs += [run('kd', 0, epochs='12'), run('kd', 1, epochs='24')]
    _, (student, kd) = compare(runs, {'kd': 'student'})
    assert student.notes == []
    assert kd.notes == [
        'kd/seed0 and kd/seed1 are runs of other settings, and their mean is of no one method: '
        'they differ in epochs (12, 24)',
        'kd/seed0 and student/seed0 differ in more than the method: epochs (12, 8)',
    ]
    assert kd.verdicts()[-2:] == kd.notes == kd.as_dict()['notes']
