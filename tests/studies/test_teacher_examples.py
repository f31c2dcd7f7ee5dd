"""Which rows are kept to be looked at, and what of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from report_pages import decoded

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import ChangedRows
from sortkd_det.studies.teacher_examples import TeacherExamples

CHANCES = [[0.2, 0.5, 0.3], [0.3, 0.1, 0.6], [0.05, 0.15, 0.8], [0.7, 0.1, 0.2], [0.8, 0.1, 0.1]]
PLACES = [[0, 10, 10, 20, 30], [0, 0, 0, 40, 30], [1, 30, 20, 50, 40], [1, 0, 0, 9, 9], [1] * 5]


def batch_of(labels=(0, 1, 1, 2, 0), places=PLACES, weight=None):
    teacher = torch.tensor(CHANCES, dtype=torch.float64).log()
    return LogitBatch(
        teacher,
        teacher,
        torch.tensor(labels),
        torch.ones(5) if weight is None else torch.tensor(weight),
        activation='softmax',
        background=2,
        find_places=None if places is None else lambda: torch.tensor(places, dtype=torch.float),
    )


@pytest.fixture
def images():
    """Two of 50 × 40 pixels, whose red and green tell the column and the row."""
    rows, columns = np.mgrid[:40, :50]
    image = np.stack([np.zeros_like(rows), rows * 5, columns * 5], axis=2).astype(np.uint8)
    return [image, image]


def found(batch, images, number=9):
    examples = TeacherExamples(number)
    examples.add(ChangedRows.of(batch), images)
    return examples.found


def test_of_each_image_the_row_in_which_most_moves(images):
    first, second = found(batch_of(), images)
    assert (first.label, second.label) == (1, 1)
    assert (first.moved, second.moved) == (pytest.approx(0.65), pytest.approx(0.5))
    assert first.probabilities[''] == pytest.approx(CHANCES[2])
    assert first.probabilities['sort'] == pytest.approx([0.05, 0.8, 0.15])
    assert first.probabilities['sort of classes'] == pytest.approx(CHANCES[2])
    assert first.logits['sort'] == pytest.approx(np.log([0.05, 0.8, 0.15]))


def test_rows_of_background_hits_and_weight_0_are_none(images):
    weight = [1.0, 1.0, 0.0, 1.0, 1.0]
    (only,) = found(batch_of(weight=weight), images)
    assert only.probabilities[''] == pytest.approx(CHANCES[1])
    assert found(batch_of(labels=(1, 2, 2, 0, 0)), images) == []


def test_the_most_of_all_batches_are_kept(images):
    examples = TeacherExamples(3)
    small = batch_of(labels=(0, 2, 2, 0, 0))  # moves 0.3
    for batch in (small, batch_of(), batch_of()):
        examples.add(ChangedRows.of(batch), images)
    assert [round(each.moved, 2) for each in examples.found] == [0.65, 0.65, 0.5]
    examples.gather()
    assert len(examples.found) == 3


def test_none_are_looked_for_where_none_are_asked_for():
    assert found(batch_of(), [], number=0) == []


def test_a_picture_shows_what_is_around_the_box(images):
    first, _ = found(batch_of(), images)  # 30, 20 to 50, 40: 12 pixels around it, to the edge
    picture = decoded(first)
    assert first.size == picture.shape[1::-1] == (320, 320)  # 18 … 50, 8 … 40
    assert first.box == pytest.approx((120, 120, 320, 320))
    red = picture[0, :, 2].astype(int)
    assert red[0] == pytest.approx(18 * 5, abs=6)
    assert red[-1] == pytest.approx(49 * 5, abs=6)


def test_rows_that_are_no_places_have_no_picture(images):
    (only,) = found(batch_of(places=None), images)
    assert (only.picture, only.size) == ('', (0, 0))
    assert only.moved == pytest.approx(0.65)


def test_ground_truth_boxes_are_told(images):
    truth = torch.tensor([False, False, True, False, False])
    first, second = found(replace(batch_of(), find_ground_truth=lambda: truth), images)
    assert first.is_truth
    assert not second.is_truth


def test_pictures_take_no_more_memory_than_a_page_has_room(images):
    """Of what is left out nothing comes in that moves less, though its picture is small."""
    every = found(batch_of(), images)
    room = sum(len(each.picture) for each in every)
    examples = TeacherExamples(9, most_bytes=room - 1)
    examples.add(ChangedRows.of(batch_of()), images)
    assert [round(each.moved, 2) for each in examples.found] == [0.65]
    less = batch_of(labels=(0, 2, 2, 0, 0), places=[[0] * 5] * 5)  # moves 0.3
    examples.add(ChangedRows.of(less), [np.zeros((1, 1, 3), np.uint8)])
    assert [round(each.moved, 2) for each in examples.found] == [0.65]
    examples = TeacherExamples(9, most_bytes=room)
    examples.add(ChangedRows.of(batch_of()), images)
    assert len(examples.found) == 2
