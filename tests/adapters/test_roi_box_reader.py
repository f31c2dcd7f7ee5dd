"""The box loss of two-stage students with their teachers' boxes for truth, and the term of it."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from test_roi_families import SAMPLED, adapter_of, heads_of
from thin_detectors import ROI, forward, guest_of, prepared, student_of, teacher_of, total

from sortkd_det.adapters import build_adapter
from sortkd_det.distill import ClassMap, Method
from sortkd_det.distill.config import read_config

IMAGES = dict(sizes=((96, 96), (64, 96)), objects=(3, 2))
OFFSETS = frozenset({'offsets'})
# SABL says boxes in buckets, Grid R-CNN by points.
MUTE = {'SABL', 'SABL Cascade', 'Grid R-CNN'}


def decided(model):
    """The model, whose boxes are far from the RoIs; those of a new head are the RoIs themselves."""
    for head in heads_of(model):
        with torch.no_grad():
            head.fc_reg.weight.mul_(100)
    return model


def pair(student='Faster R-CNN', teacher=None):
    teacher = teacher_of(teacher or student)
    return decided(student_of(student)), guest_of(
        decided(copy.deepcopy(teacher.model)), teacher_name(teacher)
    )


def teacher_name(teacher):
    return next(name for name in ROI if teacher_of(name) is teacher)


def watch_boxes(model):
    """What each stage's ``loss_bbox`` is given: a dict of (boxes, truth, weight, divisor)."""
    calls = {}

    def see(stage):
        def hook(module, args, kwargs):
            calls[stage] = (*args[:3], kwargs['avg_factor'])

        return hook

    for stage, head in enumerate(heads_of(model)):
        head.loss_bbox.register_forward_pre_hook(see(stage), with_kwargs=True)
    return calls


def shifted(box, offsets, stds):
    """A box moved and scaled by offsets, spelled for one."""
    dx, dy, dw, dh = (float(x) * std for x, std in zip(offsets, stds, strict=True))
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + dx * width, (y1 + y2) / 2 + dy * height
    width, height = width * torch.tensor(dw).exp(), height * torch.tensor(dh).exp()
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def offsets_to(box, other, stds):
    """The inverse: what moves ``box`` to ``other``."""
    (x1, y1, x2, y2), (a1, b1, a2, b2) = map(torch.Tensor.tolist, (box, other))
    found = torch.tensor(
        [
            (a1 + a2 - x1 - x2) / 2 / (x2 - x1),
            (b1 + b2 - y1 - y2) / 2 / (y2 - y1),
            torch.tensor((a2 - a1) / (x2 - x1)).log(),
            torch.tensor((b2 - b1) / (y2 - y1)).log(),
        ]
    )
    return found / torch.tensor(stds)


def said_boxes(model, inputs, rois, labels, stages):
    """The teacher's boxes, row by row, each stage at the boxes of the one before."""
    features = model.extract_feat(inputs)
    for stage in stages:
        head, extractor = heads_of(model)[stage], model.roi_head.bbox_roi_extractor
        extractor = extractor[stage] if isinstance(extractor, torch.nn.ModuleList) else extractor
        offsets = head(extractor(features[: extractor.num_inputs], rois))[1]
        if not head.reg_class_agnostic:
            offsets = torch.stack(
                [row[4 * at : 4 * at + 4] for row, at in zip(offsets, labels, strict=True)]
            )
        rows = zip(rois[:, 1:], offsets, strict=True)
        boxes = torch.stack([shifted(box, row, head.bbox_coder.stds) for box, row in rows])
        rois = torch.cat([rois[:, :1], boxes], 1)
    return rois[:, 1:]


