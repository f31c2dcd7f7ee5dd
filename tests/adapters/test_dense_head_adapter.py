"""Dense heads: what is read of them are the rows of their own losses, of the teacher at the same
priors.
"""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from mmdet.models import dense_heads
from mmdet.models.dense_heads import ssd_head
from thin_detectors import (
    DENSE,
    build,
    forward,
    guest_of,
    prepared,
    rows_of,
    student_of,
    teacher_of,
)
from torch import nn

from sortkd_det.adapters import DenseHeadAdapter, build_adapter, count_classes, find_adapter
from sortkd_det.adapters.dense_head_reader import told_labels
from sortkd_det.adapters.loss_calls import as_logits

WITHOUT_LABELS = {'FreeAnchor', 'AutoAssign'}
OWN_LOSS = 'CenterNet2'  # is given a map of heat, not labels
DROPS_SOME = 'FSAF'  # of what it is given: test_dense_head_reader.py
GIVEN_AN_OBJECT = {'YOLOX', 'YOLOv3', 'AutoAssign'}


def dense_adapter(name, negatives='none', student=None, teacher=None):
    student, teacher = student or student_of(name), teacher or teacher_of(name)
    assert find_adapter(student, teacher.model) is DenseHeadAdapter
    config = {'type': 'DenseHeadAdapter', 'negatives': negatives}
    return build_adapter(config, student, teacher)


def table(scores, labels, weight):
    """Rows in an order that hangs on what they hold alone."""
    rows = torch.cat([scores.detach().double(), labels[:, None], weight[:, None]], 1)
    return sorted(rows.tolist())


def table_of(batch):
    return table(batch.student, batch.labels, batch.weight)


# -- the student's rows ------------------------------------------------------


def watch_losses(head, monkeypatch):
    """A list that gets the logits, labels and weights of each call of the head's losses."""
    calls = []

    def see(module, args, kwargs):
        if kwargs.get('reduction_override') == 'none':
            return
        scores, target, *rest = args
        scores = as_logits(scores.detach().flatten(0, -2), module)
        target = target[0] if isinstance(target, tuple) else target
        if target.is_floating_point():  # one-hot times quality
            target = target.flatten(0, -2)
            target = torch.cat([target, torch.full((len(target), 1), 1e-9)], 1).argmax(1)
        weight = rest[0] if rest else kwargs.get('weight')
        weight = torch.ones(len(scores)) if weight is None else weight
        calls.append((scores, target, weight.reshape(len(scores), -1).amax(1)))

    for name in ('loss_cls', 'initial_loss_cls'):
        loss = getattr(head, name, None)
        if isinstance(loss, nn.Module):
            loss.register_forward_pre_hook(see, with_kwargs=True)

    def cross_entropy(scores, labels, reduction):
        calls.append((scores.detach(), labels, torch.ones(len(labels))))
        return nn.functional.cross_entropy(scores, labels, reduction=reduction)

    monkeypatch.setattr(ssd_head, 'F', SimpleNamespace(cross_entropy=cross_entropy))
    return calls


@pytest.mark.parametrize(
    'name', rows_of(name for name in DENSE if name not in {*WITHOUT_LABELS, OWN_LOSS, DROPS_SOME})
)
def test_rows_are_those_that_the_heads_own_loss_saw(name, monkeypatch):
    """To the bit, each with its label and weight."""
    for negatives in ('none',) if name in GIVEN_AN_OBJECT else ('none', 'all'):
        adapter = dense_adapter(name, negatives)
        calls = watch_losses(adapter.head, monkeypatch)
        batch, _ = forward(adapter, *prepared(adapter.student, name, objects=(3, 2)))
        scores, labels, weight = map(torch.cat, zip(*calls, strict=True))
        counts = labels != 3 if negatives == 'none' else slice(None)
        assert (labels != 3).any()
        assert table_of(batch) == table(scores[counts], labels[counts], weight[counts])
        assert batch.divisor == 'positives'
        assert batch.background == 3


