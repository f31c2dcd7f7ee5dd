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
            lambda module, args, output, calls=calls: calls.append((*args[:3], output.detach()))
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
    for level, ((scores, labels, _, of_class), (_, targets, _, of_box)) in enumerate(levels):
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


def positives_given(watched):
    """How many rows of objects the loss was given."""
    return sum(int((labels < 3).sum()) for _, labels, *_ in watched['loss_cls'])


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
    assert 0 < len(batch.labels) < positives_given(watched)
    assert len(batch.labels) == 2 * losses['num_pos']  # of an image
    assert torch.equal(batch.weight, torch.ones(len(batch.labels)))


def test_rows_that_the_loss_does_not_ask_about_their_class_teach_nothing():
    """Those that are dropped, and outer parts of objects; as background they would be wrong."""
    config = {'type': 'DenseHeadAdapter', 'negatives': 'all'}
    batch, losses, watched = read_and_watched(config, **IMAGES)
    given = positives_given(watched)
    background = [(labels == 3, weight.view(-1, 3)) for _, labels, weight, _ in watched['loss_cls']]
    outer = sum(int((weight[rows] == 0).any(1).sum()) for rows, weight in background)
    kept = int(2 * losses['num_pos'])
    assert batch.is_positive.sum() == kept
    assert outer > 0
    assert len(batch.labels) == sum(len(rows) for rows, _ in background)
    assert (batch.weight == 0).sum() == outer + given - kept
    assert batch.weight[batch.is_positive].min() == 1


def test_images_of_which_one_or_none_has_objects():
    config = {'type': 'DenseHeadAdapter', 'negatives': 'none'}
    batch, losses, _ = read_and_watched(config, objects=(2, 0))
    assert len(batch.labels) == 2 * losses['num_pos'] > 0
    batch, _, _ = read_and_watched(config, objects=(0, 0))
    assert len(batch.labels) == 0
    batch.student.sum().backward()


def test_without_a_graph_the_positives_of_all_levels_are_read():
    with torch.no_grad():
        config = {'type': 'DenseHeadAdapter', 'negatives': 'none'}
        batch, _, watched = read_and_watched(config, **IMAGES)
    assert len(batch.labels) == positives_given(watched)
