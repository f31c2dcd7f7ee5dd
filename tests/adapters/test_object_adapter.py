"""Any detector for any other, object by object: thin networks with random weights."""

import copy
from itertools import product

import pytest
import torch
from thin_detectors import (
    FAMILIES,
    Family,
    build,
    forward,
    prepared,
    student_of,
    teacher_of,
    thin,
)

from sortkd_det.adapters import (
    DenseHeadAdapter,
    ObjectAdapter,
    RoIHeadAdapter,
    build_adapter,
    count_classes,
    find_adapter,
)
from sortkd_det.adapters.objects import Objects
from sortkd_det.distill import ClassMap, Method, Teacher
from sortkd_det.functional import translate

ROI = ['Faster R-CNN', 'Cascade R-CNN']
DENSE = ['RetinaNet', 'ATSS', 'GFL', 'FCOS', 'RTMDet', 'YOLOX']
QUERY = ['DETR', 'Deformable DETR', 'DINO']
KIND = {name: kind for kind, names in enumerate((ROI, DENSE, QUERY)) for name in names}
QUICK = {
    ('Faster R-CNN', 'DINO'),
    ('Faster R-CNN', 'YOLOX'),
    ('RetinaNet', 'Cascade R-CNN'),
    ('RTMDet', 'DETR'),
    ('GFL', 'FCOS'),
    ('DETR', 'GFL'),
    ('DINO', 'Faster R-CNN'),
}
METHOD = [{'loss': 'KDLoss', 'processors': ['SortLogits']}]


def is_taught(adapter, name):
    """One forward and backward; returns the batch."""
    student = adapter.student
    batch, _ = forward(adapter, *prepared(student, name, sizes=((64, 64), (48, 64))))
    (loss,) = Method(METHOD)(batch, 1).values()
    assert len(batch.labels) > 0
    assert batch.is_positive.all()
    assert loss.isfinite()
    assert loss > 0
    parameters = [each for each in student.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert any(each is not None and each.any() for each in gradients)
    assert all(each is None or each.isfinite().all() for each in gradients)
    return batch


@pytest.mark.parametrize(
    ('student', 'teacher'),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow, id=' by '.join(pair))
        for pair in product(KIND, KIND)
    ],
)
def test_every_pair_is_taught(student, teacher):
    models = student_of(student), teacher_of(teacher)
    chosen = find_adapter(models[0], models[1].model)
    across = KIND[student] != KIND[teacher] or student in QUERY
    assert (chosen is ObjectAdapter) == across
    checksum = models[1].checksum()
    is_taught(ObjectAdapter(*models), student)
    if teacher in ROI:
        is_taught(ObjectAdapter(*models, at='rows'), student)
    assert models[1].checksum() == checksum


@pytest.mark.parametrize(
    ('student', 'teacher'),
    [('Faster R-CNN', 'DINO'), ('DETR', 'Faster R-CNN'), ('YOLOX', 'DETR'), ('DINO', 'RetinaNet')],
)
def test_images_without_objects_teach_nothing(student, teacher):
    adapter = ObjectAdapter(student_of(student), teacher_of(teacher))
    batch, _ = forward(adapter, *prepared(adapter.student, student, objects=(0, 0)))
    (loss,) = Method(METHOD)(batch, 1).values()
    assert len(batch.labels) == 0
    assert loss == 0
    assert loss.requires_grad


@pytest.mark.parametrize('student', ['Faster R-CNN', 'RetinaNet', 'FCOS', 'DINO'])
def test_a_row_has_its_place_in_the_image_of_its_object(student):
    adapter = ObjectAdapter(student_of(student), teacher_of('Faster R-CNN'))
    data = prepared(adapter.student, student, objects=(1, 3))
    batch, _ = forward(adapter, *data)
    places = batch.find_places()
    assert places.shape == (len(batch.labels), 5)
    assert (places[:, 3:] >= places[:, 1:3]).all()
    assert {0, 1} == set(places[:, 0].tolist())
    for image, label in zip(places[:, 0].long().tolist(), batch.labels, strict=True):
        assert label in data[1][image].gt_instances.labels
    parts = adapter.reader.rows(Objects.of(data[1]), data[1])
    boxes = torch.cat([part.boxes for part in parts]).sort(1).values
    assert torch.equal(boxes, places[:, 1:].sort(1).values)


