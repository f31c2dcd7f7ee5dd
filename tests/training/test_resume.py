"""Runs that are killed at any moment end as if they had not been."""

import copy
import itertools
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets.samplers import GroupMultiSourceSampler
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from small_runs import KillAt, Killed, assert_same, ending, killed_and_resumed

from sortkd_det import files
from sortkd_det.checkpoints import newest_checkpoint
from sortkd_det.hooks import SafeCheckpointHook
from sortkd_det.training import EpochLoop, SeededBatchSampler

CLASSIFIER_MOMENTS = [
    ('before_train_iter', 1, True),
    ('after_train_iter', 4, True),
    ('after_train_iter', 5, False),
    ('before_save_checkpoint', 2, False),
    ('after_train_epoch', 2, True),
    ('after_train_epoch', 2, False),
    ('before_val', 2, True),
    ('after_val_iter', 3, True),
    ('after_val_epoch', 2, True),
    ('after_val_epoch', 2, False),
    ('after_val_epoch', 3, False),
    ('after_train', 1, True),
]


@pytest.mark.parametrize('moment', CLASSIFIER_MOMENTS, ids=str)
def test_a_killed_run_of_epochs_ends_as_the_other(classifier, start, through, moment):
    assert_same(through('classifier'), ending(killed_and_resumed(start, classifier, moment)))


@pytest.mark.parametrize(
    'moment',
    [
        ('after_train_iter', 3, True),
        ('after_train_iter', 4, False),
        ('before_save_checkpoint', 3, True),
        ('before_val', 1, True),
        ('after_val_iter', 4, True),
        ('after_val_epoch', 2, False),
    ],
    ids=str,
)
def test_a_killed_run_of_iterations_ends_as_the_other(detector, start, through, moment):
    assert_same(through('detector'), ending(killed_and_resumed(start, detector, moment)))


def test_checkpoints_within_epochs_count(classifier, start, tmp_path):
    classifier.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    through = start(classifier, work_dir=str(tmp_path / 'through'))
    through.train()
    resumed = killed_and_resumed(
        start,
        classifier,
        ('after_train_iter', 5, False),
        ('after_train_iter', 2, False),
        ('before_val', 1, True),
    )
    assert_same(ending(through), ending(resumed))


def test_a_finite_sampler_goes_on_in_a_run_of_iterations(detector, start, tmp_path):
    detector.train_dataloader.sampler.type = 'DefaultSampler'  # 6 batches in a pass
    detector.train_cfg.val_interval = 100
    through = start(detector, work_dir=str(tmp_path / 'through'))
    through.train()
    resumed = killed_and_resumed(start, detector, ('before_train_iter', 8, True))
    assert_same(ending(through), ending(resumed))


@pytest.mark.parametrize('kind', ['classifier', 'detector'])
def test_the_number_of_workers_changes_no_bit(request, kind, start, through):
    cfg = request.getfixturevalue(kind)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    workers = start(cfg)
    workers.train()
    assert_same(through(kind), ending(workers))


