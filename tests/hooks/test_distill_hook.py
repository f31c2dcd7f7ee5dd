"""DistillHook in real runs of MMEngine's runner on generated images."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from small_runs import weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sortkd_det.adapters import RoIHeadAdapter
from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import DistillHook
from sortkd_det.losses import LogitLoss

REPO = Path(__file__).parents[2]


# CTKD: the temperature is a parameter; with ramp=1 its gradient is reversed from the start.
LEARNED = dict(loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature', ramp=1)))
METHODS = sorted(path.stem for path in (REPO / 'configs/_base_/methods').glob('*.py'))


@pytest.fixture
def config(tmp_path, toy_data, random_teacher):
    """The toy SortKD config as a run of seconds in this process."""
    cfg = run_config(
        REPO / 'configs/toy/student.py',
        teacher=str(REPO / 'configs/toy/teacher.py'),
        teacher_checkpoint=str(random_teacher),
        method='sortkd',
        data_root=str(toy_data),
        cfg_options={'check_teacher': None},
        work_dir=str(tmp_path / 'work'),
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers = 0
        loader.persistent_workers = False
    cfg.train_cfg.max_epochs = 1
    cfg.train_cfg.val_interval = 100
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.interval = 1
    cfg.custom_hooks = cfg.custom_hooks[:1]  # without the audit
    cfg.experiment_name = cfg.visualizer.name = tmp_path.name  # one of each per process and name
    return cfg


def train(cfg, name='run'):
    """Run it to its end; returns the runner."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = f'{cfg.experiment_name}-{name}'
    cfg.work_dir = f'{cfg.work_dir}-{name}'
    runner = build_runner(cfg)
    runner.train()
    return runner


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, DistillHook))


def test_with_weight_zero_the_run_is_bit_equal_to_the_student_alone(config):
    """Forward, gradients and random numbers of the student are untouched."""
    config.custom_hooks[0].method[0].weight = 0.0
    config.custom_hooks[0].check_teacher = 4
    distilled = weights(train(config, 'distilled'))
    config.custom_hooks = []
    alone = weights(train(config, 'alone'))
    assert distilled.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(value, distilled[key]), key


def test_the_teacher_is_a_guest(config):
    runner = build_runner(config)
    parameters = sum(1 for _ in runner.model.parameters())
    seen = {}

    class Spy(DistillHook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            super().before_train_iter(runner, batch_idx, data_batch)
            seen['teacher'] = self.adapter.teacher.model
            seen['before'] = copy.deepcopy(seen['teacher'].state_dict())
            seen['modules'] = set(runner.model.modules())
            seen['forwards'] = 0
            seen['copy'] = copy.deepcopy(runner.model)

    hook = hook_of(runner)
    hook.__class__ = Spy
    runner.train()
    teacher = seen['teacher']
    assert sum(1 for _ in runner.model.parameters()) == parameters
    assert not seen['modules'] & set(teacher.modules())
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, seen['before'][key]), key
    optimized = {id(p) for g in runner.optim_wrapper.optimizer.param_groups for p in g['params']}
    assert not optimized & {id(p) for p in teacher.parameters()}
    # A deep copy of the student (EMA, say) neither copies the teacher nor distils.
    copied = [h for m in seen['copy'].modules() for h in m._forward_hooks.values()]
    assert all(not hasattr(h, '__self__') for h in copied)
    # After the run the student is as it was found.
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in runner.model.modules())


def test_a_teacher_whose_norms_are_folded_teaches_the_same(config):
    plain = train(config).model.state_dict()
    config.custom_hooks[0].teacher.fuse_conv_bn = True
    for key, value in train(config, 'folded').model.state_dict().items():
        torch.testing.assert_close(value, plain[key], rtol=1e-3, atol=1e-4)


def test_student_and_teacher_run_once_per_batch(config):
    runner = build_runner(config)
    counts = {'student': 0, 'teacher': 0, 'rpn': 0}

    def count(name):
        def hook(module, *_):
            if module is not runner.model.backbone or module.training:  # validation is not meant
                counts[name] += 1

        return hook

    hook = hook_of(runner)
    join = hook._join

    def joined(student):
        teacher = hook.adapter.teacher.model
        student.backbone.register_forward_hook(count('student'))
        teacher.backbone.register_forward_hook(count('teacher'))
        teacher.rpn_head.register_forward_hook(count('rpn'))
        return join(student)

    hook._join = joined
    runner.train()
    assert counts == {'student': 3, 'teacher': 3, 'rpn': 0}