@pytest.mark.parametrize('teacher', ROI)
def test_an_roi_teacher_is_asked_at_the_objects_or_at_the_students_rows(teacher):
    student, teacher = student_of('Faster R-CNN'), teacher_of(teacher)
    inputs, samples = prepared(student, 'Faster R-CNN')
    head, seen = teacher.model.roi_head, []
    extractor = head.bbox_roi_extractor
    extractor = extractor[0] if isinstance(extractor, torch.nn.ModuleList) else extractor
    handle = extractor.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    at_objects, _ = forward(ObjectAdapter(student, teacher), inputs, samples)
    torch.manual_seed(0)  # of the sampler
    adapter = ObjectAdapter(student, teacher, at='rows')
    at_rows, _ = forward(adapter, inputs, samples)
    handle.remove()
    boxes = [sample.gt_instances.bboxes for sample in samples]
    boxes = torch.cat([getattr(each, 'tensor', each) for each in boxes])
    assert torch.equal(seen[0], torch.cat([torch.tensor([[0.0], [0], [1]]), boxes], 1))
    assert len(seen[1]) == len(at_rows.labels) > 3
    features = teacher.model.extract_feat(inputs)
    expected = RoIHeadAdapter.classify(teacher.model, features, seen[0], 'mean')
    assert {tuple(row) for row in at_objects.teacher.tolist()} <= {
        tuple(row) for row in expected.tolist()
    }
    torch.testing.assert_close(
        at_rows.teacher, RoIHeadAdapter.classify(teacher.model, features, seen[1], 'mean')
    )


def test_rows_that_leave_their_image_are_asked_about_within_it():
    """A YOLOX that predicts boxes of a million pixels, as one may that has just begun."""
    student, teacher = student_of('YOLOX'), teacher_of('Faster R-CNN')
    for layer in student.bbox_head.multi_level_conv_reg:
        layer.bias.data[2:] = 12.0  # the logarithms of width and height, in strides
    seen = []
    extractor = teacher.model.roi_head.bbox_roi_extractor
    handle = extractor.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    adapter = ObjectAdapter(student, teacher, at='rows')
    data = prepared(student, 'YOLOX', sizes=((64, 64), (48, 96)), objects=(2, 1))
    batch, _ = forward(adapter, *data)
    handle.remove()
    assert batch.find_places()[:, 3:].amin() > 1e5
    (rois,) = seen
    sizes = torch.tensor([[64.0, 64.0], [96.0, 48.0]])[rois[:, 0].long()]
    assert {*rois[:, 0].tolist()} == {0, 1}
    assert torch.equal(rois[:, 3:], sizes)
    assert not rois[:, 1:3].any()
    assert batch.teacher.isfinite().all()


def test_a_teacher_with_a_softmax_hands_over_its_probabilities():
    """By sigmoid of what a RetinaNet is taught, in the student's columns."""
    adapter = ObjectAdapter(student_of('RetinaNet'), teacher_of('Faster R-CNN'))
    batch, _ = forward(adapter, *prepared(adapter.student, 'RetinaNet'))
    assert batch.activation == 'sigmoid'
    assert batch.background == 3
    assert batch.teacher.shape[1] == 3
    assert (batch.teacher.sigmoid().sum(1) < 1).all()
    assert translate(batch.teacher, 'sigmoid', 'softmax').shape[1] == 4


def test_stages_of_a_cascade_are_weighted_as_its_own_loss_does():
    adapter = ObjectAdapter(student_of('Cascade R-CNN'), teacher_of('RetinaNet'))
    batch, _ = forward(adapter, *prepared(adapter.student, 'Cascade R-CNN'))
    assert set(batch.weight.tolist()) <= {3.0, 1.5, 0.75}
    assert len(batch.sources) == 3


@pytest.mark.parametrize(
    ('student', 'teacher', 'options', 'says'),
    [
        pytest.param(
            'RetinaNet',
            'DINO',
            {'at': 'rows'},
            "at is 'rows', and the teacher, a DINO, cannot be asked about given boxes",
            id='rows of a DINO',
        ),
        pytest.param('DETR', 'DINO', {'at': 'x'}, "at must be one of 'objects', 'rows'", id='at'),
        pytest.param(
            'DETR', 'DINO', {'layers': 1}, "layers must be one of 'last', 'all'", id='layer'
        ),
    ],
)
def test_options_that_are_none_are_refused(student, teacher, options, says):
    config = {'type': 'ObjectAdapter', **options}
    with pytest.raises(ValueError, match=says):
        build_adapter(config, student_of(student), teacher_of(teacher))


@pytest.mark.parametrize(
    ('config', 'says'),
    [
        (
            'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
            'cannot read the student, a Mask2Former, whose queries have masks and no boxes; '
            'MaskQueryAdapter reads two of them. A term of features',
        ),
        ('centernet/centernet_r18_8xb16-crop512-140e_coco', 'CenterNetHead, .* has heat maps'),
    ],
)
def test_heads_that_cannot_be_read_are_named_with_what_would_serve(config, says):
    options = {'panoptic_head.pixel_decoder.num_outs': 3} if 'mask2' in config else {}
    student = build(Family(config, options), seed=0)
    with pytest.raises(ValueError, match=says):
        build_adapter(None, student, teacher_of('DETR'))


def test_count_classes_knows_queries():
    assert count_classes(student_of('DINO')) == {'bbox_head.num_classes': 3}


# -- classes by name ---------------------------------------------------------

OWN = ['a', 'b', 'c']
OTHER = ['x', 'c', 'a', 'y', 'b']