@pytest.fixture
def any_algorithm():
    """Give PyTorch's switch back as it was."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('kind', ['classifier', 'detector'])
def test_no_step_needs_an_algorithm_that_is_not_deterministic(
    request, kind, start, through, any_algorithm, monkeypatch
):
    cfg = request.getfixturevalue(kind)
    expected = through(kind)
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    cfg.randomness = dict(seed=expected['seed'], deterministic=True)
    runner = start(cfg)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert torch.are_deterministic_algorithms_enabled()
    runner.train()
    assert_same(expected, ending(runner))


def test_batches_of_the_past_are_not_loaded(detector, start):
    runner = start(detector)
    runner.register_hook(KillAt('after_train_iter', 7, False))
    with pytest.raises(Killed):
        runner.train()
    runner = start(detector, resume=True)
    dataset = runner.build_train_loop(runner._train_loop).dataloader.dataset
    loaded = []
    pipeline = type(dataset).prepare_data

    class Counting(type(dataset)):
        def prepare_data(self, index):
            loaded.append(index)
            return pipeline(self, index)

    runner = start(detector, resume=True)
    runner._train_loop = loop = runner.build_train_loop(runner._train_loop)
    loop.dataloader.dataset.__class__ = Counting
    runner.train()
    assert len(loaded) == 2 * 2  # iterations 7 and 8


# -- checkpoints ---------------------------------------------------------------


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == 'cut':
        content = content[: len(content) // 2]
    elif how == 'empty':
        content = b''
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('how', ['cut', 'empty', 'one bit'])
def test_a_damaged_newest_checkpoint_is_noticed_and_the_one_before_taken(
    classifier, start, through, tmp_path, how
):
    runner = start(classifier)
    runner.register_hook(KillAt('after_train_iter', 8, True))
    with pytest.raises(Killed):
        runner.train()
    damage(tmp_path / 'classifier' / 'epoch_2.pth', how)
    with pytest.warns(UserWarning, match=r'epoch_2\.pth cannot be resumed from and the one before'):
        resumed = start(classifier, resume=True)
    assert resumed._load_from.endswith('epoch_1.pth')
    resumed.train()
    assert_same(through('classifier'), ending(resumed))


def test_without_a_checkpoint_a_run_begins_anew(classifier, start):
    with pytest.warns(UserWarning, match='begins anew'):
        runner = start(classifier, resume=True)
    runner.train()
    assert runner.epoch == 3


def test_where_no_checkpoint_loads_nothing_is_begun(classifier, start, tmp_path):
    start(classifier).train()
    for path in (tmp_path / 'classifier').glob('*.pth'):
        path.write_bytes(path.read_bytes()[:999])
    with (
        pytest.warns(UserWarning, match='cannot be resumed from'),
        pytest.raises(ValueError, match=r'none of the 2 checkpoints in .* can be resumed from'),
    ):
        start(classifier, resume=True)


def test_a_first_resume_begins_from_what_the_config_loads(classifier, start, tmp_path):
    """``--resume`` in the job's command line from its first start on."""
    start(classifier, work_dir=str(tmp_path / 'earlier')).train()
    classifier.load_from = str(tmp_path / 'earlier/epoch_3.pth')
    classifier.train_cfg.max_epochs = 1
    expected = ending(train(start(classifier, work_dir=str(tmp_path / 'plain'))))
    with pytest.warns(UserWarning, match=r'the run begins anew, from .*epoch_3\.pth'):
        runner = start(classifier, resume='auto')
    assert_same(ending(train(runner)), expected)
    classifier.train_cfg.max_epochs = 2
    assert train(start(classifier, resume='auto')).iter == 6


def train(runner):
    runner.train()
    return runner


@pytest.mark.parametrize('batch_size', [8, 6, 2])
def test_an_epoch_of_other_batches_is_begun_anew(classifier, start, batch_size, tmp_path):
    """12 images: of 3 batches of 4 the second epoch has seen one, or none."""
    for left_after in (4, 3):
        cfg = copy.deepcopy(classifier)
        cfg.work_dir = str(tmp_path / str(left_after))
        cfg.default_hooks.checkpoint.update(by_epoch=left_after == 3, interval=1)
        runner = start(cfg)
        runner.register_hook(KillAt('after_train_iter', left_after + 1, True))
        with pytest.raises(Killed):
            runner.train()
        cfg.train_dataloader.batch_size = batch_size
        cfg.train_cfg.max_epochs = 2
        resumed = start(cfg, resume=True)
        seen = []
        resumed.model.register_forward_pre_hook(
            lambda module, args, kwargs, seen=seen: (
                seen.extend(kwargs['data_samples']['indices'].tolist())
                if kwargs['mode'] == 'loss'
                else None
            ),
            with_kwargs=True,
        )
        resumed.train()
        assert sorted(seen) == list(range(12))
        (log,) = Path(resumed.log_dir).glob('*.log')
        assert ('the epoch is begun anew' in log.read_text()) == (left_after == 4)


def test_a_checkpoint_of_an_epochs_end_needs_no_note_of_batches(classifier, start):
    """As earlier versions and MMEngine itself write them: 3 batches to the epoch then, 2 now."""
    classifier.train_cfg.max_epochs = 1
    runner = start(classifier)
    runner.register_hook(Forget())
    runner.train()
    classifier.train_dataloader.batch_size = 6
    classifier.train_cfg.max_epochs = 2
    resumed = train(start(classifier, resume=True))
    assert resumed.iter == 3 + 2
    (log,) = Path(resumed.log_dir).glob('*.log')
    assert 'begun anew' not in log.read_text()


class Forget(Hook):
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner, checkpoint):
        del checkpoint['message_hub']['runtime_info']['batches_of_epoch']


def test_accumulation_ends_with_a_run_of_other_batches(classifier, start):
    """MMEngine's count of iterations to the end would be over before the run is."""
    classifier.optim_wrapper.accumulative_counts = 2
    classifier.train_cfg.max_epochs = 2
    start(classifier).train()  # 6 iterations
    classifier.train_dataloader.batch_size = 6
    classifier.train_cfg.max_epochs = 4
    assert train(start(classifier, resume=True)).iter == 6 + 2 * 2


