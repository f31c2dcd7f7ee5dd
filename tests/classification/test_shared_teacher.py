"""Runs that share a teacher's logits end as runs that do not, to the bit."""

import re
from pathlib import Path

import pytest
from small_runs import KillAt, Killed, assert_same, weights

from sortkd_det.cli.runner import build_runner

RECIPES = ['kd', 'sortctkd', 'sld', 'mlkd']


def counts(runner):
    """Batches whose logits were read, and computed, as the log says."""
    (log,) = Path(runner.log_dir).glob('*.log')
    said = re.findall(r'of (\d+) batches were read from \S+, and those of (\d+) ', log.read_text())
    return tuple(map(int, said[-1]))


@pytest.fixture
def make_shared(make_config, tmp_path):
    """A recipe of two epochs of two batches; with ``cache``, one that shares its teacher."""

    def make(recipe, cache=True, **changes):
        cfg = make_config(f'cifar100/{recipe}', **changes)
        cfg.train_cfg.max_epochs = 2
        if cache:
            cfg.custom_hooks[0].teacher.cache = str(tmp_path / 'teacher.sqlite')
        return cfg

    return make


def test_methods_of_one_seed_have_the_same_batches_and_end_as_apart(make_shared, train):
    views = {'sld': 2, 'mlkd': 2}
    known = set()
    for recipe in RECIPES:
        shared = train(make_shared(recipe), f'{recipe}-shared')
        assert_same(weights(shared), weights(train(make_shared(recipe, cache=False), recipe)))
        needed = {(batch, view) for batch in range(4) for view in range(views.get(recipe, 1))}
        assert counts(shared) == (len(needed & known), len(needed - known))
        known |= needed


@pytest.mark.parametrize(
    'change',
    [
        pytest.param({'randomness.seed': 1}, id='seed'),
        pytest.param({'train_dataloader.batch_size': 5}, id='batch size'),
        pytest.param({'train_dataloader.dataset.size': 21}, id='size of images'),
        pytest.param({'model.data_preprocessor.padding': 3}, id='augmentation'),
        pytest.param({'custom_hooks.0.teacher.dtype': 'bfloat16'}, id='precision'),
    ],
)
def test_what_is_not_the_same_is_not_shared(make_shared, train, change):
    train(make_shared('kd'), 'first')
    found, computed = counts(train(make_shared('kd', **change), 'second'))
    assert computed > 0
    assert found == 0


def test_longer_runs_and_other_learning_rates_are_shared(make_shared, train):
    train(make_shared('kd'), 'first')
    cfg = make_shared('sortkd', **{'optim_wrapper.optimizer.lr': 0.3})
    cfg.train_cfg.max_epochs = 3
    assert counts(train(cfg, 'longer')) == (4, 2)


def test_a_killed_writer_and_a_resumed_reader_end_as_apart(make_shared, train, start, tmp_path):
    apart = weights(train(make_shared('sortkd', cache=False), 'apart'))
    for name, found in (('writer', 3), ('reader', 4)):
        cfg = make_shared('sortkd')
        cfg.work_dir = str(tmp_path / name)
        runner = start(cfg)
        runner.register_hook(KillAt('after_train_iter', 3, True))
        with pytest.raises(Killed):
            runner.train()
        resumed = start(cfg, resume=True)
        resumed.train()
        assert_same(weights(resumed), apart)
        assert counts(resumed) == (found - 2, 4 - found)


def test_workers_leave_the_file_alone(make_shared, train):
    apart = weights(train(make_shared('kd', cache=False), 'apart'))
    for name in ('writes', 'reads'):
        cfg = make_shared('kd')
        cfg.train_dataloader.num_workers, cfg.train_dataloader.persistent_workers = 2, True
        runner = train(cfg, name)
        assert_same(weights(runner), apart)
    assert counts(runner) == (4, 0)


def test_a_damaged_file_does_not_end_a_run(make_shared, train, tmp_path):
    apart = weights(train(make_shared('kd', cache=False), 'apart'))
    train(make_shared('kd'), 'first')
    path = tmp_path / 'teacher.sqlite'
    path.write_bytes(path.read_bytes()[:5000])
    runner = train(make_shared('kd'), 'second')
    assert_same(weights(runner), apart)
    assert counts(runner) == (0, 4)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert re.search(r'teacher\.sqlite cannot be used \(.*\): the teacher is run', log.read_text())


def test_a_path_that_is_none_is_refused(make_shared):
    cfg = make_shared('kd')
    cfg.custom_hooks[0].teacher.cache = ['a', 'b']
    with pytest.raises(TypeError, match=r'teacher\.cache must be a path, got '):
        build_runner(cfg)


def test_detectors_have_nothing_to_share(detector, start, tmp_path):
    detector.custom_hooks[0].teacher.cache = str(tmp_path / 'x.sqlite')
    with pytest.raises(ValueError, match=r'logits of classifiers, and RoIHeadAdapter reads others'):
        start(detector).train()
    assert not (tmp_path / 'x.sqlite').exists()