@pytest.mark.parametrize(
    ('student', 'teacher', 'stages'),
    [
        ('Faster R-CNN', 'Faster R-CNN', [[0]]),
        ('Faster R-CNN', 'Cascade R-CNN', [[0, 1, 2]]),
        ('Cascade R-CNN', 'Cascade R-CNN', [[0], [1], [2]]),
        ('Cascade R-CNN', 'Faster R-CNN', [[0], [0], [0]]),
    ],
)
@torch.no_grad()
def test_the_loss_is_the_students_own_between_both_boxes(student, teacher, stages):
    """Spelled row by row; a cascade's last stage teaches a student of one. Cascades have boxes of
    no class, and each stage its own units.
    """
    student, teacher = pair(student, teacher)
    weights = student.roi_head.stage_loss_weights if len(stages) > 1 else [1.0]
    calls, rois = watch_boxes(student), []
    inputs, samples = prepared(student, 'Faster R-CNN', **IMAGES)
    with torch.enable_grad():
        batch, _ = forward(adapter_of(student, teacher), inputs, samples)
    expected, first = 0, 0
    places, labels = batch.find_places(), batch.labels
    for stage, (head, weight) in enumerate(zip(heads_of(student), weights, strict=True)):
        boxes, truth, row_weights, divisor = calls[stage]
        here = slice(first, first + int(divisor))  # as many as there are RoIs in the stage
        first = here.stop
        positive = labels[here] < head.num_classes
        rois, classes = places[here][positive], labels[here][positive]
        assert 3 < len(rois) == len(boxes)
        seen = said_boxes(teacher.model, inputs, rois, classes.tolist(), stages[stage])
        stds = head.bbox_coder.stds
        wanted = torch.stack(
            [offsets_to(*row, stds) for row in zip(rois[:, 1:], seen, strict=True)]
        )
        beta = getattr(head.loss_bbox, 'beta', 0)
        error = (boxes - wanted).abs()
        rows = torch.where(error < beta, error.square() / 2 / max(beta, 1e-9), error - beta / 2)
        expected += weight * (rows * row_weights).sum() / divisor * head.loss_bbox.loss_weight
        assert not torch.allclose(wanted, truth, atol=0.1)
    assert first == len(labels)
    found = batch.find_box_loss(False)
    assert expected > 0.01
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    student = decided(student_of('Cascade R-CNN'))
    teacher = guest_of(copy.deepcopy(student).eval(), 'Cascade R-CNN')
    batch, losses = forward(
        adapter_of(student, teacher), *prepared(student, 'Cascade R-CNN', **IMAGES)
    )
    loss = batch.find_box_loss(False)
    assert loss.item() < 1e-4 < total(losses).item()
    assert loss.requires_grad


def test_a_cascade_of_one_stage_weighs_as_in_its_own_loss():
    """Its logits and its boxes."""
    student, teacher = pair('Cascade R-CNN')
    head = student.roi_head
    head.num_stages, head.bbox_head = 1, head.bbox_head[:1]
    head.bbox_roi_extractor = head.bbox_roi_extractor[:1]
    data = prepared(student, 'Cascade R-CNN', **IMAGES)
    found = []
    for head.stage_loss_weights in ([1.0], [0.25]):
        torch.manual_seed(0)  # the same RoIs are sampled
        batch, losses = forward(adapter_of(student, teacher), *data)
        distilled = Method([dict(loss='KDLoss'), dict(type='BoxTerm')])(batch, 1)
        found.append(torch.stack([losses['s0.loss_bbox'], *distilled.values()]))
    assert found[0].all()
    torch.testing.assert_close(found[1], found[0] / 4)


def test_a_loss_of_single_rows_has_its_mean_taken_as_the_students_own():
    student, teacher = pair()
    calls = watch_boxes(student)
    batch, _ = forward(adapter_of(student, teacher), *prepared(student, 'Faster R-CNN', **IMAGES))
    ((boxes, _, _, divisor),) = calls.values()
    whole = batch.find_box_loss(False)
    student.roi_head.bbox_head.loss_bbox.reduction = 'none'
    torch.testing.assert_close(batch.find_box_loss(False), whole * divisor / boxes.numel())


def test_what_a_teacher_makes_of_the_images_is_made_once():
    """HTC's semantic head, of all stages' logits and boxes."""
    student, teacher = student_of('HTC'), teacher_of('HTC')
    runs = []
    handle = teacher.model.roi_head.semantic_head.register_forward_hook(
        lambda *_: runs.append(torch.is_grad_enabled())
    )
    batch, _ = forward(adapter_of(student, teacher), *prepared(student, 'HTC'))
    assert batch.find_box_loss(False).item() > 0
    handle.remove()
    assert runs == [False]


