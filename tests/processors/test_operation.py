"""What a processor does to a batch, told by itself or called."""

import torch

from sortkd_det.functional import Sort, sort_classes, sort_logits
from sortkd_det.processors import SortLogits, StandardizeLogits, operation_of

LOGITS = torch.tensor([[1.0, 3.0, 2.0, 9.0], [0.0, 5.0, 7.0, 6.0], [4.0, 1.0, 2.0, 8.0]])
LABELS = torch.tensor([0, 1, 3])
BACKGROUND = 3


def test_a_sort_is_told_with_the_label_that_stays_and_the_column_of_background():
    assert operation_of(SortLogits(), -7, BACKGROUND) == Sort(-7, None)
    assert operation_of(SortLogits('classes'), -7, BACKGROUND) == Sort(-7, BACKGROUND)


def test_a_subclass_that_changes_neither_sorts_as_its_parent():
    class Named(SortLogits):
        name = 'mine'

    operation = operation_of(Named('classes'), None, BACKGROUND)
    assert operation == Sort(None, BACKGROUND)
    assert torch.equal(operation(LOGITS, LABELS), sort_classes(LOGITS, LABELS, BACKGROUND))


def test_a_subclass_that_is_called_anew_is_called_with_the_label_that_stays():
    class Anew(SortLogits):
        def __call__(self, logits, labels, ignore_index=None):
            return logits + ignore_index

    assert torch.equal(operation_of(Anew(), 5, BACKGROUND)(LOGITS, LABELS), LOGITS + 5)


def test_one_that_tells_its_operation_anew_as_well_is_asked_for_it():
    class Both(SortLogits):
        def __call__(self, logits, labels, ignore_index=None):
            raise AssertionError('it tells what it does')

        def operation(self, ignore_index, background):
            return Sort(background, None)

    assert operation_of(Both(), 5, BACKGROUND) == Sort(BACKGROUND, None)


def test_called_itself_a_processor_is_the_same_operation():
    sort = SortLogits('classes')
    expected = sort_classes(LOGITS, LABELS, BACKGROUND, 1)
    assert torch.equal(sort(LOGITS, LABELS, 1, BACKGROUND), expected)
    assert torch.equal(SortLogits()(LOGITS, LABELS), sort_logits(LOGITS, LABELS))
    assert torch.equal(SortLogits()(LOGITS, LABELS, 1), sort_logits(LOGITS, LABELS, 1))
    assert not torch.equal(expected, sort_logits(LOGITS, LABELS, 1))


def test_standardising_needs_no_labels():
    found = StandardizeLogits()(torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 1.0]]))