class Reader(RoIHeadAdapter):
    """An adapter that hands over what it should not."""

    def __init__(self, student, teacher, spoil):
        super().__init__(student, teacher)
        self.spoil = spoil

    def batch(self, inputs, data_samples):
        return self.spoil(super().batch(inputs, data_samples))


def without_graph(batch):
    return replace(batch, student=batch.student.detach())


def second_without_graph(batch):
    return replace(batch, second=without_graph(batch))


def of_sigmoids(batch):
    labels = batch.labels.clamp(max=batch.background - 1)
    return replace(batch, labels=labels, activation='sigmoid', background=None)


def with_a_weight_below_zero(batch):
    batch.weight[3] = -1  # after it was checked: on CUDA nobody looked
    return batch


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (without_graph, r'that Reader has read, \(\d+, 13\), need no gradient: '),
        (second_without_graph, r'that Reader has read, \(\d+, 13\), need no gradient: '),
        (of_sigmoids, "Reader.activation is 'softmax' and its batch has activation='sigmoid'"),
    ],
)
def test_a_batch_that_is_not_what_it_should_be_is_refused_whoever_read_it(config, spoil, message):
    runner = build_runner(config)
    hook_of(runner).adapter_config = {'type': Reader, 'spoil': spoil}
    with pytest.raises(RuntimeError, match=message):
        runner.train()


def test_the_numbers_of_the_first_batch_are_looked_at_on_every_device(config):
    runner = build_runner(config)
    hook_of(runner).adapter_config = {'type': Reader, 'spoil': with_a_weight_below_zero}
    with pytest.raises(ValueError, match=r'weight must hold finite numbers ≥ 0; row 3 has -1'):
        runner.train()
    assert runner.iter == 0


def test_an_adapter_is_chosen_by_its_name(config):
    config.custom_hooks[0].adapter = 'sortkd_det.RoIHeadAdapter'
    assert type(hook_of(train(config)).adapter) is RoIHeadAdapter


@pytest.mark.parametrize(
    ('adapter', 'error', 'message'),
    [
        ('ROIAdapter', KeyError, r"unknown adapter 'ROIAdapter'; registered are: .*RoIHeadAdapter"),
        ({'type': 'RoIHeadAdapter', 'stage': 1}, ValueError, 'teacher, which has 1: .*; got 1'),
        ({'type': 'RoIHeadAdapter', 'level': 1}, TypeError, "adapter RoIHeadAdapter: .*'level'"),
        ('ClassifierAdapter', ValueError, 'and the student is a FasterRCNN'),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(config, adapter, error, message):
    config.custom_hooks[0].adapter = adapter
    with pytest.raises(error, match=message):
        train(config)


@pytest.mark.parametrize('adapter', [{'stage': 1}, 3, ['RoIHeadAdapter']])
def test_an_adapter_is_a_type_or_a_dict_with_one(adapter):
    with pytest.raises(TypeError, match=r"adapter must be dict\(type='RoIHeadAdapter', …\), got"):
        DistillHook({'config': 'teacher.py'}, {'loss': 'KDLoss'}, adapter=adapter)


def test_a_loss_that_is_not_made_for_the_head_is_refused_before_the_first_iteration(config):
    runner = build_runner(config)
    hook_of(runner).method.terms[0].loss.activations = ('sigmoid',)
    with pytest.raises(ValueError, match='KDLoss, in the term KDLoss, is made for a sigmoid'):
        runner.train()
    assert runner.iter == 0


def test_a_loss_without_a_gradient_is_refused(config):
    runner = build_runner(config)
    term = hook_of(runner).method.terms[0]
    term.student_processors = [lambda logits, labels, ignored: logits.detach()]
    with pytest.raises(
        RuntimeError, match='loss_distill of the term KDLoss needs no gradient: nothing'
    ):
        runner.train()


def test_a_forward_that_trains_nobody_may_lack_a_graph(config):
    """A loss of the validation set, say."""
    runner = build_runner(config)
    found = []

    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            data = runner.model.data_preprocessor(data_batch, True)
            with torch.no_grad():
                found.append(runner.model(**data, mode='loss')['loss_distill'])

    runner.register_hook(Look())
    runner.train()
    assert len(found) == 3
    assert all(loss > 0 and not loss.requires_grad for loss in found)


def test_what_a_method_learns_is_trained_saved_apart_and_resumed(config):
    config.custom_hooks[0].method = [LEARNED]
    config.train_cfg.max_epochs = 2
    config.param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True)]
    whole = train(config, 'whole')
    theta = hook_of(whole).method.terms[0].loss.temperature.theta
    assert theta.item() != 1.0
    group = whole.optim_wrapper.optimizer.param_groups[-1]
    assert group['params'][0] is theta
    assert group['lr'] == whole.optim_wrapper.optimizer.param_groups[0]['lr']
    saved = torch.load(f'{whole.work_dir}/epoch_1.pth', weights_only=True)
    assert not any('theta' in key for key in saved['state_dict'])
    assert saved['sortkd_det']['method']['terms.0.loss.temperature.theta'] != 1.0
    plain = len([p for p in whole.model.parameters() if p.requires_grad])
    assert len(saved['optimizer']['state']) == plain
    assert sum(len(g['params']) for g in saved['optimizer']['param_groups']) == plain

    resumed = copy.deepcopy(config)
    resumed.resume = True
    resumed.load_from = f'{whole.work_dir}/epoch_1.pth'
    resumed = train(resumed, 'resumed')
    state = resumed.optim_wrapper.optimizer.state[
        hook_of(resumed).method.terms[0].loss.temperature.theta
    ]
    assert state['step'] == 6  # three before, three after
    assert hook_of(resumed).method.terms[0].loss.temperature.theta.item() != pytest.approx(1.0)
    final = torch.load(f'{resumed.work_dir}/epoch_2.pth', weights_only=True)
    assert set(final['sortkd_det']) == {'method', 'optimizer'}


