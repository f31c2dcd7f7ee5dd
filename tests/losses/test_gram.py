"""Gram losses: relations between the rows of a batch, and between its classes."""

import pytest
import torch
from every_loss import random_pair

from sortkd_det.losses import BatchGramLoss, ClassGramLoss


@pytest.mark.parametrize('quantile', [0.0, 0.3, 0.5, 1.0])
def test_class_gram_counts_the_classes_that_the_teacher_is_least_sure_of(quantile):
    student, target, labels = random_pair(dtype=torch.float64)
    a, b = ((x / 2).softmax(1) for x in (student, target))
    by_class = ((a.T @ a - b.T @ b) ** 2).sum(1).tolist()
    confidence = target.softmax(1).sum(0).tolist()
    # The quantile between 7 classes lies at 6 · quantile, counted from 0.
    counted = sorted(range(7), key=lambda c: confidence[c])[: int(6 * quantile) + 1]
    loss = ClassGramLoss(temperature=2, confidence_quantile=quantile)
    expected = sum(by_class[c] for c in counted) / 7
    assert float(loss(student, target, labels)) == pytest.approx(expected)


def test_every_class_counts_at_quantile_one():
    inputs = random_pair()
    everything = ClassGramLoss(confidence_quantile=1.0)(*inputs)
    torch.testing.assert_close(everything, ClassGramLoss()(*inputs))


def test_between_rows_a_weight_multiplies_the_sum_of_a_rows_relations():
    # The row of weight 0 still stands in the relations of the others.
    loss = BatchGramLoss(temperature=2)
    student, target, labels = random_pair(dtype=torch.float64)
    a, b = ((x / 2).softmax(1) for x in (student, target))
    relations = (a @ a.T - b @ b.T) ** 2
    weight = torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    expected = sum(weight[i] * relations[i, j] for i in range(5) for j in range(5)) / 4
    torch.testing.assert_close(loss(student, target, labels, weight, 4), expected)
    without = loss(*(x[weight > 0] for x in (student, target, labels, weight)), 4)
    assert not torch.isclose(without, expected, rtol=1e-2)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'confidence_quantile': 2}, ValueError, 'confidence_quantile must lie'),
        ({'confidence_quantile': '0.5'}, TypeError, 'confidence_quantile must be'),
    ],
)
def test_unfit_settings_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        ClassGramLoss(**arguments)
