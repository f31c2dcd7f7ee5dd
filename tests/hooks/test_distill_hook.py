"""DistillHook in real runs of MMEngine's runner on generated images."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sortkd_det.adapters.roi_head_adapter import RoIHeadAdapter
from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import DistillHook

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


def weights(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


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


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
def test_the_teacher_sees_the_students_rois(config, sampler):
    """Student and teacher of equal weights give equal logits: no loss, no gradient.

    OHEM classifies what it chooses from, without a graph, before the head is trained.
    """
    config.model.train_cfg.rcnn.sampler.type = sampler
    runner = build_runner(config)
    hook = hook_of(runner)
    pairs = []
    hook.watchers.append(lambda batch: pairs.append(batch))

    def share_weights(runner):
        DistillHook.before_train(hook, runner)
        hook.adapter.teacher.model = copy.deepcopy(runner.model).train()
        hook.adapter.teacher_head = hook.adapter.teacher.model.roi_head

    hook.before_train = share_weights
    hook.method.terms[0].processors = []
    with pytest.raises(RuntimeError, match="the teacher's weights"):  # not those it began with
        runner.train()
    first = pairs[0]
    assert len(first.pairs.labels) > 12
    assert torch.equal(first.pairs.student.detach(), first.pairs.teacher)
    assert first.distill_losses['loss_distill'].item() == 0


def test_ohem_is_distilled_on_the_rois_that_it_chose(config):
    """Four images of 64 RoIs each, with the student's graph, as its own loss has them."""
    config.model.train_cfg.rcnn.sampler.update(type='OHEMSampler', num=64)
    ends = {}
    for weight in (0.0, 1.0):
        config.custom_hooks[0].method[0].weight = weight
        config.experiment_name = f'{config.experiment_name}-{weight}'
        runner = build_runner(config)
        batches, own = [], []
        hook_of(runner).watchers.append(batches.append)
        runner.model.roi_head.bbox_head.loss_cls.register_forward_hook(
            lambda module, args, output, own=own: (
                own.append(args[:3]) if output.dim() == 0 else None
            )
        )
        runner.train()
        ends[weight] = weights(runner)
        assert len(batches) == len(own) == 3
        for batch, (logits, labels, row_weights) in zip(batches, own, strict=True):
            assert batch.pairs.student is logits
            assert torch.equal(batch.pairs.labels, labels)
            assert torch.equal(batch.pairs.weight, row_weights)
            assert len(labels) == 4 * 64
            assert 0 < (labels < 12).sum() <= 4 * 16
            assert logits.requires_grad
    assert not all(torch.equal(value, ends[1.0][key]) for key, value in ends[0.0].items())


class Reader(RoIHeadAdapter):
    """An adapter that hands over what it should not."""

    spoil = staticmethod(lambda pairs: None)

    def pairs(self, inputs, data_samples):
        pairs = super().pairs(inputs, data_samples)
        self.spoil(pairs)
        return pairs


def without_graph(pairs):
    pairs.student = pairs.student.detach()


def second_without_graph(pairs):
    pairs.second = dataclasses.replace(pairs, student=pairs.student.detach())


@pytest.mark.parametrize('spoil', [without_graph, second_without_graph])
def test_logits_without_a_graph_are_refused_whoever_read_them(config, monkeypatch, spoil):
    monkeypatch.setattr('sortkd_det.hooks.distill_hook.find_adapter', lambda model: Reader)
    monkeypatch.setattr(Reader, 'spoil', staticmethod(spoil))
    runner = build_runner(config)
    with pytest.raises(
        RuntimeError, match=r'that Reader has read, \(\d+, 13\), need no gradient: '
    ):
        runner.train()


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


def test_a_head_that_calls_its_loss_twice_is_refused(config):
    runner = build_runner(config)
    loss_cls = runner.model.roi_head.bbox_head.loss_cls
    forward = loss_cls.forward
    again = []

    def twice(*args, **kwargs):
        if not again:
            again.append(True)
            loss_cls(*args, **kwargs)
        return forward(*args, **kwargs)

    loss_cls.forward = twice
    with pytest.raises(
        ValueError, match='StandardRoIHead called its CrossEntropyLoss 2 times, red'
    ):
        runner.train()


def test_a_head_that_passes_its_loss_by_is_refused(config):
    """Its logits could not be read, and nothing would be distilled."""
    runner = build_runner(config)
    bbox_head = runner.model.roi_head.bbox_head
    bbox_head.loss_cls._call_impl = bbox_head.loss_cls.forward  # as a call without the module's
    with pytest.raises(
        ValueError, match='StandardRoIHead called its CrossEntropyLoss 0 times, red'
    ):
        runner.train()


