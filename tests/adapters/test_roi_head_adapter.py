"""Faster R-CNN and its kin: what is read, on real runs of a thin detector on generated images."""

import copy

import pytest
import torch
from torch import nn

from sortkd_det.adapters import RoIHeadAdapter, count_classes
from sortkd_det.distill import Teacher
from sortkd_det.hooks import DistillHook

NUM_ITERS = 2


@pytest.fixture
def short(detector):
    """SortKD for a thin Faster R-CNN: two iterations of two images, nothing else."""
    detector.train_cfg.update(max_iters=NUM_ITERS, val_interval=NUM_ITERS + 1)
    return detector


def distill_hook(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, DistillHook))


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
def test_the_teacher_sees_the_students_rois(short, start, sampler):
    """Student and teacher of equal weights give equal logits: no loss, no gradient.

    OHEM classifies what it chooses from, without a graph, before the head is trained.
    """
    short.model.train_cfg.rcnn.sampler.type = sampler
    runner = start(short)
    hook = distill_hook(runner)
    batches = []
    hook.watchers.append(lambda batch: batches.append(batch))

    def share_weights(runner):
        DistillHook.before_train(hook, runner)
        hook.adapter.teacher.model = copy.deepcopy(runner.model).train()

    hook.before_train = share_weights
    hook.method.terms[0].processors = []
    with pytest.raises(RuntimeError, match="the teacher's weights"):  # not those it began with
        runner.train()
    first = batches[0]
    assert len(first.logits.labels) > 12
    assert torch.equal(first.logits.student.detach(), first.logits.teacher)
    assert first.distill_losses['loss_distill'].item() == 0


def test_ohem_is_distilled_on_the_rois_that_it_chose(short, start):
    """Four images of 64 RoIs each, with the student's graph, as its own loss has them."""
    short.model.train_cfg.rcnn.sampler.update(type='OHEMSampler', num=64)
    ends = {}
    for weight in (0.0, 1.0):
        short.custom_hooks[0].method[0].weight = weight
        runner = start(short)
        batches, own = [], []
        distill_hook(runner).watchers.append(batches.append)
        runner.model.roi_head.bbox_head.loss_cls.register_forward_hook(
            lambda module, args, output, own=own: (
                own.append(args[:3]) if output.dim() == 0 else None
            )
        )
        runner.train()
        ends[weight] = runner.model.state_dict()
        assert len(batches) == len(own) == NUM_ITERS
        for batch, (logits, labels, row_weights) in zip(batches, own, strict=True):
            assert batch.logits.student is logits
            assert torch.equal(batch.logits.labels, labels)
            assert torch.equal(batch.logits.weight, row_weights)
            assert len(labels) == 2 * 64
            assert 0 < (labels < 12).sum() <= 2 * 16
            assert logits.requires_grad
    assert not all(torch.equal(value, ends[1.0][key]) for key, value in ends[0.0].items())


def test_a_head_that_calls_its_loss_twice_is_refused(short, start):
    runner = start(short)
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


def test_a_head_that_passes_its_loss_by_is_refused(short, start):
    """Its logits could not be read, and nothing would be distilled."""
    runner = start(short)
    bbox_head = runner.model.roi_head.bbox_head
    bbox_head.loss_cls._call_impl = bbox_head.loss_cls.forward  # as a call without the module's
    with pytest.raises(
        ValueError, match='StandardRoIHead called its CrossEntropyLoss 0 times, red'
    ):
        runner.train()


@pytest.mark.parametrize(
    'change', [lambda logits: logits + torch.linspace(-3, 3, 13), lambda logits: logits.flip(0)]
)
def test_a_head_whose_loss_sees_other_logits_than_it_made_is_refused(short, start, change):
    """Logits that are adjusted to frequent classes, or rows that are shuffled with their labels:
    the teacher's would be those of the RoIs as they are.
    """
    runner = start(short)
    bbox_head = runner.model.roi_head.bbox_head
    loss = bbox_head.loss
    bbox_head.loss = lambda cls_score, *args, **kwargs: loss(change(cls_score), *args, **kwargs)
    message = r'gave its CrossEntropyLoss other logits than those that its \w+ made of the RoIs'
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_a_head_that_copies_its_logits_for_its_loss_is_read(short, start):
    runner = start(short)
    bbox_head = runner.model.roi_head.bbox_head
    loss = bbox_head.loss
    bbox_head.loss = lambda cls_score, *args, **kwargs: loss(cls_score * 1, *args, **kwargs)
    runner.train()


