"""SIGTERM: the run saves, leaves with its own status, and goes on later."""

import multiprocessing
import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from small_runs import assert_same, ending

from sortkd_det.hooks import EXIT_STOPPED


class Terminate(Hook):
    """Sends this process SIGTERM at the n-th call of a hook's method."""

    def __init__(self, method, number):
        self.left = number
        setattr(self, method, self._count)

    def _count(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ('kind', 'moment', 'iteration'),
    [
        ('classifier', ('before_train_iter', 1), 1),
        ('classifier', ('before_train_iter', 5), 5),
        ('classifier', ('after_train_iter', 3), 3),  # the last of an epoch
        ('classifier', ('after_val_iter', 2), 3),
        ('detector', ('after_train_iter', 3), 3),
        ('detector', ('before_val', 2), 8),
    ],
)
def test_a_run_that_is_told_to_stop_saves_and_goes_on(
    request, start, through, tmp_path, kind, moment, iteration
):
    cfg = request.getfixturevalue(kind)
    before = signal.getsignal(signal.SIGTERM)
    runner = start(cfg)
    runner.register_hook(Terminate(*moment))
    with pytest.raises(SystemExit) as left:
        runner.train()
    assert left.value.code == EXIT_STOPPED == 75
    assert signal.getsignal(signal.SIGTERM) == before
    saved = tmp_path / kind / f'stopped_iter_{iteration}.pth'
    assert (tmp_path / kind / 'last_checkpoint').read_text() == str(saved)
    resumed = start(cfg, resume=True)
    resumed.train()
    assert_same(through(kind), ending(resumed))
    assert not saved.exists()  # the next regular checkpoint has taken its place


@pytest.mark.parametrize('moment', [('after_train_iter', 4), ('after_val_iter', 2)], ids=str)
def test_the_average_of_weights_goes_on_too(classifier, start, tmp_path, moment):
    """In a validation the average has the model's place, and the model the average's."""
    classifier.custom_hooks.append(dict(type='EMAHook', momentum=0.3))
    ends = {}
    for name in ('through', 'stopped', 'resumed'):
        folder = tmp_path / ('through' if name == 'through' else 'other')
        runner = start(classifier, work_dir=str(folder), resume=name == 'resumed')
        if name == 'stopped':
            runner.register_hook(Terminate(*moment))
            with pytest.raises(SystemExit):
                runner.train()
            continue
        runner.train()
        ends[name] = torch.load(folder / 'epoch_3.pth', weights_only=True)
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(ends['through'][part], ends['resumed'][part])


def test_of_checkpoints_of_stops_the_last_is_kept(classifier, start, tmp_path):
    classifier.default_hooks.checkpoint.interval = 3
    for resume in (False, True, True):
        runner = start(classifier, resume=resume)
        runner.register_hook(Terminate('after_train_iter', 1))
        with pytest.raises(SystemExit):
            runner.train()
    assert [p.name for p in (tmp_path / 'classifier').glob('stopped*')] == ['stopped_iter_3.pth']


class TerminateWorkers(Terminate):
    """Sends SIGTERM to the workers too, as clusters do."""

    def _count(self, *args, **kwargs):
        workers = multiprocessing.active_children()
        super()._count()
        if self.left == 0:
            assert workers
            for worker in workers:
                os.kill(worker.pid, signal.SIGTERM)


@pytest.mark.parametrize('method', ['after_train_iter', 'after_val_iter'])
def test_workers_leave_it_to_the_run(classifier, start, tmp_path, method):
    for split in ('train', 'val'):
        classifier[f'{split}_dataloader'].update(num_workers=2, persistent_workers=True)
    runner = start(classifier)
    runner.register_hook(TerminateWorkers(method, 2))
    with pytest.raises(SystemExit) as left:
        runner.train()
    assert left.value.code == EXIT_STOPPED
    assert list((tmp_path / 'classifier').glob('stopped_*'))


def test_accumulated_gradients_are_not_lost(classifier, start, tmp_path):
    classifier.optim_wrapper.accumulative_counts = 3
    through = start(classifier, work_dir=str(tmp_path / 'through'))
    through.train()
    runner = start(classifier)
    runner.register_hook(Terminate('before_train_iter', 4))
    with pytest.raises(SystemExit):
        runner.train()
    assert (tmp_path / 'classifier' / 'stopped_iter_6.pth').exists()
    resumed = start(classifier, resume=True)
    resumed.train()
    assert_same(ending(through), ending(resumed))
