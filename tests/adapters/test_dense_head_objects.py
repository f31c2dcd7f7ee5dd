"""Dense heads object by object: whose the student's positives are, and a teacher's best priors."""

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from thin_detectors import forward, prepared, rows_of, student_of, teacher_of, total

from sortkd_det.adapters import DenseHeadAdapter, ObjectAdapter
from sortkd_det.adapters.dense_head_objects import DenseObjectReader, DensePriors, joint_logits
from sortkd_det.adapters.objects import Objects

HEADS = [
    'RetinaNet',
    'ATSS',
    'GFL',
    'FCOS',
    'TOOD, later',
    'VFNet',
    'RTMDet',
    'YOLOX',
    'PAA',
    'SSD',
]
WITH_ASSIGNER = [
    *('RetinaNet', 'FSAF', 'ATSS', 'GFL', 'TOOD, later', 'VFNet', 'RepPoints', 'RTMDet', 'YOLOX')
]


def read(name, change=lambda head: None, label=None, **options):
    """What a forward of a student shows: its rows, the objects, what its assigner told and its
    losses; ``change`` is done to its head before, and all objects may be of one label.
    """
    student = student_of(name)
    change(student.bbox_head)
    data = prepared(student, name, **options)
    for sample in data[1]:
        if label is not None:
            sample.gt_instances.labels.fill_(label)
    reader = DenseObjectReader(student.bbox_head, student)
    truth = []

    class Told:
        """An assigner that notes what it assigns."""

        def __init__(self, assigner):
            self.assigner = assigner

        def assign(self, *args, **kwargs):
            found = self.assigner.assign(*args, **kwargs)
            truth.append(found.gt_inds - 1)
            return found

        def __getattr__(self, key):
            return getattr(self.assigner, key)

    for each in ('assigner', 'alignment_assigner', 'refine_assigner'):
        if hasattr(student.bbox_head, each):
            setattr(student.bbox_head, each, Told(getattr(student.bbox_head, each)))
    handles = reader.attach()
    reader.reset()
    losses = student(*data, mode='loss')
    objects = Objects.of(data[1])
    (rows,) = reader.rows(objects, data[1])
    for handle in handles:
        handle.remove()
    return rows, objects, truth[-len(data[1]) :], losses


@pytest.mark.parametrize(
    'name', rows_of(WITH_ASSIGNER, quick={'RetinaNet', 'FSAF', 'GFL', 'RepPoints', 'YOLOX'})
)
def test_rows_are_of_the_object_that_the_assigner_gave_them(name):
    """Crowds: seven and five objects on images of 96 pixels."""
    keeps_all = name != 'FSAF'  # whose loss drops some, as its graph tells
    with torch.set_grad_enabled(keeps_all):
        rows, objects, truth, losses = read(name, sizes=((96, 96), (96, 96)), objects=(7, 5))
    first = torch.tensor([0, 7])
    assigned = torch.stack(truth)  # (B, P), -1: none
    chosen = assigned.t() >= 0
    expected = (assigned + first[:, None]).t()[chosen]
    assert len(rows.labels) == len(expected) > 5
    assert torch.equal(rows.objects, expected)
    assert torch.equal(rows.labels, objects.labels[rows.objects])
    if keeps_all:
        (rows.logits.sum() + total(losses)).backward()


@pytest.mark.parametrize('name', ['FCOS', 'CondInst'])
@pytest.mark.parametrize('in_strides', [False, True])
def test_rows_of_points_are_of_the_object_whose_edges_they_are_to_find(name, in_strides):
    """FCOS's distances in pixels, or in strides from the point (``norm_on_bbox``)."""
    expected = []

    def change(head):
        head.norm_on_bbox = in_strides
        get_targets = head._get_targets_single

        def told(objects, points, *args, **kwargs):
            labels, distances, *others = get_targets(objects, points, *args, **kwargs)
            boxes = torch.cat([points - distances[:, :2], points + distances[:, 2:]], 1)
            expected.append((labels != head.num_classes, boxes))
            return labels, distances, *others

        head._get_targets_single = told

    rows, objects, _, _ = read(name, change, 1, sizes=((96, 96), (96, 96)), objects=(7, 5))
    chosen, boxes = (torch.stack(each, 1) for each in zip(*expected, strict=True))
    assert len(rows.labels) > 5
    torch.testing.assert_close(objects.boxes[rows.objects], boxes[chosen], rtol=0, atol=0.01)


def test_yolof_whose_loss_of_boxes_has_rows_in_the_order_of_objects():
    """As many of them as positives: a prior for each object by its box, another as anchor."""

    def change(head):
        torch.manual_seed(1)
        torch.nn.init.normal_(head.bbox_pred.weight, std=0.3)
        head.assigner.match_times, head.assigner.pos_ignore_thr = 1, 0.0

    options = {'sizes': ((256, 256),), 'objects': (3,), 'seed': 1}
    rows, _, truth, _ = read('YOLOF', change, 1, **options)
    assert len(rows.labels) == 6
    assert torch.equal(rows.objects, truth[0][truth[0] >= 0])