@pytest.mark.parametrize('negatives', ['none', 'all'])
def test_rows_of_centernet2_are_those_that_its_loss_is_told(negatives):
    """One that is told twice has the label of which its heat is greater."""
    adapter = dense_adapter(OWN_LOSS, negatives)
    given = []
    adapter.head.loss_cls.register_forward_pre_hook(
        lambda module, args, kwargs: given.append((*args, kwargs)), with_kwargs=True
    )
    batch, _ = forward(adapter, *prepared(adapter.student, OWN_LOSS, objects=(3, 2)))
    ((scores, heat, told),) = given
    labels = torch.full((len(scores),), 3)
    for row in told['pos_inds'].unique():
        own = told['pos_labels'][told['pos_inds'] == row].unique()
        labels[row] = own[heat[row, own].argmax()]
    assert 0 < (labels != 3).sum() < len(labels)
    counts = labels != 3 if negatives == 'none' else slice(None)
    batch = replace(batch, student=batch.student.sigmoid().clamp(1e-4, 1 - 1e-4))
    found = torch.tensor(table_of(batch))
    expected = torch.tensor(table(scores[counts], labels[counts], torch.ones(len(labels))[counts]))
    torch.testing.assert_close(found, expected)


def test_a_row_of_two_objects_has_the_label_of_the_hotter():
    heat = torch.tensor([[0.2, 0.9, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    index, of_objects = torch.tensor([0, 1, 0, 3, 1]), torch.tensor([0, 2, 1, 0, 1])
    assert told_labels(4, 3, heat, index, of_objects).tolist() == [1, 1, 3, 0]
    assert told_labels(4, 3, heat, None, None).tolist() == [3] * 4


def test_rows_of_centernet2_in_another_order_are_refused():
    adapter = dense_adapter(OWN_LOSS)
    adapter.head.sigmoid_clamp = 0.4  # after which the loss is given others than are known
    data = prepared(adapter.student, OWN_LOSS)
    adapter.attach()
    adapter.reset()
    adapter.prepare(*data)
    adapter.student(*data, mode='loss')
    adapter.head.sigmoid_clamp = 0.0001
    with pytest.raises(ValueError, match='CenterNetUpdateHead was given are not those of its maps'):
        adapter.batch(*data)


@pytest.mark.parametrize('name', rows_of(DENSE))
def test_the_teacher_is_read_at_the_same_priors(name):
    """Student and teacher of equal weights give equal logits, to the bit."""
    for negatives in ('none',) if name in GIVEN_AN_OBJECT else ('none', 'all'):
        student = student_of(name)
        teacher = guest_of(copy.deepcopy(student), name)
        batch, _ = forward(
            dense_adapter(name, negatives, student, teacher), *prepared(student, name)
        )
        assert len(batch.student) > 0
        assert torch.equal(batch.student.detach(), batch.teacher)


@pytest.mark.parametrize('name', ['RetinaNet', 'GFL', 'FCOS', 'SSD'])
def test_a_row_lies_at_its_prior(name):
    few, every = (dense_adapter(name, negatives) for negatives in ('none', 'all'))
    data = prepared(every.student, name)
    batch, _ = forward(every, *data)
    places = batch.find_places()
    sizes = [level.shape[-2:] for level in every.reader.maps]
    priors = torch.cat(every.head.prior_generator.grid_priors(sizes, device='cpu'))
    assert places[:, 0].tolist() == [0] * len(priors) + [1] * len(priors)
    middles = (places[:, 1:3] + places[:, 3:]) / 2
    assert torch.equal(middles, ((priors[:, :2] + priors[:, -2:]) / 2).repeat(2, 1))
    rows = {tuple(row): index for index, row in enumerate(batch.student.tolist())}
    batch, _ = forward(few, *data)
    assert 0 < len(batch.student) < len(rows)
    at = [rows[tuple(row)] for row in batch.student.tolist()]
    assert torch.equal(batch.find_places(), places[at])


@pytest.mark.parametrize('name', ['RetinaNet', 'PISA-RetinaNet', 'YOLOX'])
def test_the_order_of_rows_is_not_guessed_from_one_image(name):
    adapter = dense_adapter(name)
    forward(adapter, *prepared(adapter.student, name, sizes=((64, 64),), objects=(2,)))
    assert len(adapter.reader.orders) == 2
    forward(adapter, *prepared(adapter.student, name, objects=(3, 3)))
    assert len(adapter.reader.orders) == 1


def test_logits_that_are_all_alike_still_tell_the_order():
    """As those of a new head in bfloat16 are; without gradients nothing could tell it."""
    adapter = dense_adapter('PISA-RetinaNet')
    nn.init.zeros_(adapter.head.retina_cls.weight)
    nn.init.zeros_(adapter.head.retina_cls.bias)
    data = prepared(adapter.student, 'PISA-RetinaNet')
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match='PISARetinaHead was given come from its maps in every o'),
    ):
        forward(adapter, *data)
    forward(adapter, *data)
    assert [order.__name__ for order in adapter.reader.orders] == ['_by_image']


@pytest.mark.parametrize('negatives', ['none', 'all'])
def test_a_teacher_that_pads_more_has_larger_maps(negatives):
    student = student_of('RetinaNet')
    model = copy.deepcopy(teacher_of('RetinaNet').model)
    model.data_preprocessor.pad_size_divisor = 128
    adapter = dense_adapter('RetinaNet', negatives, student, guest_of(model, 'RetinaNet'))
    inputs, samples = prepared(student, 'RetinaNet', sizes=((64, 96), (64, 96)))
    batch, _ = forward(adapter, inputs, samples)
    assert inputs.shape == (2, 3, 64, 96)
    with torch.no_grad():
        maps = model.bbox_head(model.extract_feat(nn.functional.pad(inputs, (0, 32, 0, 64))))[0]
    assert maps[0].shape[-2:] == (16, 16)
    rows = []
    for level, (height, width) in zip(maps, [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)], strict=True):
        cut = level[..., :height, :width]
        rows.append(cut.permute(0, 2, 3, 1).reshape(2, -1, 3))
    rows = torch.cat(rows, 1).flatten(0, 1)
    if negatives == 'all':
        assert torch.equal(batch.teacher, rows)
    else:
        assert {*map(tuple, batch.teacher.tolist())} <= {*map(tuple, rows.tolist())}


