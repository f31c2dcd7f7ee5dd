"""Queries with masks: which of them learn, and from which of the teacher's."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from thin_detectors import (
    FAMILIES,
    MASK_QUERY,
    build,
    forward,
    guest_of,
    prepared,
    student_of,
    teacher_of,
)

from sortkd_det.adapters import MaskQueryAdapter, ObjectAdapter, count_classes, find_adapter
from sortkd_det.adapters.loss_calls import LossCalls, hard_labels
from sortkd_det.adapters.mask_query_adapter import disagreements, one_each, overlaps

each_head = pytest.mark.parametrize('name', MASK_QUERY)


def seen_by_the_loss(student, inputs, samples, adapter):
    """A forward, and what the head's own loss was given in it."""
    own = LossCalls(student.panoptic_head.loss_cls)
    handles = own.attach()
    batch, _ = forward(adapter, inputs, samples)
    for handle in handles:
        handle.remove()
    return batch, own


def dice(mask, truth):
    """Of one mask of logits and one of 0 and 1 in as many pixels, pixel by pixel."""
    chances = [1 / (1 + float((-x).exp())) for x in mask.flatten()]
    both = sum(p * float(t) for p, t in zip(chances, truth.flatten(), strict=True))
    return 2 * both / (sum(chances) + float(truth.sum()))


def test_overlaps_are_dices_coefficient_in_the_masks_own_pixels():
    masks = torch.tensor([[[40.0, -40.0], [-40.0, -40.0]], [[40.0, 40.0], [-40.0, 0.0]]])
    objects = torch.zeros(2, 4, 4, dtype=torch.uint8)
    objects[0, :2, :2] = 1  # the pixel of the upper left
    objects[1, 2:, 2] = 1  # half of that of the lower right
    expected = [[2 * 1 / 2, 0], [2 * 1 / 3.5, 2 * 0.25 / 3]]
    torch.testing.assert_close(overlaps(masks, objects), torch.tensor(expected))
    assert overlaps(masks, objects[:0]).shape == (2, 0)


@each_head
@pytest.mark.parametrize('layers', ['last', 'all'])
def test_rows_are_the_matched_queries_of_the_heads_own_loss(name, layers):
    student = student_of(name)
    adapter = MaskQueryAdapter(student, teacher_of(name), layers)
    inputs, samples = prepared(student, name, objects=(2, 3))
    batch, own = seen_by_the_loss(student, inputs, samples, adapter)
    calls = own[-1:] if layers == 'last' else own
    labels = [hard_labels(call.target, 3) for call in calls]
    rows = [call.scores[label != 3] for call, label in zip(calls, labels, strict=True)]
    assert torch.equal(batch.student, torch.cat(rows))
    assert torch.equal(batch.labels, torch.cat([label[label != 3] for label in labels]))
    assert len(batch.labels) == 5 * len(calls)
    assert batch.weight.tolist() == [len(calls)] * len(batch.labels)
    assert (batch.activation, batch.background, batch.student.shape[1]) == ('softmax', 3, 4)


