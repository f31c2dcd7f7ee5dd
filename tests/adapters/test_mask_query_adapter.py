"""Queries with masks: which of them learn, and from which of the teacher's."""

import pytest
import torch
from thin_detectors import MASK_QUERY, forward, prepared, student_of, teacher_of

from sortkd_det.adapters import MaskQueryAdapter, ObjectAdapter, count_classes, find_adapter
from sortkd_det.adapters.loss_calls import LossCalls, hard_labels
from sortkd_det.adapters.mask_query_adapter import overlaps

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


@each_head
def test_a_query_learns_about_the_object_that_it_overlaps_most(name):
    student, teacher = student_of(name), teacher_of(name)
    inputs, samples = prepared(student, name, objects=(2, 2))
    adapter = MaskQueryAdapter(student, teacher)
    for sample in samples:
        sample.gt_instances.labels[:] = 1  # told apart by their masks alone
    batch, _ = forward(adapter, inputs, samples)
    with torch.no_grad():
        scores, masks = teacher.model.panoptic_head(teacher.model.extract_feat(inputs), samples)
        own_scores, own_masks = student.panoptic_head(student.extract_feat(inputs), samples)
    for image, sample in enumerate(samples):
        truth = torch.from_numpy(sample.gt_instances.masks.masks)
        seen = overlaps(masks[-1][image], truth) * scores[-1][image].softmax(1)[:, 1:2]
        answers = scores[-1][image, seen.argmax(0)]
        for row in range(2 * image, 2 * image + 2):
            away = (own_scores[-1][image] - batch.student[row].detach()).abs().amax(1)
            found = overlaps(own_masks[-1][image, away.argmin()][None], truth).argmax()
            torch.testing.assert_close(batch.teacher[row], answers[found])


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


def test_it_is_found_and_counts_and_other_families_are_refused_by_name():
    first, second = (student_of(name) for name in ('MaskFormer', 'Mask2Former'))
    assert find_adapter(first, second) is MaskQueryAdapter
    assert count_classes(first) == {'panoptic_head.num_classes': 3}
    with pytest.raises(ValueError, match='MaskQueryAdapter reads two of them'):
        ObjectAdapter(student_of('DETR'), teacher_of('Mask2Former'))
    with pytest.raises(ValueError, match=r"layers must be one of 'last', 'all', got 'first'"):
        MaskQueryAdapter(first, teacher_of('MaskFormer'), 'first')