def test_a_teacher_in_bfloat16_teaches_almost_the_same():
    student = student_of('GFL')
    data = prepared(student, 'GFL')
    batch, _ = forward(dense_adapter('GFL', student=student), *data)
    teacher = copy.copy(teacher_of('GFL'))
    teacher.dtype = 'bfloat16'
    rough, _ = forward(dense_adapter('GFL', student=student_of('GFL'), teacher=teacher), *data)
    assert not torch.equal(rough.teacher.float(), batch.teacher)
    torch.testing.assert_close(rough.teacher.float(), batch.teacher, atol=0.05, rtol=0.05)


def test_gradients_are_asked_for_where_the_own_loss_reads():
    adapter = dense_adapter('GFL')
    batch, losses = forward(adapter, *prepared(adapter.student, 'GFL'))
    assert len(batch.sources) == 5
    for loss in (sum(losses['loss_cls']), batch.student.sum()):
        gradients = torch.autograd.grad(loss, batch.sources, retain_graph=True)
        assert any(gradient.any() for gradient in gradients)


# -- negatives and heads without labels --------------------------------------


@pytest.mark.parametrize('name', ['RetinaNet', 'YOLACT'])
def test_the_negatives_on_which_the_teacher_is_surest(name):
    """Three in each image, beside the positives."""
    data = prepared(student_of(name), name)
    everything, _ = forward(dense_adapter(name, 'all'), *data)
    batch, _ = forward(dense_adapter(name, 3), *prepared(student_of(name), name))
    positives, _ = forward(dense_adapter(name), *prepared(student_of(name), name))
    rows = list(
        zip(everything.teacher.tolist(), everything.labels.tolist(), everything.weight, strict=True)
    )
    expected = []
    for image in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        negatives = [row for row, label, weight in image if label == 3 and weight > 0]
        if name == 'YOLACT':  # a softmax: least sure of background
            sure = {
                tuple(row): -torch.tensor(row).double().log_softmax(0)[3].item()
                for row in negatives
            }
        else:
            sure = {tuple(row): max(row) for row in negatives}
        expected += sorted(sure, key=sure.get)[-3:]
    found = [tuple(row) for row in batch.teacher[~batch.is_positive].tolist()]
    assert sorted(found) == sorted(expected)
    assert batch.is_positive.sum() == len(positives.labels)