@pytest.mark.parametrize('name', rows_of(HEADS, quick={'RetinaNet', 'GFL', 'YOLOX'}))
def test_rows_lie_near_their_objects(name):
    """At predicted boxes where the loss shows them in pixels or strides, else at priors."""
    rows, objects, _, _ = read(name, objects=(2, 1))
    assert len(rows.labels) > 0
    assert rows.boxes.shape == (len(rows.labels), 4)
    assert not rows.boxes.requires_grad
    assert (rows.boxes.abs() < 400).all()
    centres = (rows.boxes[:, :2] + rows.boxes[:, 2:]) / 2
    boxes = objects.boxes[rows.objects]
    assert ((centres > boxes[:, :2] - 48) & (centres < boxes[:, 2:] + 48)).all()


@pytest.mark.parametrize('name', ['RetinaNet', 'GFL', 'YOLOX'])
def test_no_objects_are_no_rows_with_a_graph(name):
    rows, _, _, _ = read(name, objects=(0, 0))
    assert len(rows.logits) == len(rows.labels) == len(rows.objects) == len(rows.boxes) == 0
    assert rows.logits.requires_grad


def test_a_head_without_labels_is_refused():
    with pytest.raises(ValueError, match='AutoAssignHead hands no labels to its losses'):
        ObjectAdapter(student_of('AutoAssign'), teacher_of('RetinaNet'))


def test_a_joint_chance_is_that_of_the_class_times_that_of_an_object():
    generator = torch.Generator().manual_seed(0)
    given, some = (5 * torch.randn(2, 40, generator=generator).double()).unbind()
    found = joint_logits(given, some).sigmoid()
    torch.testing.assert_close(found, (given.sigmoid() * some.sigmoid()).float())


@pytest.mark.parametrize('name', ['YOLOX', 'YOLOv3'])
def test_a_head_that_tells_objects_apart_is_asked_for_both(name):
    teacher = teacher_of(name)
    inputs, _ = prepared(student_of(name), name)
    with torch.no_grad():
        features = teacher.model.extract_feat(inputs)
        given, joint = (
            DensePriors(teacher.model.bbox_head, joint).maps(features) for joint in (False, True)
        )
    for one, other in zip(given, joint, strict=True):
        assert one.shape == other.shape
        ratio = other.sigmoid() / one.sigmoid()  # the chance of any object, alike for each class
        assert (ratio < 1).all()
        torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio), rtol=1e-3, atol=0)


def test_the_best_prior_lies_in_the_object_and_knows_its_class():
    priors = DensePriors(teacher_of('FCOS').model.bbox_head, joint=True)
    maps = [torch.zeros(2, 1, 3, size, size) for size in (8, 4, 2, 1, 1)]
    maps[0][0, 0, 1, 2, 3] = 2.0  # of the 64 pixels 24…32, 16…24
    maps[0][0, 0, 1, 7, 7] = 9.0  # outside of the object
    maps[1][0, 0, 2, 1, 1] = 5.0  # of another class
    maps[0][1, 0, 1, 2, 3] = 7.0  # on another image
    objects = Objects(
        torch.tensor([[10.0, 10, 40, 40], [33, 33, 34, 34]]), torch.tensor([1, 0]), torch.zeros(2)
    )
    logits, seen = priors.look(maps, objects)
    assert logits.tolist() == [[0, 2, 0], [0, 0, 0]]
    assert seen.all()
    empty = Objects(objects.boxes[:0], objects.labels[:0], objects.images[:0])
    assert priors.look(maps, empty)[0].shape == (0, 3)


@pytest.mark.parametrize('name', ['RetinaNet', 'PISA-RetinaNet', 'GFL', 'FCOS', 'YOLOX'])
def test_a_place_lies_where_an_object_of_its_label_does(name):
    student = student_of(name)
    found = {}
    for negatives in ('none',) if name == 'YOLOX' else ('none', 3, 'all'):
        inputs, samples = prepared(student, name, sizes=((64, 96), (96, 64)), objects=(1, 3))
        adapter = DenseHeadAdapter(student, teacher_of(name), negatives)
        batch, _ = forward(adapter, inputs, samples)
        places = batch.find_places()
        assert places.shape == (len(batch.labels), 5)
        places, labels = (each[batch.is_positive] for each in (places, batch.labels))
        assert {0, 1} == set(places[:, 0].tolist())
        for (image, *corners), label in zip(places, labels, strict=True):
            objects = samples[int(image)].gt_instances
            boxes = objects.bboxes[objects.labels == label]
            assert (bbox_overlaps(torch.stack(corners)[None], boxes) > 0).any()
        found[negatives] = sorted(places.tolist())
    assert all(each == found['none'] for each in found.values())


def test_cells_of_grids_are_no_places():
    adapter = DenseHeadAdapter(student_of('SOLO'), teacher_of('SOLO'))
    batch, _ = forward(adapter, *prepared(adapter.student, 'SOLO'))
    assert batch.find_places is None
