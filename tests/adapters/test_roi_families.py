"""RoI heads of all kinds: cascades, PISA, TridentNet, Sparse R-CNN; on thin networks."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps as box_iou
from thin_detectors import (
    ROI,
    Family,
    build,
    forward,
    guest_of,
    images,
    prepared,
    student_of,
    teacher_of,
)
from torch import nn

from sortkd_det.adapters import ObjectAdapter, RoIHeadAdapter, build_adapter, find_adapter
from sortkd_det.adapters.sparse_roi_head import see_by_stages
from sortkd_det.distill import Method
from sortkd_det.hooks import DistilledBatch
from sortkd_det.hooks.teacher_audit_hook import count_by_class, gradient_norms

CASCADES = ['Cascade R-CNN', 'Cascade Mask R-CNN', 'SABL Cascade', 'HTC', 'SCNet']
SPARSE = ['Sparse R-CNN', 'QueryInst']
SAMPLED = [name for name in ROI if name not in SPARSE]
BACKGROUND = 3


def adapter_of(student, teacher, **options):
    return build_adapter({'type': RoIHeadAdapter, **options}, student, teacher)


def heads_of(model):
    heads = model.roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def watch_losses(model):
    """What each stage's ``loss_cls`` is given for a loss: a dict of (logits, labels, weight)."""
    calls = {}

    def see(stage):
        def hook(module, args, kwargs, output):
            if output.dim() == 0 and output.requires_grad:
                calls[stage] = args[:3]

        return hook

    for stage, head in enumerate(heads_of(model)):
        head.loss_cls.register_forward_hook(see(stage), with_kwargs=True)
    return calls


def logits_of(model, stage, features, rois):
    """A stage's logits, put together from its parts."""
    head = model.roi_head
    single = not isinstance(head.bbox_head, nn.ModuleList)
    extractor = head.bbox_roi_extractor if single else head.bbox_roi_extractor[stage]
    return heads_of(model)[stage](extractor(features[: extractor.num_inputs], rois))[0]


# -- rows --------------------------------------------------------------------


@pytest.mark.parametrize('name', SAMPLED)
def test_rows_are_those_that_the_heads_own_loss_saw(name):
    """To the bit, stage by stage; each with its label, and its weight times the stage's. The
    teacher sees the same RoIs: with equal weights it says the same.
    """
    student = student_of(name)
    teacher = guest_of(copy.deepcopy(student).eval(), name)
    calls = watch_losses(student)
    batch, _ = forward(adapter_of(student, teacher), *prepared(student, name))
    logits, labels, weights = zip(*(calls[stage] for stage in sorted(calls)), strict=True)
    assert torch.equal(batch.student, torch.cat(logits))
    assert torch.equal(batch.labels, torch.cat(labels))
    assert (batch.labels != BACKGROUND).any()
    if name != 'TridentNet':  # in eval mode it has one branch
        assert torch.equal(batch.student.detach(), batch.teacher)
    if len(calls) == 1:
        assert batch.student is logits[0]
        assert torch.equal(batch.weight, weights[0])
        assert not batch.sources
        return
    shares = student.roi_head.stage_loss_weights
    weights = [3 * share * weight for share, weight in zip(shares, weights, strict=True)]
    assert torch.equal(batch.weight, torch.cat(weights))
    assert all(source is seen for source, seen in zip(batch.sources, logits, strict=True))


def test_each_branch_of_a_trident_is_taught_on_the_image_itself():
    """In eval mode there is one branch, the second; RoIAlign reads on where there is no image."""
    student = student_of('TridentNet')
    teacher = guest_of(copy.deepcopy(student).eval(), 'TridentNet')
    seen = []
    extractor = student.roi_head.bbox_roi_extractor
    extractor.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    inputs, samples = prepared(student, 'TridentNet')
    batch, _ = forward(adapter_of(student, teacher), inputs, samples)
    (rois,) = seen
    assert set(rois[:, 0].tolist()) == {0, 1, 2, 3, 4, 5}
    on_images = torch.cat([rois[:, :1] % 2, rois[:, 1:]], 1)
    with torch.no_grad():
        features = teacher.model.extract_feat(inputs)
        expected = logits_of(teacher.model, 0, features, on_images)
    assert torch.equal(batch.teacher, expected)
    second = (rois[:, 0] == 2) | (rois[:, 0] == 3)
    assert torch.equal(batch.student[second].detach(), batch.teacher[second])
    truth = batch.find_ground_truth()
    assert truth.tolist() == [
        any(torch.equal(box, each) for each in samples[int(image) % 2].gt_instances.bboxes)
        for image, *box in rois
        for box in [torch.stack(box)]
    ]