def test_a_schedule_that_holds_a_function_is_resumed(classifier, start, tmp_path):
    classifier.param_scheduler = dict(
        type='OneCycleLR', eta_max=0.1, total_steps=9, by_epoch=False, convert_to_iter_based=False
    )
    through = start(classifier, work_dir=str(tmp_path / 'through'))
    through.train()
    resumed = killed_and_resumed(start, classifier, ('after_train_iter', 5, False))
    assert_same(rates(through), rates(resumed))


def rates(runner):
    return ending(runner)['losses']['train/lr']


NEW_STYLE = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop
from small_runs import assert_same, ending
from torch.utils.data import BatchSampler

train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=2, val_interval=1)
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1))
train_dataloader['sampler'] = dict(type=DefaultSampler, shuffle=True)
train_dataloader['batch_sampler'] = dict(type=BatchSampler, drop_last=False)
"""


def test_classes_in_place_of_names_are_taken_for_what_they_are(classifier, start, tmp_path):
    """Configs of MMEngine's new style hold the classes themselves."""
    settings = '\n'.join(f'{key} = {value!r}' for key, value in classifier.to_dict().items())
    (tmp_path / 'new.py').write_text(settings + NEW_STYLE)
    cfg = Config.fromfile(tmp_path / 'new.py')
    assert cfg.train_cfg.type is EpochBasedTrainLoop
    through = start(cfg, work_dir=str(tmp_path / 'through'))
    assert type(through.train_loop) is EpochLoop
    assert type(through.train_dataloader.batch_sampler) is SeededBatchSampler
    assert SafeCheckpointHook in [type(hook) for hook in through.hooks]
    through.train()
    resumed = killed_and_resumed(start, cfg, ('after_train_iter', 5, False))
    assert_same(ending(through), ending(resumed))