def teacher_of_five(name, tmp_path):
    torch.save({'state_dict': build(FAMILIES[name], 1, 5).state_dict()}, tmp_path / 't.pth')
    return Teacher(thin(FAMILIES[name], 5), str(tmp_path / 't.pth'))


@pytest.mark.parametrize(
    ('student', 'teacher', 'adapter'),
    [
        ('RetinaNet', 'RetinaNet', DenseHeadAdapter),
        ('Faster R-CNN', 'Faster R-CNN', RoIHeadAdapter),
        ('DINO', 'DETR', ObjectAdapter),
        ('RetinaNet', 'Faster R-CNN', ObjectAdapter),
        ('Faster R-CNN', 'YOLOX', ObjectAdapter),
        pytest.param('SSD', 'SSD', DenseHeadAdapter, marks=pytest.mark.slow),
        pytest.param('TOOD, later', 'TOOD, later', DenseHeadAdapter, marks=pytest.mark.slow),
        pytest.param('AutoAssign', 'AutoAssign', DenseHeadAdapter, marks=pytest.mark.slow),
        pytest.param('YOLOv3', 'YOLOv3', DenseHeadAdapter, marks=pytest.mark.slow),
        pytest.param('Cascade R-CNN', 'Cascade R-CNN', RoIHeadAdapter, marks=pytest.mark.slow),
    ],
)
def test_a_teacher_of_more_classes_teaches_the_students(student, teacher, adapter, tmp_path):
    model, teacher = student_of(student), teacher_of_five(teacher, tmp_path)
    with pytest.raises(ValueError, match='differ in their number of classes: 5 and 3'):
        build_adapter(None, model, teacher)
    teacher.class_map = ClassMap(OWN, OTHER)
    built = build_adapter(None, model, teacher)
    assert type(built) is adapter
    torch.manual_seed(0)  # of samplers
    batch, _ = forward(built, *prepared(model, student))
    assert batch.teacher.shape == batch.student.shape
    teacher.class_map = ClassMap(['b', 'a', 'c'], OTHER)
    torch.manual_seed(0)
    other, _ = forward(build_adapter(None, model, teacher), *prepared(model, student))
    if adapter is not ObjectAdapter and student != 'AutoAssign':  # rows of the same places
        order = [1, 0, *range(2, batch.teacher.shape[1])]
        torch.testing.assert_close(other.teacher, batch.teacher[:, order])


def test_rows_of_classes_that_the_teacher_lacks_weigh_nothing(tmp_path):
    teacher = teacher_of_five('Faster R-CNN', tmp_path)
    student = student_of('DINO')
    teacher.class_map = ClassMap(OWN, ['x', 'y', 'z', 'a', 'b'], unmapped='ignore')
    adapter = ObjectAdapter(student, teacher)
    data = prepared(student, 'DINO', objects=(4, 4), seed=3)
    batch = teacher.class_map.mask(forward(adapter, *data)[0])
    assert {0, 2} <= set(batch.labels.tolist())
    assert torch.equal(batch.weight > 0, batch.labels != 2)
    (loss,) = Method(METHOD)(batch, 1).values()
    assert loss.isfinite()


def test_a_copy_of_the_student_reports_nothing_across_families():
    student = student_of('Faster R-CNN')
    adapter = ObjectAdapter(student, teacher_of('DETR'))
    data = prepared(student, 'Faster R-CNN')
    handles = adapter.attach()
    copied = copy.deepcopy(student)
    adapter.reset()
    copied(*data, mode='loss')
    assert not any(adapter.reader.stages)
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize('teacher', ['Faster R-CNN', 'Sparse R-CNN'])
def test_a_teacher_that_pools_from_its_features_does_so_in_bfloat16_autocast(teacher):
    """mmcv's RoIAlign has none; a student with a dense head needs none."""
    student = student_of('GFL')
    adapter = ObjectAdapter(student, teacher_of(teacher))
    data = prepared(student, 'GFL')
    exact, _ = forward(adapter, *data)
    with torch.autocast('cpu', torch.bfloat16):
        batch, _ = forward(adapter, *data)
        (loss,) = Method(METHOD)(batch, 1).values()
    assert loss.isfinite()
    assert len(batch.labels) > 0
    torch.testing.assert_close(batch.teacher.float(), exact.teacher, rtol=0.05, atol=0.05)


@pytest.mark.parametrize('name', ROI)
def test_a_student_with_rois_that_passes_its_loss_by_is_refused(name):
    """It is no student without RoIs, which has nothing to learn."""
    adapter = build_adapter({'type': 'ObjectAdapter'}, student_of(name), teacher_of('DETR'))
    heads = adapter.student.roi_head.bbox_head
    loss_cls = (heads[0] if name == 'Cascade R-CNN' else heads).loss_cls
    loss_cls._call_impl = loss_cls.forward  # as a call without the module's
    with pytest.raises(ValueError, match='RoIHead called its CrossEntropyLoss 0 times, reduced'):
        forward(adapter, *prepared(adapter.student, name))