def test_rois_of_images_that_are_not_there_are_refused():
    student = student_of('TridentNet')
    adapter = adapter_of(student, teacher_of('TridentNet'))
    data = prepared(student, 'TridentNet')
    student.roi_head.num_branch = 1
    with pytest.raises(ValueError, match='TridentRoIHead has a RoI on image 5 of a batch of 2, co'):
        forward(adapter, *data)


def test_a_teacher_with_features_of_all_branches_is_refused():
    student = student_of('TridentNet')
    model = copy.deepcopy(student).eval()
    for module in model.modules():
        if hasattr(module, 'test_branch_idx'):
            module.test_branch_idx = -1
    adapter = adapter_of(student, guest_of(model, 'TridentNet'))
    with pytest.raises(ValueError, match=r'features of 6 images from 2; .*test_branch_idx=1'):
        forward(adapter, *prepared(student, 'TridentNet'))


def test_point_rend_where_each_image_has_objects():
    """MMDetection's own loss of its points takes no image without."""
    config = 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco'
    student = build(Family(config, masks=True), 0).train()
    teacher = guest_of(copy.deepcopy(student).eval(), 'Mask R-CNN')
    data = student.data_preprocessor(images(masks=True), training=True)
    batch, _ = forward(build_adapter(None, student, teacher), *data.values())
    assert torch.equal(batch.student.detach(), batch.teacher)


# -- stages ------------------------------------------------------------------


@pytest.mark.parametrize('stage', [None, 'first', 0, 2, 'mean'])
@pytest.mark.parametrize('names', [('Faster R-CNN', 'Cascade R-CNN')] + [('Cascade R-CNN',) * 2])
def test_a_stage_of_a_cascade_answers(names, stage):
    """For a student of one stage, and for each stage of a cascade."""
    student, teacher = student_of(names[0]), teacher_of(names[1])
    inputs, samples = prepared(student, names[0])
    seen = {}
    extractors = student.roi_head.bbox_roi_extractor
    extractors = [extractors] if names[0] == 'Faster R-CNN' else extractors
    for index, extractor in enumerate(extractors):
        extractor.register_forward_pre_hook(
            lambda module, args, index=index: seen.update({index: args[1]})
        )
    batch, _ = forward(adapter_of(student, teacher, stage=stage), inputs, samples)
    expected = []
    with torch.no_grad():
        features = teacher.model.extract_feat(inputs)
        for index, rois in seen.items():
            of_stages = [logits_of(teacher.model, each, features, rois) for each in range(3)]
            answers = {'first': of_stages[0], 'mean': torch.stack(of_stages).mean(0)}
            answers |= {None: of_stages[index], 0: of_stages[0], 2: of_stages[2]}
            expected.append(answers[stage])
    assert torch.equal(batch.teacher, torch.cat(expected))


def test_each_stage_of_a_cascade_is_taught_by_the_one_head_of_its_teacher():
    student = student_of('Cascade R-CNN')
    model = copy.deepcopy(student_of('Faster R-CNN')).eval()
    for name in ('backbone', 'neck'):
        getattr(model, name).load_state_dict(getattr(student, name).state_dict())
    heads = heads_of(student)
    for head in heads:
        head.shared_fcs.load_state_dict(model.roi_head.bbox_head.shared_fcs.state_dict())
        head.fc_cls.load_state_dict(model.roi_head.bbox_head.fc_cls.state_dict())
    adapter = adapter_of(student, guest_of(model, 'Faster R-CNN'))
    batch, _ = forward(adapter, *prepared(student, 'Cascade R-CNN'))
    assert len(batch.student) > 2 * len(batch.sources[0])
    assert torch.equal(batch.student.detach(), batch.teacher)