@pytest.mark.parametrize('name', sorted(WITHOUT_LABELS))
def test_a_head_without_labels_is_taught_at_the_teachers_best_priors(name):
    adapter = dense_adapter(name)
    inputs, samples = prepared(adapter.student, name, objects=(3, 0))
    batch, _ = forward(adapter, inputs, samples)
    model = adapter.teacher.model
    with torch.no_grad():
        maps = model.bbox_head(model.extract_feat(inputs))[0]
    grids = model.bbox_head.prior_generator.grid_priors([m.shape[-2:] for m in maps], device='cpu')
    priors = torch.cat(grids).tolist()
    centres = [((p[0] + p[-2]) / 2, (p[1] + p[-1]) / 2) for p in priors]
    logits = torch.cat([m[:1].permute(0, 2, 3, 1).reshape(-1, 3) for m in maps])
    best = {}
    objects = samples[0].gt_instances
    for (x1, y1, x2, y2), label in zip(
        objects.bboxes.tolist(), objects.labels.tolist(), strict=True
    ):
        inside = [i for i, (x, y) in enumerate(centres) if x1 <= x <= x2 and y1 <= y <= y2]
        for i in sorted(inside, key=lambda i: -logits[i, label])[:9]:
            if i not in best or logits[i, label] > logits[i, best[i]]:
                best[i] = label
    expected = sorted((logits[i].tolist(), label) for i, label in best.items())
    found = sorted(zip(batch.teacher.tolist(), batch.labels.tolist(), strict=True))
    assert len(expected) > 9
    assert found == expected


@pytest.mark.parametrize(
    ('negatives', 'error'),
    [
        pytest.param('some', "must be 'none', 'all' or a whole number, got 'some'", id='a word'),
        pytest.param(0, 'negatives must be at least 1', id='zero'),
        pytest.param(0.5, 'negatives must be a whole number', id='a share'),
    ],
)
def test_negatives_must_be_none_all_or_a_number(negatives, error):
    with pytest.raises((TypeError, ValueError), match=error):
        dense_adapter('RetinaNet', negatives)


@pytest.mark.parametrize('name', sorted(GIVEN_AN_OBJECT))
@pytest.mark.parametrize('negatives', [5, 'all'])
def test_negatives_are_refused_where_logits_are_conditional_on_an_object(name, negatives):
    with pytest.raises(ValueError, match=f'negatives is {negatives!r}, and the class logits of'):
        dense_adapter(name, negatives)


# -- heads that do not fit ---------------------------------------------------


