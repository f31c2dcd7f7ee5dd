"""What sorting and swapping do to a teacher's rows, worked out by hand."""

from types import SimpleNamespace

import pytest
import torch

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import CHANGES, ChangedRows

# Probabilities of cat, dog and background.
CHANCES = [[0.2, 0.5, 0.3], [0.3, 0.1, 0.6], [0.7, 0.1, 0.2], [0.8, 0.1, 0.1]]
LABELS = [0, 1, 2, 0]


def batch_of(dtype=torch.float32, **others):
    logits = torch.tensor(CHANCES, dtype=torch.float64).log().to(dtype)
    labels = torch.tensor(LABELS)
    head = {'activation': 'softmax', 'background': 2}
    return LogitBatch(logits, logits, labels, torch.ones(4), **head, **others)


@pytest.mark.parametrize(
    ('name', 'effects'),
    [
        # Whether it changes, what moves, and what background loses: a gain is no loss.
        ('sort', [[1, 0.3, 0.1], [1, 0.5, 0.3], [1, 0.5, 0], [0, 0, 0]]),
        ('sort of classes', [[1, 0.3, 0], [1, 0.2, 0], [0, 0, 0], [0, 0, 0]]),
        ('swap', [[1, 0.3, 0], [1, 0.5, 0.5], [1, 0.5, 0], [0, 0, 0]]),
    ],
)
def test_what_a_change_moves_and_what_background_loses(name, effects):
    found = ChangedRows.of(batch_of()).effect(name)
    torch.testing.assert_close(found, torch.tensor(effects).double(), rtol=0, atol=1e-6)


def test_probabilities_are_in_double_precision_so_that_what_is_moved_is_what_is_lost():
    changed = ChangedRows.of(batch_of())
    for name in CHANGES:
        lost = changed.probabilities[''] - changed.probabilities[name]
        assert lost.dtype == torch.float64
        assert lost.sum(1).abs().max() < 1e-15


def test_a_sigmoid_has_a_chance_of_each_class_by_itself_and_no_background_to_lose():
    chances = torch.tensor([[0.6, 0.7], [0.4, 0.3]], dtype=torch.float64)
    logits = chances.logit().float()
    labels = torch.tensor([0, 2])
    batch = LogitBatch(logits, logits, labels, torch.ones(2), activation='sigmoid', background=2)
    changed = ChangedRows.of(batch)
    assert changed.probabilities['sort'].dtype == torch.float64
    expected = torch.tensor([[0.7, 0.6], [0.4, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(changed.probabilities['sort'], expected, rtol=0, atol=1e-6)
    expected = torch.tensor([[1, 0.1, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(changed.effect('sort'), expected, rtol=0, atol=1e-6)


def test_overlaps_are_those_of_the_labels_objects_in_single_precision():
    places = [[0, 1000, 1000, 1500, 1500], [0, 0, 0, 100, 100], [0, 0, 0, 100, 50], [1, 0, 0, 9, 9]]
    batch = batch_of(find_places=lambda: torch.tensor(places, dtype=torch.float16))
    objects = [
        SimpleNamespace(
            bboxes=torch.tensor([[1000.0, 1000, 1501, 1500], [0, 0, 100, 100]]),
            labels=torch.tensor([0, 0]),
        ),
        SimpleNamespace(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)),
    ]
    # The second is a dog, of which there is none; the third background, that may overlap any.
    found = ChangedRows.of(batch, objects).ious
    torch.testing.assert_close(found, torch.tensor([500 / 501, 0, 0.5, 0]), rtol=1e-6, atol=0)
    assert ChangedRows.of(batch).ious is None