@each_head
def test_the_teachers_query_has_the_largest_overlap_times_probability(name):
    student, teacher = student_of(name), teacher_of(name)
    inputs, samples = prepared(student, name, objects=(1, 1))  # each query's object is the only one
    adapter = MaskQueryAdapter(student, teacher)
    batch, _ = forward(adapter, inputs, samples)
    with torch.no_grad():
        features = teacher.model.extract_feat(inputs)
        scores, masks = teacher.model.panoptic_head(features, samples)
    for row, sample in enumerate(samples):
        (label,) = sample.gt_instances.labels
        (truth,) = torch.from_numpy(sample.gt_instances.masks.masks)
        height, width = masks[-1].shape[-2:]
        cells = truth.float().reshape(height, len(truth) // height, width, -1).mean((1, 3))
        sights = [
            dice(mask, cells) * float(score.softmax(0)[label])
            for mask, score in zip(masks[-1][row], scores[-1][row], strict=True)
        ]
        best = sights.index(max(sights))
        torch.testing.assert_close(batch.teacher[row], scores[-1][row, best])


def with_drawings(name, samples):
    """A teacher whose query k draws object k of each image and gives column 0 the chance
    0.2 + k / 200, in all layers.
    """
    model = copy.deepcopy(teacher_of(name).model)

    def draw(head, args, output):
        masks = output[1]
        drawn = torch.full_like(torch.stack(list(masks)), -40.0)
        for image, sample in enumerate(samples):
            truth = torch.from_numpy(sample.gt_instances.masks.masks)[:, None].float()
            cells = F.interpolate(truth, drawn.shape[-2:], mode='area')[:, 0]
            drawn[:, image, : len(cells)] = 80 * cells - 40
        number = torch.arange(drawn.shape[2]) / 200
        chances = [0.2 + number, torch.full_like(number, 0.5), 0.2 - number, number * 0 + 0.1]
        return torch.stack(chances, 1).log().expand(*drawn.shape[:3], -1), drawn

    model.panoptic_head.register_forward_hook(draw)
    return guest_of(model, name)


@each_head
@pytest.mark.parametrize('layers', ['last', 'all'])
@pytest.mark.parametrize('graph', [True, False])
def test_a_query_learns_about_the_object_that_its_own_loss_matched_it_to(
    name, layers, graph, monkeypatch
):
    """Five objects of one class, told apart by their masks alone; without a graph by a guess."""
    student = student_of(name)
    inputs, samples = prepared(student, name, objects=(5, 5))
    for sample in samples:
        sample.gt_instances.labels[:] = 1
    teacher = with_drawings(name, samples)
    matched, sampler = [], student.panoptic_head.sampler
    choose = sampler.sample

    def choose_and_tell(*args, **kwargs):
        chosen = choose(*args, **kwargs)
        matched.append(chosen.pos_assigned_gt_inds)
        return chosen

    monkeypatch.setattr(sampler, 'sample', choose_and_tell)
    with torch.set_grad_enabled(graph):
        batch, _ = forward(MaskQueryAdapter(student, teacher, layers), inputs, samples)
    taught = ((batch.teacher.softmax(1)[:, 0] - 0.2) * 200).round().long()
    for found in taught.split(5):
        assert sorted(found.tolist()) == [0, 1, 2, 3, 4]
    if graph:
        assert torch.equal(taught, torch.cat(matched)[-len(taught) :])


@each_head
def test_stuff_is_an_object_too(name):
    options = {**FAMILIES[name].options}
    for part in ('panoptic_head', 'panoptic_fusion_head'):
        options |= {f'{part}.num_things_classes': 2, f'{part}.num_stuff_classes': 1}
    family = dataclasses.replace(FAMILIES[name], options=options)
    student, model = build(family, seed=0).train(), build(family, seed=1).eval()
    teacher = guest_of(model.requires_grad_(False), name)
    inputs, samples = prepared(student, name, objects=(1, 0))
    (sample, other) = samples
    sample.gt_instances.labels[:] = 1
    stuff = torch.full((1, 64, 64), 255)
    other.gt_sem_seg = PixelData(sem_seg=stuff.clone())
    stuff[:, :, :24] = 2
    sample.gt_sem_seg = PixelData(sem_seg=stuff)
    adapter = MaskQueryAdapter(student, teacher)
    assert count_classes(student) == {'panoptic_head.num_classes': 3}
    batch, own = seen_by_the_loss(student, inputs, samples, adapter)
    labels = hard_labels(own[-1].target, 3)
    assert torch.equal(batch.labels, labels[labels != 3])
    assert sorted(batch.labels.tolist()) == [1, 2]
    with torch.no_grad():
        scores, masks = model.panoptic_head(model.extract_feat(inputs), samples)
    seen = overlaps(masks[-1][0], (stuff == 2).long())[:, 0] * scores[-1][0].softmax(1)[:, 2]
    (row,) = (batch.labels == 2).nonzero()[0]
    torch.testing.assert_close(batch.teacher[row], scores[-1][0, seen.argmax()])


def test_autocast_rounds_no_overlap_and_no_disagreement():
    torch.manual_seed(0)
    masks, objects = torch.randn(6, 16, 16), torch.randint(2, (5, 64, 64))
    points = torch.randint(40, (6, 16, 16)).float()
    expected = overlaps(masks, objects), disagreements(points, points / 3, objects)
    with torch.autocast('cpu', torch.bfloat16):
        found = overlaps(masks, objects), disagreements(points, points / 3, objects)
    assert all(map(torch.equal, found, expected))


def test_disagreements_are_squared_differences_at_the_points():
    """Up to what is the same for all objects: the square of the target at each point."""
    torch.manual_seed(0)
    points, objects = torch.randint(4, (3, 8, 8)).float(), torch.randint(2, (4, 8, 8))
    targets = objects[[2, 0, 2]]
    found = disagreements(points, points * targets, objects)
    away = (targets[:, None] - objects).square() * points[:, None]
    torch.testing.assert_close(
        found + (points * targets).sum((1, 2))[:, None], away.sum((2, 3)).float()
    )
    assert found.argmin(1).tolist() == [2, 0, 2]


def test_each_object_has_one_row_of_its_label():
    cost = torch.tensor([[0.0, 1.0, 9.0], [0.0, 4.0, -9.0]])
    target = InstanceData(labels=torch.tensor([0, 0, 1]))
    assert one_each(cost, torch.tensor([0, 0]), target).tolist() == [1, 0]
    assert one_each(cost, torch.tensor([0, 1]), target).tolist() == [0, 2]
    with pytest.raises(ValueError, match='2 queries were matched to the 3 objects of an image, of'):
        one_each(cost, torch.tensor([1, 1]), target)


def test_the_teacher_is_asked_about_images_padded_its_own_way(monkeypatch):
    name = 'Mask2Former'
    student, teacher = student_of(name), teacher_of(name)
    inputs, samples = prepared(student, name, objects=(1, 1), sizes=((64, 64), (48, 56)))
    plain, _ = forward(MaskQueryAdapter(student, teacher), inputs, samples)
    monkeypatch.setattr(teacher.model.data_preprocessor, 'pad_size_divisor', 128)
    batch, _ = forward(MaskQueryAdapter(student, teacher), inputs, samples)
    assert batch.teacher.shape == plain.teacher.shape
    assert batch.teacher.isfinite().all()


def test_other_calls_of_the_loss_are_an_error():
    student = student_of('MaskFormer')
    adapter = MaskQueryAdapter(student, teacher_of('MaskFormer'))
    inputs, samples = prepared(student, 'MaskFormer')
    loss_cls = student.panoptic_head.loss_cls

    def call_it_once_more(*_):
        loss_cls(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))

    adapter.head.register_forward_hook(call_it_once_more)
    with pytest.raises(ValueError, match='Head called its loss_cls 3 times for 2 layers'):
        forward(adapter, inputs, samples)


