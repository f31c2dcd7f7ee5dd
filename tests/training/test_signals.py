"""SIGTERM concerns the process that trains: others end by it, as everywhere."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import METRICS
from torch.utils.data import DataLoader

from sortkd_det.hooks import EXIT_STOPPED
from sortkd_det.training import signals

ROUNDS = 20


@pytest.fixture
def within():
    """Fail after so many seconds, and leave no process behind."""

    def ring(number, frame):
        pytest.fail('what was waited for did not end')  # an OSError would be caught

    def set_alarm(seconds):
        signal.signal(signal.SIGALRM, ring)
        signal.alarm(seconds)

    yield set_alarm
    signal.alarm(0)
    for process in multiprocessing.active_children():
        process.kill()


@METRICS.register_module(force=True)
class PoolMetric(BaseMetric):
    """Counts in processes of its own, as VOCMetric does."""

    counted = 0

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        with multiprocessing.Pool(2) as pool:
            self.counted += sum(pool.map(abs, [-1] * len(results)))
        return {'counted': self.counted}


def test_a_metric_with_a_pool_ends(classifier, start, within):
    """A pool ends its processes by SIGTERM, and waits for them."""
    classifier.custom_hooks = []
    classifier.train_dataloader.batch_size = 12
    classifier.val_dataloader.batch_size = 6
    classifier.val_evaluator = dict(type='PoolMetric')
    classifier.train_cfg.max_epochs = ROUNDS
    classifier.default_hooks.checkpoint.update(save_best=None, interval=ROUNDS)
    runner = start(classifier)
    within(60)
    runner.train()
    (metric,) = runner.val_evaluator.metrics
    assert metric.counted == ROUNDS
    assert not multiprocessing.active_children()


class Told(Hook):
    """Forks a process in the middle of a run and tells it to end."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        child = multiprocessing.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join()
        self.exitcode = child.exitcode
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(3)
        self.status = os.waitpid(child, 0)[1]


def test_a_forked_process_ends_by_it_and_the_run_goes_on(classifier, start, within):
    hook = Told()
    runner = start(classifier)
    runner.register_hook(hook)
    within(60)
    runner.train()
    assert not runner.stop_asked
    assert hook.exitcode == -signal.SIGTERM
    assert os.WTERMSIG(hook.status) == signal.SIGTERM
    assert not signals._STOPPING.value


def test_a_process_has_the_handler_that_there_was_before():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(os.getpid()))
    try:
        with signals.listening(lambda: heard.append('stop')):
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(heard == [os.getpid()])
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == ['stop']
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ['stop', os.getpid()]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_signal_is_lost_on_a_process_that_was_just_forked(within):
    """Python clears what comes before it has run a line in the new process."""
    within(60)
    with signals.listening(lambda: None):
        for _ in range(100):
            child = multiprocessing.Process(target=time.sleep, args=(100,))
            child.start()
            child.terminate()
            child.join()
            assert child.exitcode == -signal.SIGTERM


STUBBORN = """
import signal, sys, time
from sortkd_det.training import signals
signals.REPEATED_WITHIN = 0.5
with signals.listening(lambda: print('noted', flush=True)):
    print('ready', flush=True)
    while True:
        time.sleep(0.01)
"""


def test_a_second_one_ends_the_run_at_once_and_a_repeated_one_does_not(within):
    """Launchers pass on what clusters send to every process anyway."""
    process = subprocess.Popen([sys.executable, '-c', STUBBORN], stdout=subprocess.PIPE, text=True)
    within(60)
    assert process.stdout.readline() == 'ready\n'
    process.terminate()
    assert process.stdout.readline() == 'noted\n'
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    time.sleep(0.4)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    assert process.stdout.read() == ''


class StopInValidation(Hook):
    def before_val_epoch(self, runner):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_was_told_to_stop_still_ends_its_pools(classifier, start, within):
    classifier.val_evaluator = dict(type='PoolMetric')
    classifier.val_dataloader.batch_size = 6
    classifier.default_hooks.checkpoint.save_best = None
    runner = start(classifier)
    runner.register_hook(StopInValidation())
    within(60)
    with pytest.raises(SystemExit) as left:
        runner.train()
    assert left.value.code == EXIT_STOPPED


class Blocked:
    """A data set that tells whether its worker could be reached by SIGTERM."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return blocked, signal.getsignal(signal.SIGTERM).__name__


def test_workers_are_not_reached_before_they_have_a_handler(monkeypatch):
    """A cluster's SIGTERM would end one that was just forked, and the run with it."""
    loader = DataLoader(Blocked(), num_workers=1, collate_fn=list)
    signals.guard_workers(loader)
    masks = []
    start_worker = signals._start_worker

    def spy(*args):
        os.kill(os.getpid(), signal.SIGTERM)  # waits until there is one
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert signal.SIGTERM in masks[0]
        signals._STOPPING.value = True
        start_worker(*args)

    loader.worker_init_fn.__setstate__((spy, loader.worker_init_fn.args, {}, {}))
    try:
        with signals.listening(lambda: None):
            (first, second) = [item for batch in loader for item in batch]
    finally:
        signals._STOPPING.value = False
    assert first == second == (False, 'end_unless_stopping')
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(
    'evaluator',
    [dict(type='VOCMetric'), dict(type='CocoMetric', metric='bbox', use_mp_eval=True)],
    ids=lambda evaluator: evaluator['type'],
)
def test_mmdetections_metrics_with_processes_end(detector, start, within, evaluator):
    if evaluator['type'] == 'CocoMetric':
        evaluator['ann_file'] = detector.val_evaluator.ann_file
    detector.val_evaluator = evaluator
    detector.custom_hooks = []
    detector.train_cfg.update(max_iters=3, val_interval=1)
    detector.default_hooks.checkpoint.update(save_best=None, interval=10)
    runner = start(detector)
    within(90)
    runner.train()
    (found,) = (
        history.data[0]
        for name, history in runner.message_hub.log_scalars.items()
        if name.endswith('/mAP') or name.endswith('bbox_mAP')
    )
    assert len(found) == 3