@pytest.mark.parametrize('name', ['HTC', 'SCNet'])
def test_what_a_teacher_adds_to_the_features_of_rois_counts(name):
    """The semantic head's features, and the global context's; also for a student without."""
    student, teacher = student_of('Cascade R-CNN'), teacher_of(name)
    data = prepared(student, 'Cascade R-CNN')
    batches = []
    for without in ([], ['semantic'], ['semantic', 'glbctx']):
        model = copy.deepcopy(teacher.model)
        for part in without:
            setattr(model.roi_head, f'{part}_head', None)
        torch.manual_seed(0)
        batch, _ = forward(adapter_of(student, guest_of(model, name)), *data)
        batches.append(batch.teacher)
    assert not torch.equal(batches[0], batches[1])
    assert torch.equal(batches[1], batches[2]) == (name == 'HTC')


def test_stages_count_as_in_the_heads_own_loss():
    """The term is the sum over the stages of weight times mean, where all have as many RoIs."""
    student = student_of('Cascade R-CNN')
    data = prepared(student, 'Cascade R-CNN')
    batch, _ = forward(adapter_of(student, teacher_of('Cascade R-CNN')), *data)
    sizes = [len(each) for each in batch.sources]
    assert len(set(sizes)) == 1
    (loss,) = Method([{'loss': 'KDLoss'}])(batch, 1).values()
    parts = zip(batch.student.split(sizes), batch.teacher.split(sizes), strict=True)
    means = [
        nn.functional.kl_div(
            own.log_softmax(1), taught.log_softmax(1), reduction='batchmean', log_target=True
        )
        for own, taught in parts
    ]
    torch.testing.assert_close(loss, means[0] + 0.5 * means[1] + 0.25 * means[2])


def test_a_stage_of_weight_0_counts_nowhere():
    student = student_of('Cascade R-CNN')
    student.roi_head.stage_loss_weights = [1, 0, 0.5]
    batch, _ = forward(
        adapter_of(student, teacher_of('Cascade R-CNN')), *prepared(student, 'Cascade R-CNN')
    )
    first, second, third = batch.weight.split([len(each) for each in batch.sources])
    assert set(first.tolist()) == {2.0}
    assert set(second.tolist()) == {0.0}
    assert set(third.tolist()) == {1.0}


@pytest.mark.parametrize('first', [0, 1])
def test_a_cascade_may_end_at_a_stage_without_rois(first):
    student = student_of('Cascade R-CNN')
    adapter = adapter_of(student, teacher_of('Cascade R-CNN'))
    inputs, samples = prepared(student, 'Cascade R-CNN')
    adapter.attach()
    adapter.prepare(inputs, samples)
    features = student.extract_feat(inputs)
    rois = torch.tensor([[0.0, 4, 4, 40, 40], [1.0, 8, 8, 60, 60]])
    for stage in range(first + 1):
        each = rois if stage < first else rois[:0]
        logits = student.roi_head._bbox_forward(stage, features, each)['cls_score']
        if len(each):
            student.roi_head.bbox_head[stage].loss_cls(logits, torch.tensor([3, 1]), torch.ones(2))
    batch = adapter.batch(inputs, samples)
    assert batch.student.shape == batch.teacher.shape == (2 * first, 4)
    assert batch.student.requires_grad
    assert len(batch.sources) == 3
    assert len(batch.find_ground_truth()) == 2 * first


def test_a_stage_that_passes_its_loss_by_is_refused():
    student = student_of('Cascade R-CNN')
    loss_cls = student.roi_head.bbox_head[1].loss_cls
    loss_cls._call_impl = loss_cls.forward  # as a call without the module's
    adapter = adapter_of(student, teacher_of('Cascade R-CNN'))
    with pytest.raises(ValueError, match='CascadeRoIHead called its CrossEntropyLoss 0 times, red'):
        forward(adapter, *prepared(student, 'Cascade R-CNN'))


@pytest.mark.parametrize('stage', ['last', 3, -1, 1.0, True, [0]])
def test_a_stage_that_the_teacher_lacks_is_refused(stage):
    with pytest.raises(ValueError, match=r'stage must be a stage of the teacher, which has 3: .*g'):
        adapter_of(student_of('Faster R-CNN'), teacher_of('Cascade R-CNN'), stage=stage)