def test_the_bound_leaves_rows_where_the_teacher_knows_it_worse():
    """Of each row the truth is nearer to one of both; those of the student are left alone."""
    student, teacher = pair()
    calls = watch_boxes(student)
    batch, _ = forward(adapter_of(student, teacher), *prepared(student, 'Faster R-CNN', **IMAGES))
    loss, bounded = batch.find_box_loss(False), batch.find_box_loss(True)
    ((boxes, truth, _, _),) = calls.values()
    every, some = (
        torch.autograd.grad(each, boxes, retain_graph=True)[0] for each in (loss, bounded)
    )
    taught = some.abs().sum(1) > 0
    assert 0 < taught.sum() < len(boxes)
    assert torch.equal(some[taught], every[taught])
    # The step of an L1 loss points to the teacher's box: where that is farther than the truth on
    # every side, the row cannot be among those that are taught.
    head = student.roi_head.bbox_head
    positive = batch.labels < head.num_classes
    rois, labels = batch.find_places()[positive], batch.labels[positive]
    with torch.no_grad():
        inputs, _ = prepared(student, 'Faster R-CNN', **IMAGES)
        seen = said_boxes(teacher.model, inputs, rois, labels.tolist(), [0])
        wanted = head.bbox_coder.encode(rois[:, 1:], seen)
    nearer = (wanted - truth).abs().sum(1) < (boxes.detach() - truth).abs().sum(1)
    assert torch.equal(taught, nearer)


def test_a_loss_of_whole_boxes_has_whole_boxes_for_truth():
    student, teacher = pair()
    head = student.roi_head.bbox_head
    head.reg_decoded_bbox = True
    head.loss_bbox = MODELS.build(dict(type='GIoULoss', loss_weight=10.0))
    calls = watch_boxes(student)
    inputs, samples = prepared(student, 'Faster R-CNN', **IMAGES)
    batch, _ = forward(adapter_of(student, teacher), inputs, samples)
    ((boxes, _, weight, divisor),) = calls.values()
    positive = batch.labels < head.num_classes
    with torch.no_grad():
        rois, labels = batch.find_places()[positive], batch.labels[positive].tolist()
        seen = said_boxes(teacher.model, inputs, rois, labels, [0])
    expected = head.loss_bbox.forward(boxes, seen, weight, avg_factor=divisor)
    assert batch.find_box_loss(False).item() == pytest.approx(expected.item(), rel=1e-4)
    assert batch.find_box_loss(True).item() < expected.item()


def test_a_class_that_the_teacher_lacks_teaches_no_box():
    student, teacher = pair()
    calls = watch_boxes(student)
    # What the student calls 0 is the teacher's 2; its 1 is none of the teacher's.
    teacher.class_map = ClassMap('abc', 'xca', None, 'ignore')
    inputs, samples = prepared(student, 'Faster R-CNN', **IMAGES)
    batch, _ = forward(adapter_of(student, teacher), inputs, samples)
    ((boxes, *_),) = calls.values()
    labels = batch.labels[batch.labels < 3]
    assert {0, 1, 2} >= set(labels.tolist()) > {1}
    (slope,) = torch.autograd.grad(batch.find_box_loss(False), boxes, retain_graph=True)
    assert torch.equal(slope.abs().sum(1) > 0, labels != 1)
    own = torch.tensor([2, -1, 1])
    rois = batch.find_places()[batch.labels < 3]
    with torch.no_grad():
        seen = said_boxes(teacher.model, inputs, rois, own[labels].clamp(min=0).tolist(), [0])
        wanted = student.roi_head.bbox_head.bbox_coder.encode(rois[:, 1:], seen)
    known = labels != 1
    assert torch.equal(slope[known].sign(), (boxes.detach() - wanted)[known].sign())


def test_half_precision_leaves_boxes_where_they_are():
    student, teacher = pair()
    data = prepared(student, 'Faster R-CNN', **IMAGES)
    losses = []
    for teacher.dtype in (None, 'bfloat16'):
        torch.manual_seed(0)  # the same RoIs are sampled
        batch, _ = forward(adapter_of(student, teacher), *data)
        losses.append(batch.find_box_loss(False))
    whole, half = losses
    assert half.dtype == torch.float32
    assert half.item() != whole.item()
    assert half.item() == pytest.approx(whole.item(), rel=0.02)