class CentredLoss(LogitLoss):
    """A loss that remembers where the teacher's logits lay, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.register_buffer('centre', torch.zeros(1))

    def row_losses(self, student, target, labels):
        with torch.no_grad():
            self.centre.lerp_(target.mean(), 0.1)
        return (student - target + self.centre).square().mean(1)


def test_what_a_loss_remembers_is_saved_and_resumed(config):
    config.custom_hooks[0].method = [dict(loss=dict(type=CentredLoss))]
    config.train_cfg.max_epochs = 2
    whole = train(config, 'whole')
    saved = torch.load(f'{whole.work_dir}/epoch_1.pth', weights_only=True)
    assert list(saved['sortkd_det']) == ['method']
    assert float(saved['sortkd_det']['method']['terms.0.loss.centre']) != 0
    resumed = copy.deepcopy(config)
    resumed.resume, resumed.load_from = True, f'{whole.work_dir}/epoch_1.pth'
    resumed = train(resumed, 'resumed')
    centres = [hook_of(run).method.terms[0].loss.centre for run in (whole, resumed)]
    assert torch.equal(*centres)
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[key]), key
    # Another method, which remembers nothing, takes the student and optimizer alone.
    config.custom_hooks[0].method = [dict(loss='KDLoss')]
    config.resume, config.load_from = True, f'{whole.work_dir}/epoch_1.pth'
    assert train(config, 'other').epoch == 2


@pytest.mark.parametrize('name', METHODS)
def test_every_method_config_teaches_a_faster_rcnn(config, name):
    method = Config.fromfile(REPO / f'configs/_base_/methods/{name}.py').method
    config.custom_hooks[0].method = method
    runner = build_runner(config)
    losses, gradients = [], []

    def watch(batch):
        losses.append({key: value.item() for key, value in batch.distill_losses.items()})
        total = sum(batch.distill_losses.values())
        # A method of features reads no logits.
        source = runner.model.neck.lateral_convs[0].conv.weight
        if batch.logits is not None:
            source = batch.logits.student
        gradients.append(torch.autograd.grad(total, source, retain_graph=True)[0])

    hook_of(runner).watchers.append(watch)
    runner.train()
    assert len(losses) == 3
    starts = [term.get('begin', 1) for term in method]
    for batch, gradient in zip(losses, gradients, strict=True):
        assert all(
            value > 0 if start == 1 else value == 0
            for value, start in zip(batch.values(), starts, strict=True)
        ), batch
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    saved = torch.load(f'{runner.work_dir}/epoch_1.pth', weights_only=True)
    config.custom_hooks, config.experiment_name = [], f'{config.experiment_name}-plain'
    build_runner(config).model.load_state_dict(saved['state_dict'])  # the plain student's, strictly
    assert ('sortkd_det' in saved) == ('ctkd' in name)


def test_a_second_view_that_detectors_do_not_have_is_asked_for_in_vain(config):
    config.custom_hooks[0].method = [dict(loss='KDLoss', views='second')]
    with pytest.raises(ValueError, match=r"KDLoss has views='second', and the data gives one"):
        train(config)


def test_a_learned_temperature_is_logged(config):
    config.custom_hooks[0].method = [LEARNED]
    runner = train(config)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert 'temperature: 15.6' in log.read_text()


def test_resuming_a_plain_checkpoint_starts_what_the_method_learns_afresh(config):
    config.custom_hooks[0].method = [LEARNED]
    alone = copy.deepcopy(config)
    alone.custom_hooks = []
    alone = train(alone, 'alone')
    config.resume, config.load_from = True, f'{alone.work_dir}/epoch_1.pth'
    config.train_cfg.max_epochs = 2
    runner = train(config, 'resumed')
    assert runner.epoch == 2
    assert hook_of(runner).method.terms[0].loss.temperature.theta.item() != 1.0


def test_iteration_based_runs_schedule_by_iterations_and_log_to_tensorboard(config):
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=2)
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    config.train_dataloader.batch_sampler = None
    config.param_scheduler = []
    config.default_hooks.checkpoint.by_epoch = False
    config.log_processor.by_epoch = False
    config.custom_hooks[0].method[0].begin = 3
    config.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=1))
    config.visualizer.vis_backends[0].type = 'TensorboardVisBackend'  # the README's line
    runner = build_runner(config)
    losses = []
    hook_of(runner).watchers.append(
        lambda batch: losses.append(batch.distill_losses['loss_distill'].item())
    )
    runner.train()
    (events,) = Path(runner.log_dir).glob('vis_data/events.*')
    tags = EventAccumulator(str(events)).Reload().Tags()['scalars']
    assert {'loss_distill', 'teacher/sorted', 'share/loss_distill'} <= set(tags)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert losses[:2] == [0, 0]
    assert min(losses[2:]) > 0
    assert log.read_text().count('teacher on the training samples, per class') == 2


def test_a_term_whose_weight_never_becomes_whole_is_told(config):
    config.train_cfg.max_epochs = 1
    config.custom_hooks[0].method = [
        dict(loss='KDLoss', name='in time', warmup=1),
        dict(loss='KDLoss', name='too slow', warmup=2),
        dict(loss='KDLoss', name='too late', begin=3),
    ]
    (log,) = Path(train(config).log_dir).glob('*.log')
    told = re.findall(r'WARNING - the term (.*)', log.read_text())
    expected = '{} has its whole weight from epoch {} on, and the run ends after 1'
    assert told == [expected.format('too slow', 2), expected.format('too late', 3)]


@pytest.mark.parametrize('bad', ['nan', 'inf'])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_loss_and_iteration(config, bad):
    config.train_cfg.max_epochs = 2
    runner = build_runner(config)
    hook = hook_of(runner)
    row_losses = hook.method.terms[0].loss.row_losses
    calls = []

    def broken(*args):
        calls.append(1)
        return row_losses(*args) * (float(bad) if len(calls) == 5 else 1)

    hook.method.terms[0].loss.row_losses = broken
    with pytest.raises(FloatingPointError, match=r'iteration 5: losses loss_distill = '):
        runner.train()
    saved = torch.load(f'{runner.work_dir}/epoch_1.pth', weights_only=True)
    assert all(v.isfinite().all() for v in saved['state_dict'].values())


def test_a_run_without_training_builds_no_teacher(config):
    config.custom_hooks[0].teacher.checkpoint = 'does/not/exist.pth'
    runner = build_runner(config)
    assert 'coco/bbox_mAP' in runner.test()
    assert not hasattr(hook_of(runner), 'adapter')