def test_ground_truth_boxes_are_found_among_the_rois(short, start):
    runner = start(short)
    hook = distill_hook(runner)
    found = []

    def watch(batch):
        truth = batch.logits.find_ground_truth()
        labels = batch.logits.labels
        found.append((int(truth.sum()), labels[truth], batch.logits.background))

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


def count_batches(short, start):
    """Train; the number of batches that were distilled, each with a loss > 0."""
    losses = []
    runner = start(short)
    distill_hook(runner).watchers.append(
        lambda batch: losses.append(batch.distill_losses['loss_distill'].item())
    )
    runner.train()
    assert min(losses) > 0
    return len(losses)


def test_double_head_calls_its_roi_extractor_twice_and_is_read_once(short, start):
    roi_head = short.model.roi_head
    roi_head.type = 'DoubleHeadRoIHead'
    roi_head.reg_roi_scale_factor = 1.3
    roi_head.bbox_head = dict(
        type='DoubleConvFCBBoxHead', num_convs=1, num_fcs=1, in_channels=64,
        conv_out_channels=64, fc_out_channels=64, roi_feat_size=7, num_classes=12,
        bbox_coder=roi_head.bbox_head.bbox_coder, reg_class_agnostic=False,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=2.0),
    )  # fmt: skip
    assert count_batches(short, start) == NUM_ITERS


@pytest.mark.parametrize('own_extractor', [True, False])
def test_mask_rcnn_is_read_by_its_box_head(short, start, own_extractor):
    short.model.type = 'MaskRCNN'
    roi_head = short.model.roi_head
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
    short.model.train_cfg.rcnn.mask_size = 28 if own_extractor else 14
    short.model.train_cfg.rcnn.pos_weight = -1
    short.model.test_cfg.rcnn.mask_thr_binary = 0.5
    for loader in (short.train_dataloader, short.val_dataloader):
        for transform in loader.dataset.pipeline:
            if transform.type == 'LoadAnnotations':
                transform.with_mask = True
    assert count_batches(short, start) == NUM_ITERS


def test_a_teacher_in_bfloat16_teaches_almost_the_same(short, start):
    """Backbone, neck and box head in its own autocast; RoIAlign, which has none, in float32."""
    seen = {}
    for dtype in (None, 'bfloat16'):
        short.custom_hooks[0].teacher['dtype'] = dtype
        runner = start(short)
        caught = []
        distill_hook(runner).watchers.append(lambda batch, into=caught: into.append(batch.logits))
        runner.train()
        seen[dtype] = caught[0]
    assert torch.equal(seen[None].student, seen['bfloat16'].student)
    difference = (seen[None].teacher - seen['bfloat16'].teacher.float()).abs().max()
    assert 0 < difference < 0.1


# -- by itself ---------------------------------------------------------------


def heads(*num_classes):
    """A detector with these box heads; of several it is a cascade."""
    made = [nn.Module() for _ in num_classes]
    for head, number in zip(made, num_classes, strict=True):
        head.num_classes = number
    model = nn.Module()
    model.roi_head = nn.Module()
    model.roi_head.bbox_head = made[0] if len(made) == 1 else nn.ModuleList(made)
    return model


def test_classes_are_counted_in_the_box_head_and_in_each_stage_of_a_cascade():
    assert count_classes(heads(7)) == {'roi_head.bbox_head.num_classes': 7}
    assert RoIHeadAdapter.count_classes(heads(7, 8)) == {
        'roi_head.bbox_head[0].num_classes': 7,
        'roi_head.bbox_head[1].num_classes': 8,
    }
    assert RoIHeadAdapter.count_classes(nn.Identity()) == {}


def test_both_models_must_have_box_heads():
    assert RoIHeadAdapter.accepts(heads(7), heads(7))
    assert not RoIHeadAdapter.accepts(heads(7), nn.Identity())
    assert not RoIHeadAdapter.accepts(nn.Identity(), heads(7))


def test_without_rois_the_batch_has_no_rows_and_a_graph(short, start):
    runner = start(short)
    teacher_config = distill_hook(runner).teacher_config
    adapter = RoIHeadAdapter(runner.model, Teacher(**teacher_config))
    adapter.attach()
    levels = [torch.zeros(1, 64, 8, 8) for _ in range(4)]
    runner.model.roi_head.bbox_roi_extractor(levels, torch.zeros(0, 5))
    batch = adapter.batch(torch.zeros(1, 3, 64, 64), [])
    assert batch.student.shape == batch.teacher.shape == (0, 13)
    assert batch.student.requires_grad
    assert len(batch.find_ground_truth()) == 0