@pytest.mark.parametrize('name', ['Faster R-CNN', 'Cascade R-CNN'])
def test_images_without_objects_teach_no_box(name):
    student, teacher = pair(name)
    data = prepared(student, name, objects=(0, 0))
    batch, losses = forward(build_adapter(None, student, teacher, OFFSETS), *data)
    (loss,) = Method(dict(type='BoxTerm')).forward(batch, 1).values()
    assert loss.item() == 0
    (total(losses) + loss).backward()
    gradient = heads_of(student)[0].fc_reg.weight.grad
    assert gradient is not None
    assert not gradient.any()


@pytest.mark.parametrize('name', SAMPLED)
def test_boxes_are_taught_where_heads_say_offsets(name):
    student, teacher = student_of(name), teacher_of(name)
    if name not in MUTE:
        batch, _ = forward(build_adapter(None, student, teacher, OFFSETS), *prepared(student, name))
        loss = batch.find_box_loss(False)
        assert loss.item() > 0
        loss.backward()
        assert all(head.fc_reg.weight.grad.abs().sum() > 0 for head in heads_of(student))
        return
    with pytest.raises(ValueError, match='has a BoxTerm, and RoIHeadAdapter reads no offsets of'):
        build_adapter(None, student, teacher, OFFSETS)


@pytest.mark.parametrize(
    ('name', 'adapter'),
    [
        ('RetinaNet', 'DenseHeadAdapter'),
        ('DETR', 'ObjectAdapter'),
        ('Sparse R-CNN', 'ObjectAdapter'),
    ],
)
def test_other_heads_have_no_such_boxes(name, adapter):
    with pytest.raises(ValueError, match=f'has a BoxTerm, and {adapter} reads no offsets'):
        build_adapter(None, student_of(name), teacher_of(name), OFFSETS)


@pytest.mark.parametrize(('name', 'stage'), [('Faster R-CNN', 0), ('Cascade R-CNN', 2)])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda args: (args[0].flip(0), *args[1:]),
            'on rows that are not what it said of the RoIs',
        ),
        (lambda args: tuple(each[1:] for each in args), r'on \[\d+\] rows, reduced and with grad'),
    ],
)
def test_a_head_that_loses_other_rows_is_refused(change, message, name, stage):
    """In each stage: the first are as they should be."""
    student, teacher = pair(name)
    adapter = adapter_of(student, teacher)
    heads_of(student)[stage].loss_bbox.register_forward_pre_hook(
        lambda module, args: change(args), prepend=True
    )
    batch, _ = forward(adapter, *prepared(student, name, **IMAGES))
    with pytest.raises(ValueError, match=f'Shared2FCBBoxHead called its loss_bbox {message}'):
        batch.find_box_loss(False)


# -- the term ----------------------------------------------------------------


def test_the_term_scales_the_loss_on_its_schedule():
    student, teacher = pair()
    batch, _ = forward(adapter_of(student, teacher), *prepared(student, 'Faster R-CNN', **IMAGES))
    loss, bounded = batch.find_box_loss(False).item(), batch.find_box_loss(True).item()
    terms = [dict(loss='KDLoss'), dict(type='BoxTerm', weight=0.5, begin=2, warmup=2, bounded=True)]
    method = Method(terms)
    assert method.needs == {'classes', 'offsets'}
    found = [method(batch, now)['loss_distill_1'].item() for now in (1, 2, 3)]
    assert found == [0, pytest.approx(bounded / 4), pytest.approx(bounded / 2)]
    assert Method(dict(type='BoxTerm'))(batch, 1)['loss_distill'].item() == loss


def test_boxes_that_a_batch_lacks_are_missed_when_they_are_asked_for():
    student, teacher = student_of('RetinaNet'), teacher_of('RetinaNet')
    batch, _ = forward(build_adapter(None, student, teacher), *prepared(student, 'RetinaNet'))
    method = Method(dict(type='BoxTerm', begin=2))
    assert method(batch, 1)['loss_distill'].item() == 0
    with pytest.raises(ValueError, match='BoxTerm is about boxes, and the batch has no find_box_'):
        method(batch, 2)


def test_the_method_by_its_name_is_kd_and_boxes():
    method = Method(read_config('configs/_base_/methods/kd_box.py').method)
    assert [term.of for term in method.terms] == ['classes', 'offsets']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(bounded='yes'), "bounded must be True or False, got 'yes'"),
        (dict(weight=-1.0), 'weight must be'),
        (dict(loss='KDLoss'), 'loss'),
    ],
)
def test_arguments_of_the_term_are_checked(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Method(dict(type='BoxTerm', **options))
