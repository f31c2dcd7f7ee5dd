import torch

from sortkd_det.distill import LogitBatch
from sortkd_det.distill.teacher_rows import TeacherRows


def batch_of(teacher, labels, activation, background, weight=None, truth=None):
    teacher = torch.tensor(teacher)
    return LogitBatch(
        teacher,
        teacher,
        torch.tensor(labels),
        torch.ones(len(labels)) if weight is None else torch.tensor(weight),
        activation=activation,
        background=background,
        find_ground_truth=None if truth is None else lambda: torch.tensor(truth),
    )


def test_rows_of_a_softmax_with_background():
    batch = batch_of(
        [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 0.0], [5.0, 5.0, 0.0]],
        [0, 1, 2, 1],
        'softmax',
        background=2,
        weight=[1.0, 0.5, 1.0, 0.0],
        truth=[True, False, False, False],
    )
    rows = TeacherRows.of(batch)
    assert rows.num_columns == 3
    assert rows.counted.tolist() == [True, True, True, False]
    assert rows.ranks.tolist() == [1, 2, 3, 1]
    assert rows.predictions.tolist() == [0, 2, 0, 1]  # a label that shares the maximum is on top
    assert rows.is_sorted.tolist() == [False, True, True, False]
    assert rows.as_background.tolist() == [False, True, False, False]
    assert rows.is_truth.tolist() == [True, False, False, False]


def test_rows_of_sigmoids_with_background():
    batch = batch_of(
        [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [1.0, 2.0]], [0, 1, 2, 2], 'sigmoid', 2
    )
    before = batch.teacher.clone()
    rows = TeacherRows.of(batch)
    assert rows.num_columns == 3
    assert rows.ranks.tolist() == [1, 2, 1, 3]  # a class is ranked among classes
    assert rows.predictions.tolist() == [0, 0, 2, 1]
    assert rows.is_sorted.tolist() == [False, True, False, False]  # background never is
    assert rows.as_background.tolist() == [True, True, True, False]
    assert not rows.is_truth.any()
    assert torch.equal(batch.teacher, before)


def test_without_background_there_is_none():
    rows = TeacherRows.of(batch_of([[0.0, 1.0]], [0], 'softmax', None))
    assert rows.as_background.tolist() == [False]
    assert rows.is_sorted.tolist() == [True]


def test_no_rows():
    none = torch.zeros(0, 2)
    batch = LogitBatch(
        none, none, torch.zeros(0).long(), torch.zeros(0), activation='sigmoid', background=2
    )
    rows = TeacherRows.of(batch)
    assert len(rows.ranks) == len(rows.predictions) == 0
