"""FSAF's reader: the loss keeps of each object the positives of one level, which are taught."""

import pytest
import torch
from thin_detectors import forward, prepared, student_of, teacher_of

from sortkd_det.adapters import build_adapter

IMAGES = dict(sizes=((128, 128), (128, 128)), objects=(5, 4))


def read_and_watched(config, **images):
    """What is read of a step, the student's own losses, and what its losses were given and made
    of each level's rows.
    """
    student = student_of('FSAF')
    head = student.bbox_head
    watched = {'loss_cls': [], 'loss_bbox': []}
    for name, calls in watched.items():
        getattr(head, name).register_forward_hook(
            lambda module, args, output, calls=calls: calls.append((*args[:2], output.detach()))
        )
    adapter = build_adapter(config, student, teacher_of('FSAF'))
    batch, losses = forward(adapter, *prepared(student, 'FSAF', **images))
    return batch, losses, watched


def kept_of(watched):
    """Logits and labels of the kept positives, by the formula: of each object (a target box, as no
    two are alike) the level on which the mean of its rows' two losses is least.
    """
    rows = {}
    levels = zip(watched['loss_cls'], watched['loss_bbox'], strict=True)
    for level, ((scores, labels, of_class), (_, targets, of_box)) in enumerate(levels):
        for row in (labels < 3).nonzero().flatten().tolist():
            value = of_class[row].sum() + of_box[row]
            found = (value.item(), scores[row].tolist(), labels[row].item())
            rows.setdefault((*targets[row].tolist(),), {}).setdefault(level, []).append(found)
    assert any(len(levels) > 1 for levels in rows.values())
    best = [
        min(levels.values(), key=lambda found: sum(value for value, *_ in found) / len(found))
        for levels in rows.values()
    ]
    return sorted((scores, label) for found in best for _, scores, label in found)


@pytest.mark.parametrize(
    'config',
    [
        pytest.param({'type': 'DenseHeadAdapter', 'negatives': 'none'}, id='rows'),
        pytest.param({'type': 'ObjectAdapter'}, id='objects'),
    ],
)
def test_the_positives_of_the_level_that_the_loss_keeps_are_taught(config):
    batch, losses, watched = read_and_watched(config, **IMAGES)
    found = zip(batch.student.tolist(), batch.labels.tolist(), strict=True)
    assert sorted(found) == kept_of(watched)
    given = sum(int((labels < 3).sum()) for _, labels, _ in watched['loss_cls'])
    assert 0 < len(batch.labels) < given
    assert len(batch.labels) == 2 * losses['num_pos']  # of an image
    assert torch.equal(batch.weight, torch.ones(len(batch.labels)))


def test_of_all_rows_those_that_are_dropped_are_background():
    """Their other classes are trained, as of every row of background."""
    config = {'type': 'DenseHeadAdapter', 'negatives': 'all'}
    batch, losses, watched = read_and_watched(config, **IMAGES)
    assert len(batch.labels) == sum(len(labels) for _, labels, _ in watched['loss_cls'])
    assert batch.is_positive.sum() == 2 * losses['num_pos']
    assert batch.weight.sum() == len(batch.labels)


def test_images_of_which_one_or_none_has_objects():
    config = {'type': 'DenseHeadAdapter', 'negatives': 'none'}
    batch, losses, _ = read_and_watched(config, objects=(2, 0))
    assert len(batch.labels) == 2 * losses['num_pos'] > 0
    batch, _, _ = read_and_watched(config, objects=(0, 0))
    assert len(batch.labels) == 0
    batch.student.sum().backward()


def test_without_a_graph_the_positives_of_all_levels_are_read():
    with torch.no_grad():
        batch, _, watched = read_and_watched({'type': 'DenseHeadAdapter'}, **IMAGES)
    given = sum(int((labels < 3).sum()) for _, labels, _ in watched['loss_cls'])
    assert len(batch.labels) == given