@each_head
def test_other_calls_of_the_loss_of_masks_are_an_error(name):
    student = student_of(name)
    adapter = MaskQueryAdapter(student, teacher_of(name))
    data = prepared(student, name)
    handles = adapter.attach()

    def run():
        adapter.reset()
        adapter.prepare(*data)
        student(*data, mode='loss')

    run()
    adapter.reader.matched.clear()
    with pytest.raises(ValueError, match=r'gave 0 rows to its loss_dice in layer \d .* 3 matched'):
        adapter.batch(*data)
    run()
    adapter.reader.matched.reverse()
    with pytest.raises(ValueError, match='expects the masks of these, one call for each layer'):
        adapter.batch(*data)
    for handle in handles:
        handle.remove()


def test_it_is_found_and_counts_and_other_families_are_refused_by_name():
    first, second = (student_of(name) for name in ('MaskFormer', 'Mask2Former'))
    assert find_adapter(first, second) is MaskQueryAdapter
    assert count_classes(first) == {'panoptic_head.num_classes': 3}
    with pytest.raises(ValueError, match='MaskQueryAdapter reads two of them'):
        ObjectAdapter(student_of('DETR'), teacher_of('Mask2Former'))
    with pytest.raises(ValueError, match=r"layers must be one of 'last', 'all', got 'first'"):
        MaskQueryAdapter(first, teacher_of('MaskFormer'), 'first')