# -- the audit ---------------------------------------------------------------


@pytest.mark.parametrize('name', ['Faster R-CNN', 'Cascade R-CNN', 'Sparse R-CNN'])
def test_the_audit_measures_gradients_where_the_own_losses_read(name):
    student = student_of(name)
    batch, losses = forward(
        build_adapter(None, student, teacher_of(name)), *prepared(student, name)
    )
    distil = Method([{'loss': 'KDLoss'}])(batch, 1)
    norms = gradient_norms(DistilledBatch(batch, losses, distil))
    sources = list(batch.sources) or [batch.student]
    own = [value for key, value in losses.items() if key.split('.')[-1] == 'loss_cls']
    assert len(own) == len(sources)
    for key, loss in (('loss_cls', sum(own)), ('loss_distill', distil['loss_distill'])):
        gradients = torch.autograd.grad(loss, sources, retain_graph=True)
        assert all(gradient.any() for gradient in gradients)
        expected = torch.cat([each.flatten() for each in gradients]).norm()
        torch.testing.assert_close(norms[key], expected)


def test_the_audit_counts_the_boxes_that_each_stage_added():
    """The sampler of each stage adds each object's box; those that earlier stages had are gone."""
    student = student_of('Cascade R-CNN')
    batch, _ = forward(
        adapter_of(student, teacher_of('Cascade R-CNN')), *prepared(student, 'Cascade R-CNN')
    )
    counts = count_by_class(batch)
    assert counts[:, 3].sum() == 3 * 3
    assert counts[:, 0].sum() + counts[:, 3].sum() == len(batch.labels)


# -- Sparse R-CNN, QueryInst -------------------------------------------------


@pytest.mark.parametrize('name', SPARSE)
def test_a_matched_query_is_taught_by_the_teachers_best_for_its_object(name, monkeypatch):
    """Which object that is, the assigner itself says here."""
    student, teacher = student_of(name), teacher_of(name)
    stages = student.roi_head.num_stages
    truth = []
    for assigner in student.roi_head.bbox_assigner:

        def assign(*args, own=assigner.assign, **kwargs):
            truth.append(own(*args, **kwargs))
            return truth[-1]

        monkeypatch.setattr(assigner, 'assign', assign)
    calls = watch_losses(student)
    inputs, samples = prepared(student, name, objects=(3, 2))
    adapter = build_adapter(None, student, teacher)
    assert isinstance(adapter, ObjectAdapter)
    batch, _ = forward(adapter, inputs, samples)
    assert (len(batch.labels), batch.background, batch.divisor) == (5 * stages, 3, 'positives')

    with torch.no_grad():
        features = teacher.model.extract_feat(inputs)
        (scores,), (boxes,) = see_by_stages(teacher.model, features, samples)
    expected, rows = [], []
    for stage in range(stages):
        own = calls[stage][0].unflatten(0, (2, -1))
        for image, sample in enumerate(samples):
            assigned = truth[2 * stage + image].gt_inds
            for query in (assigned > 0).nonzero().squeeze(1):
                index = int(assigned[query]) - 1
                label = sample.gt_instances.labels[index]
                box = sample.gt_instances.bboxes[index : index + 1]
                fitness = box_iou(box, boxes[image])[0] * scores[image, :, label].sigmoid()
                assert fitness.max() > 0
                rows.append(own[image, query])
                expected.append((label, scores[image, fitness.argmax()]))
    assert torch.equal(batch.student, torch.stack(rows))
    labels, logits = map(torch.stack, zip(*expected, strict=True))
    assert torch.equal(batch.labels, labels)
    assert torch.equal(batch.teacher, logits)
    assert torch.equal(batch.weight, torch.full_like(batch.weight, stages))


@pytest.mark.parametrize('name', SPARSE)
def test_what_a_teacher_sees_is_what_it_predicts(name):
    teacher = teacher_of(name).model
    inputs, samples = prepared(teacher, name)
    with torch.no_grad():
        (scores,), _ = see_by_stages(teacher, teacher.extract_feat(inputs), samples)
        found = teacher(inputs, samples, mode='predict')
    for score, sample in zip(scores, found, strict=True):
        top = score.sigmoid().flatten().sort(descending=True).values
        predicted = sample.pred_instances.scores.sort(descending=True).values
        torch.testing.assert_close(predicted, top[: len(predicted)], rtol=1e-6, atol=0)