@pytest.mark.parametrize(
    ('student', 'teacher', 'error'),
    [
        pytest.param(
            'RetinaNet',
            'FSAF',
            r'the priors of the teacher \(FSAFHead\) are AnchorGenerator\(strides=\[8, 16, 32, 64, '
            r'128\], num_base_priors=\[1, 1, 1, 1, 1\]\), and those of the student \(RetinaHead\) '
            r"are .*\[9, 9, 9, 9, 9\]\).* prior\. Pairs by object serve instead: adapter='ObjectA",
            id='other priors',
        ),
        pytest.param(
            'ATSS', 'FCOS', r'the priors of the teacher \(FCOSHead\) are Mlvl', id='points'
        ),
        pytest.param(
            'RTMDet', 'GFL', r'strides=\[8, 16, 32, 64, 128\].*\[8, 16, 32\]', id='levels'
        ),
        pytest.param(
            'RTMDet',
            'YOLOX',
            r'class logits of the teacher \(YOLOXHead\) are a sigmoid of the class given that '
            r'there is an object, and those of the student \(RTMDetSepBNHead\) are a sigmoid of an',
            id='kind',
        ),
        pytest.param(
            'YOLACT',
            'RetinaNet',
            r'\(RetinaHead\) are a sigmoid of .* \(YOLACTHead\) are a softmax of .*ObjectAdapter',
            id='activation',
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(student, teacher, error):
    with pytest.raises(ValueError, match=error):
        dense_adapter(None, 'none', student_of(student), teacher_of(teacher))


@pytest.mark.parametrize(
    ('student', 'teacher'),
    [('RetinaNet', 'PISA-RetinaNet'), ('ATSS', 'GFL'), ('FCOS', 'FoveaBox'), ('TOOD', 'VFNet')],
)
def test_heads_of_one_kind_on_the_same_priors_teach_each_other(student, teacher):
    adapter = dense_adapter(None, 'none', student_of(student), teacher_of(teacher))
    batch, _ = forward(adapter, *prepared(adapter.student, student))
    assert len(batch.labels) > 0
    assert batch.teacher.isfinite().all()


def test_numbers_of_classes_must_be_the_same():
    student = build(DENSE['RetinaNet'], seed=0, num_classes=5)
    assert count_classes(student) == {'bbox_head.num_classes': 5}
    with pytest.raises(ValueError, match='differ in their number of classes: 3 and 5'):
        dense_adapter(None, 'none', student, teacher_of('RetinaNet'))


def bare(name, attribute='bbox_head'):
    """A detector that has a head of this class, which is not built: some weigh a gigabyte."""
    model, kind = nn.Module(), getattr(dense_heads, name)
    head = kind.__new__(kind)
    nn.Module.__init__(head)
    head.num_classes = 3
    model.add_module(attribute, head)
    return model


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('CenterNetHead', 'heat maps of points.*A term of features'),
        ('CornerHead', 'heat maps of points.*A term of features'),
        ('CentripetalHead', 'heat maps of points.*A term of features'),
        ('ATSSVLFusionHead', 'words of a text.*A term of features'),
        ('GroundingDINOHead', 'words of a text.*A term of features'),
    ],
)
def test_heads_that_cannot_be_read_are_refused_by_name(name, reason):
    model = bare(name)
    student = student_of('RetinaNet')
    assert find_adapter(student, model) is DenseHeadAdapter
    with pytest.raises(ValueError, match=f'the head of the teacher, {name}, cannot be.*{reason}'):
        DenseHeadAdapter(student, SimpleNamespace(model=model))
    assert find_adapter(model, student) is DenseHeadAdapter
    with pytest.raises(ValueError, match=f'the head of the student, {name}, cannot be read'):
        DenseHeadAdapter(model, teacher_of('RetinaNet'))


def test_solos_of_other_grids_or_padding_do_not_fit():
    student, teacher = student_of('SOLO'), teacher_of('SOLO')
    other = copy.deepcopy(teacher.model)
    other.mask_head.num_grids = [40, 36, 24, 16, 8]
    with pytest.raises(ValueError, match=r'num_grids=\[40, 36, 24, 16, 8\].*A term of features'):
        dense_adapter('SOLO', 'none', student, guest_of(other, 'SOLO'))
    wider = copy.deepcopy(teacher.model)
    wider.data_preprocessor.pad_size_divisor = 128
    with pytest.raises(ValueError, match=r'pad_size_divisor of the teacher is 128.*student 32;'):
        dense_adapter('SOLO', 'none', student, guest_of(wider, 'SOLO'))


@pytest.mark.parametrize(
    ('student', 'teacher'), [('SOLO', 'Faster R-CNN'), ('Faster R-CNN', 'SOLO')]
)
def test_solo_has_no_boxes_by_which_objects_are_found(student, teacher):
    with pytest.raises(ValueError, match=r'SOLOHead, has cells of grids and no boxes.*DenseHeadAd'):
        build_adapter({'type': 'ObjectAdapter'}, student_of(student), teacher_of(teacher))


def test_models_without_a_dense_head_are_left_to_others():
    retina = student_of('RetinaNet')
    two_stage = bare('RetinaHead')
    two_stage.roi_head = nn.Identity()
    for other in (two_stage, bare('RPNHead'), bare('DETRHead'), nn.Identity()):
        assert not DenseHeadAdapter.accepts(retina, other)
        assert not DenseHeadAdapter.accepts(other, retina)
        assert DenseHeadAdapter.count_classes(other) == {}
    assert DenseHeadAdapter.count_classes(bare('ATSSVLFusionHead')) == {}
    assert DenseHeadAdapter.count_classes(bare('SOLOHead', 'mask_head')) == {
        'mask_head.num_classes': 3
    }


def test_a_model_without_a_dense_head_is_refused_where_the_adapter_is_named():
    with pytest.raises(ValueError, match='the teacher has no dense head, such as that of Ret'):
        DenseHeadAdapter(student_of('RetinaNet'), SimpleNamespace(model=nn.Identity()))


# -- losses that are not what they seem --------------------------------------


@pytest.mark.parametrize(
    ('name', 'loss', 'change', 'error'),
    [
        pytest.param(
            'FCOS', 'loss_cls', lambda x: x.flip(0),
            'FCOSHead was given come from its maps in no order that is known', id='other order',
        ),
        pytest.param(
            'FCOS', 'loss_cls', lambda x: x[:-1],
            'FCOSHead called its classification losses on 171 rows; expected 172', id='row missing',
        ),
        pytest.param(
            'YOLOX', 'loss_obj', lambda x: x[:-1],
            'YOLOXHead called loss_obj on 167 rows with 4 objects and loss_cls on 4 rows; '
            'expected 168 rows', id='objectness',
        ),
    ],
)  # fmt: skip
def test_rows_that_are_not_those_of_the_maps_are_refused(name, loss, change, error):
    adapter = dense_adapter(name)
    getattr(adapter.head, loss).register_forward_pre_hook(
        lambda module, args: (change(args[0]), change(args[1]), *args[2:])
    )
    with pytest.raises(ValueError, match=error):
        forward(adapter, *prepared(adapter.student, name))


def test_a_head_that_passes_its_loss_by_is_refused():
    adapter = dense_adapter('RetinaNet')
    loss_cls = adapter.head.loss_cls
    loss_cls._call_impl = loss_cls.forward  # as a call without the module's
    with pytest.raises(ValueError, match=r"RetinaHead called none of its .*\['FocalLoss'\]"):
        forward(adapter, *prepared(adapter.student, 'RetinaNet'))


def test_a_head_that_runs_twice_is_refused():
    adapter = dense_adapter('RetinaNet')
    adapter.student.neck.register_forward_hook(lambda m, args, out: adapter.head(out) and None)
    with pytest.raises(ValueError, match='RetinaHead ran 2 times in one forward'):
        forward(adapter, *prepared(adapter.student, 'RetinaNet'))


def test_a_teacher_whose_maps_are_smaller_is_refused():
    student = student_of('RetinaNet')
    model = copy.deepcopy(teacher_of('RetinaNet').model)
    model.neck.register_forward_hook(lambda m, args, out: [level[..., :1] for level in out])
    adapter = dense_adapter('RetinaNet', 'none', student, guest_of(model, 'RetinaNet'))
    with pytest.raises(
        ValueError, match=r'the maps of the teacher are \[\(2, 9, 3, 8, 1\), .*width'
    ):
        forward(adapter, *prepared(student, 'RetinaNet'))
