"""A signal to one process or to the launcher stops all, and none is left behind."""

import re

import pytest
import torch
from many_processes import CTKD, SORTKD, classifier, train
from small_runs import assert_same

from sortkd_det.hooks import EXIT_STOPPED


def test_a_signal_to_one_process_stops_all_and_the_resumed_run_ends_bit_equal(results, folder):
    assert [process['code'] for process in results['stopped', 2]] == [EXIT_STOPPED] * 2
    assert [process['code'] for process in results['resumed', 2]] == [None] * 2
    log = ''.join(path.read_text() for path in (folder / 'stopped/2').glob('*/*.log'))
    assert log.count('SIGTERM: stopped after iteration 10') == 1
    whole, resumed = (
        torch.load(folder / name / '2/epoch_4.pth', weights_only=True)
        for name in ('whole', 'resumed')
    )
    for part in ('state_dict', 'optimizer', 'sortkd_det'):
        assert_same(whole[part], resumed[part])
    (first, second), again = results['whole', 2], results['resumed', 2]
    for name, value in first['weights'].items():
        assert torch.equal(value, again[0]['weights'][name]), name
        if 'running' not in name:
            assert torch.equal(value, second['weights'][name]), name
            assert torch.equal(value, again[1]['weights'][name]), name
    assert_same(first['gradients'][10:], again[0]['gradients'])


@pytest.mark.slow
def test_a_signal_to_the_launcher_stops_all_and_the_resumed_run_ends_bit_equal(
    pictures, teacher_weights, tmp_path
):
    ends = {}
    for name in ('whole', 'stopped', 'resumed'):
        cfg = classifier(pictures, teacher_weights, [SORTKD, CTKD])
        cfg.train_cfg.max_epochs = 40
        cfg.param_scheduler.milestones = [20]
        if name == 'stopped':
            cfg.custom_hooks.append(dict(type='Strike', how='tell', rank=0, at=4))
        folder = tmp_path / ('whole' if name == 'whole' else 'other')
        folder.mkdir(exist_ok=True)
        options = ['--resume'] if name == 'resumed' else []
        told = 'process 0, tell' if name == 'stopped' else None
        printed, code, _ = train(cfg, folder, *options, told=told)
        assert (code == 0) == (name != 'stopped'), printed[-4000:]
        if name == 'stopped':
            assert printed.count('SIGTERM: stopped after iteration') == 1
            (stopped,) = (folder / 'work').glob('stopped_iter_*0.pth')
            assert (folder / 'work/last_checkpoint').read_text() == str(stopped)
            assert not re.search(r'^(error:|\[rank)', printed, re.M)  # of a process
        else:
            ends[name] = torch.load(folder / 'work/epoch_40.pth', weights_only=True)
    for part in ('state_dict', 'optimizer', 'sortkd_det'):
        assert_same(ends['whole'][part], ends['resumed'][part])


@pytest.mark.slow
def test_a_resumed_run_that_first_validates_does_not_hang(pictures, teacher_weights, tmp_path):
    for name in ('whole', 'resumed'):
        cfg = classifier(pictures, teacher_weights)
        cfg.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=3))
        cfg.train_cfg = dict(by_epoch=False, max_iters=8, val_interval=4)
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        cfg.param_scheduler = None
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=4)
        options = ['--resume', tmp_path / 'work/iter_4.pth'] if name == 'resumed' else []
        printed, code, _ = train(cfg, tmp_path, *options, timeout=60)
        assert code == 0 or (name == 'resumed' and pytest.fail(printed[-4000:]))


@pytest.mark.slow
def test_none_leaves_before_the_checkpoint_is_there(pictures, teacher_weights, tmp_path):
    """The launcher gives the others 30 seconds from when the first left."""
    cfg = classifier(pictures, teacher_weights, [SORTKD])
    cfg.train_cfg.max_epochs = 40
    cfg.custom_hooks.append(dict(type='Strike', how='stop', at=4))
    cfg.custom_hooks.append(dict(type='SlowSave', seconds=45))
    cfg.default_hooks.checkpoint.interval = 100
    printed, code, _ = train(cfg, tmp_path)
    assert code == 1, printed[-4000:]
    (saved,) = (tmp_path / 'work').glob('stopped_iter_*0.pth')
    assert (tmp_path / 'work/last_checkpoint').read_text() == str(saved)


@pytest.mark.slow
def test_a_signal_to_one_process_that_validates_loses_nothing(pictures, teacher_weights, tmp_path):
    cfg = classifier(pictures, teacher_weights)
    cfg.train_cfg.val_begin = 1
    cfg.val_dataloader.batch_size = 1
    cfg.custom_hooks.append(dict(type='Strike', how='stop', mode='predict', at=1))
    cfg.default_hooks.checkpoint.interval = 100
    printed, code, _ = train(cfg, tmp_path)
    assert code == 0 or (tmp_path / 'work/stopped_iter_3.pth').exists(), printed[-4000:]