def test_ground_truth_boxes_are_found_among_the_rois(config):
    runner = build_runner(config)
    hook = hook_of(runner)
    found = []

    def watch(batch):
        truth = batch.pairs.find_ground_truth()
        labels = batch.pairs.labels
        found.append((int(truth.sum()), labels[truth], batch.pairs.background))

    hook.watchers.append(watch)
    boxes = []
    runner.model.register_forward_pre_hook(
        lambda m, a, k: (
            boxes.append(
                sorted(label for s in k['data_samples'] for label in s.gt_instances.labels.tolist())
            )
            if m.training
            else None
        ),
        with_kwargs=True,
    )
    runner.train()
    for (count, labels, background), expected in zip(found, boxes, strict=True):
        assert count == len(expected)  # the sampler adds each of them once
        assert sorted(labels.tolist()) == expected
        assert background not in expected


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


@pytest.mark.parametrize('name', METHODS)
def test_every_method_config_teaches_a_faster_rcnn(config, name):
    method = Config.fromfile(REPO / f'configs/_base_/methods/{name}.py').method
    config.custom_hooks[0].method = method
    runner = build_runner(config)
    losses, gradients = [], []

    def watch(batch):
        losses.append({key: value.item() for key, value in batch.distill_losses.items()})
        total = sum(batch.distill_losses.values())
        (gradient,) = torch.autograd.grad(total, batch.pairs.student, retain_graph=True)
        gradients.append(gradient)

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


def count_pairs(config):
    """Train; the number of batches that were distilled, each with a loss > 0."""
    losses = []
    runner = build_runner(config)
    hook_of(runner).watchers.append(
        lambda batch: losses.append(batch.distill_losses['loss_distill'].item())
    )
    runner.train()
    assert min(losses) > 0
    return len(losses)


def test_double_head_calls_its_roi_extractor_twice_and_is_read_once(config):
    roi_head = config.model.roi_head
    roi_head.type = 'DoubleHeadRoIHead'
    roi_head.reg_roi_scale_factor = 1.3
    roi_head.bbox_head = dict(
        type='DoubleConvFCBBoxHead', num_convs=1, num_fcs=1, in_channels=64,
        conv_out_channels=64, fc_out_channels=64, roi_feat_size=7, num_classes=12,
        bbox_coder=roi_head.bbox_head.bbox_coder, reg_class_agnostic=False,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=2.0),
    )  # fmt: skip
    assert count_pairs(config) == 3


@pytest.mark.parametrize('own_extractor', [True, False])
def test_mask_rcnn_is_read_by_its_box_head(config, own_extractor):
    config.model.type = 'MaskRCNN'
    roi_head = config.model.roi_head
    if own_extractor:
        roi_head.mask_roi_extractor = {
            **roi_head.bbox_roi_extractor,
            'roi_layer': dict(type='RoIAlign', output_size=14, sampling_ratio=1),
        }
    roi_head.mask_head = dict(
        type='FCNMaskHead', num_convs=1, in_channels=64, conv_out_channels=16, num_classes=12,
        roi_feat_size=14 if own_extractor else 7,
        loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
    )  # fmt: skip
    config.model.train_cfg.rcnn.mask_size = 28 if own_extractor else 14
    config.model.train_cfg.rcnn.pos_weight = -1
    config.model.test_cfg.rcnn.mask_thr_binary = 0.5
    for loader in (config.train_dataloader, config.val_dataloader):
        for transform in loader.dataset.pipeline:
            if transform.type == 'LoadAnnotations':
                transform.with_mask = True
    assert count_pairs(config) == 3


def test_a_teacher_in_bfloat16_teaches_almost_the_same(config):
    """Backbone, neck and box head in its own autocast; RoIAlign, which has none, in float32."""
    seen = {}
    for dtype in (None, 'bfloat16'):
        config.custom_hooks[0].teacher['dtype'] = dtype
        runner = build_runner(config)
        caught = []
        hook_of(runner).watchers.append(lambda batch, caught=caught: caught.append(batch.pairs))
        config.experiment_name = f'{config.experiment_name}-half'
        runner.train()
        seen[dtype] = caught[0]
    assert torch.equal(seen[None].student, seen['bfloat16'].student)
    difference = (seen[None].teacher - seen['bfloat16'].teacher.float()).abs().max()
    assert 0 < difference < 0.1
