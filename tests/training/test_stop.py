"""SIGTERM: the run saves, leaves with its own status, and goes on later."""

import multiprocessing
import os
import signal

import pytest
from mmengine.hooks import Hook
from test_resume import assert_same, ending

from sortkd_det.training import EXIT_STOPPED


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
    request, start, tmp_path, kind, moment, iteration
):
    cfg = request.getfixturevalue(kind)
    through = start(cfg, work_dir=str(tmp_path / 'through'))
    through.train()
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
    assert_same(ending(through), ending(resumed))
    # The next regular checkpoint takes its place, where there was one.
    assert saved.exists() == (iteration == 8)


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