def test_a_sampler_on_the_global_generator_goes_on_where_it_was():
    """``GroupMultiSourceSampler`` draws a group for each batch, in the main process."""

    class Shapes(list):
        def get_data_info(self, index):
            return dict(width=1 + index % 2, height=1 + index % 3 // 2)

    dataset = Shapes(range(40))
    dataset.cumulative_sizes = [20, 40]
    dataset.datasets = [Shapes(range(20)), Shapes(range(20))]

    def batches(start, number):
        sampler = GroupMultiSourceSampler(dataset, batch_size=4, source_ratio=[1, 1], seed=0)
        seeded = SeededBatchSampler(sampler, 4, seed=0)
        seeded.start = start
        np.random.seed(start)  # whatever the run did before
        return [batch.indices for batch in itertools.islice(seeded, number)]

    assert batches(0, 12)[7:] == batches(7, 5)


def test_a_moved_work_dir_is_found(classifier, start, tmp_path):
    start(classifier).train()
    (tmp_path / 'classifier').rename(tmp_path / 'moved')
    assert newest_checkpoint(str(tmp_path / 'moved')) == str(tmp_path / 'moved' / 'epoch_3.pth')


def test_a_copied_work_dir_goes_on_with_its_own_checkpoint(classifier, start, tmp_path):
    start(classifier).train()
    first, copied = tmp_path / 'classifier', tmp_path / 'copied'
    shutil.copytree(first, copied)
    assert (copied / 'last_checkpoint').read_text() == str(first / 'epoch_3.pth')
    with warnings.catch_warnings(action='error'):
        assert newest_checkpoint(str(copied)) == str(copied / 'epoch_3.pth')
    (copied / 'epoch_3.pth').unlink()
    with pytest.warns(UserWarning, match=r'copied/epoch_3\.pth is not there, and .* is taken'):
        assert newest_checkpoint(str(copied)) == str(first / 'epoch_3.pth')
    (first / 'epoch_3.pth').unlink()
    with pytest.warns(UserWarning, match=r'copied/last_checkpoint names .*, and no such file'):
        assert newest_checkpoint(str(copied)) == str(copied / 'epoch_2.pth')


def test_a_run_keeps_the_seed_that_was_drawn_for_it(classifier, start, tmp_path):
    classifier.randomness = dict(seed=None)
    runner = start(classifier)
    runner.register_hook(KillAt('after_train_iter', 5, False))
    with pytest.raises(Killed):
        runner.train()
    resumed = start(classifier, resume=True)
    assert resumed.seed == runner.seed
    resumed.train()
    classifier.randomness = dict(seed=runner.seed)
    through = start(classifier, work_dir=str(tmp_path / 'through'))
    through.train()
    assert_same(ending(through), ending(resumed))


@pytest.mark.parametrize('when', ['written', 'renamed'])
def test_a_kill_while_writing_leaves_what_was_there(classifier, start, monkeypatch, tmp_path, when):
    folder = tmp_path / 'classifier'
    calls = []
    make_durable = files.make_durable

    def dying(partial, path):
        calls.append(path.name)
        if calls.count('epoch_2.pth') == 1 and path.name == 'epoch_2.pth':
            if when == 'written':
                damage(partial, 'cut')
            # What a kill leaves there, which runs no handler.
            shutil.copy(partial, partial.with_name('.killed.pth.partial'))
            raise Killed
        make_durable(partial, path)

    monkeypatch.setattr(files, 'make_durable', dying)
    with pytest.raises(Killed):
        start(classifier).train()
    assert (folder / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert not (folder / 'epoch_2.pth').exists()
    monkeypatch.undo()
    resumed = start(classifier, resume=True)
    resumed.train()
    assert not list(folder.glob('.*'))
    assert sorted(p.name for p in folder.glob('epoch_*')) == ['epoch_2.pth', 'epoch_3.pth']


def test_a_full_disk_loses_nothing_and_the_next_interval_tries_again(
    classifier, start, monkeypatch, tmp_path
):
    def full(partial, path):
        if path.name == 'epoch_2.pth':
            raise OSError(28, 'No space left on device')
        make_durable(partial, path)

    make_durable = files.make_durable
    classifier.default_hooks.checkpoint.max_keep_ckpts = 1
    classifier.default_hooks.checkpoint.save_best = None
    monkeypatch.setattr(files, 'make_durable', full)
    seen = []

    class Look(Hook):
        priority = 'LOWEST'

        def after_train_epoch(self, runner):
            seen.append(sorted(p.name for p in (tmp_path / 'classifier').glob('*.pth')))

    runner = start(classifier)
    runner.register_hook(Look())
    runner.train()
    assert seen == [['epoch_1.pth'], ['epoch_1.pth'], ['epoch_3.pth']]
    (log,) = (tmp_path / 'classifier').glob('*/*.log')
    text = log.read_text()
    assert 'epoch_2.pth could not be written' in text
    assert 'No space left' in text
    assert 'epoch_1.pth stays, training goes on' in text


def test_a_run_whose_last_checkpoint_is_lost_fails(classifier, start, monkeypatch, tmp_path):
    def full(partial, path):
        if path.name == 'epoch_3.pth':
            raise OSError(28, 'No space left on device')
        make_durable(partial, path)

    make_durable = files.make_durable
    monkeypatch.setattr(files, 'make_durable', full)
    classifier.default_hooks.checkpoint.save_best = None
    through = start(classifier, work_dir=str(tmp_path / 'through'))
    with pytest.raises(OSError, match=r'checkpoint was lost.*epoch_2\.pth is the newest; make'):
        through.train()
    monkeypatch.undo()
    resumed = start(classifier, work_dir=str(tmp_path / 'through'), resume=True)
    resumed.train()
    assert (tmp_path / 'through/epoch_3.pth').exists()


def test_another_error_while_saving_is_not_the_disks(classifier, start):
    class Wrong(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            raise RuntimeError('a size mismatch in a hook')

    runner = start(classifier)
    runner.register_hook(Wrong())
    with pytest.raises(RuntimeError, match='a size mismatch'):
        runner.train()


def test_the_best_checkpoint_is_there_until_a_better_one_is(classifier, start, monkeypatch):
    """Whatever is deleted, at every moment the best file that the record names exists."""
    runner = start(classifier)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    removed = []
    remove = LocalBackend.remove

    def watched(self, path):
        best = hook.best_ckpt_path
        removed.append(path)
        assert best is None or (Path(best).exists() and path != best)
        remove(self, path)

    monkeypatch.setattr(LocalBackend, 'remove', watched)
    scores = iter([10.0, 30.0, 20.0])

    class Scores(Hook):
        priority = 'VERY_HIGH'

        def after_val_epoch(self, runner, metrics):
            metrics['accuracy/top1'] = next(scores)

    runner.register_hook(Scores())
    runner.train()
    left = sorted(path.name for path in Path(runner.work_dir).glob('best*'))
    assert left == ['best_accuracy_top1_epoch_2.pth']
    assert any('best_accuracy_top1_epoch_1.pth' in path for path in removed)