def test_objects_that_the_teacher_overlaps_nowhere_teach_nothing():
    student = student_of('Sparse R-CNN')
    model = copy.deepcopy(teacher_of('Sparse R-CNN').model)
    nn.init.constant_(model.roi_head.bbox_head[-1].fc_reg.bias, -20)  # boxes of no size
    adapter = build_adapter(None, student, guest_of(model, 'Sparse R-CNN'))
    batch, _ = forward(adapter, *prepared(student, 'Sparse R-CNN'))
    assert len(batch.weight) == 18
    assert not batch.weight.any()
    assert float(Method([{'loss': 'KDLoss'}])(batch, 1)['loss_distill']) == 0


def test_target_boxes_that_are_no_objects_are_refused():
    student = student_of('Sparse R-CNN')
    adapter = build_adapter(None, student, teacher_of('Sparse R-CNN'))
    inputs, samples = prepared(student, 'Sparse R-CNN')
    others = copy.deepcopy(samples)
    for sample in others:
        sample.gt_instances.bboxes.mul_(0.9)
    adapter.attach()
    adapter.prepare(inputs, samples)
    student(inputs, samples, mode='loss')
    with pytest.raises(ValueError, match='gave to its loss_iou are not those of the objects of it'):
        adapter.batch(inputs, others)


@pytest.mark.parametrize(
    ('own', 'other'), [('Sparse R-CNN', 'Cascade R-CNN'), ('Faster R-CNN', 'QueryInst')]
)
def test_queries_with_rois_are_paired_with_other_families(own, other):
    """A softmax is told in sigmoids, and sigmoids in a softmax."""
    student = student_of(own)
    batch, _ = forward(build_adapter(None, student, teacher_of(other)), *prepared(student, own))
    assert batch.activation == ('sigmoid' if own == 'Sparse R-CNN' else 'softmax')
    assert batch.weight.any()
    (loss,) = Method([{'loss': 'KDLoss', 'processors': ['SortLogits']}])(batch, 1).values()
    assert loss > 0
    gradients = torch.autograd.grad(loss, batch.sources, allow_unused=True)
    assert any(gradient.any() for gradient in gradients if gradient is not None)


# -- what fits ---------------------------------------------------------------


def with_loss(**loss_cls):
    model = student_of('Cascade R-CNN')
    model.roi_head.bbox_head[1].loss_cls = MODELS.build(loss_cls)
    return model


@pytest.mark.parametrize(
    ('student', 'message'),
    [
        (
            lambda: build(Family('crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman'), 0),
            'the student is a CrowdDet with MultiInstanceRoIHead, .*A term of features',
        ),
        (
            lambda: student_of('Sparse R-CNN'),
            "the student is a SparseRCNN with SparseRoIHead, .*serve instead: adapter='ObjectA",
        ),
        (
            lambda: with_loss(type='FocalLoss'),
            'the student classifies by FocalLoss with a sigmoid per class',
        ),
        (
            lambda: with_loss(type='SeesawLoss', num_classes=3),
            'the student classifies by SeesawLoss with an activation of its own',
        ),
        (
            lambda: build(ROI['Cascade R-CNN'], 0, num_classes=5),
            'differ in their number of classes: 3 and 5',
        ),
    ],
)
def test_heads_that_cannot_be_read_are_refused_by_name(student, message):
    with pytest.raises(ValueError, match=message):
        adapter_of(student(), teacher_of('Cascade R-CNN'))


def test_which_adapter_is_found():
    models = {name: student_of(name) for name in ('Faster R-CNN', 'HTC', *SPARSE, 'RetinaNet')}
    assert find_adapter(models['Faster R-CNN'], models['HTC']) is RoIHeadAdapter
    assert find_adapter(models['HTC'], models['Faster R-CNN']) is RoIHeadAdapter
    assert find_adapter(models['Sparse R-CNN'], models['QueryInst']) is ObjectAdapter
    assert find_adapter(models['Sparse R-CNN'], models['HTC']) is ObjectAdapter
    assert find_adapter(models['Faster R-CNN'], models['QueryInst']) is ObjectAdapter
