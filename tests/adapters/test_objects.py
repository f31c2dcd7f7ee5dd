"""Which object a row is of: by the box that is asked of it, or by what it overlaps."""

from types import SimpleNamespace

import pytest
import torch

from sortkd_det.adapters.objects import Objects, centres

BOXES = [[[0.0, 0, 10, 10], [2, 2, 14, 12], [30, 30, 50, 50]], [], [[0, 0, 10, 10]]]
LABELS = [[0, 1, 0], [], [0]]


@pytest.fixture
def objects():
    return Objects.of(
        [
            SimpleNamespace(
                gt_instances=SimpleNamespace(
                    bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels).long()
                )
            )
            for boxes, labels in zip(BOXES, LABELS, strict=True)
        ]
    )


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def test_objects_lie_image_after_image(objects):
    assert objects.images.tolist() == [0, 0, 0, 2]
    assert objects.labels.tolist() == [0, 1, 0, 0]
    assert objects.boxes.shape == (4, 4)


def test_a_target_is_a_box_of_the_rows_image_and_label(objects):
    targets = torch.tensor([[0.2, 0, 10, 10.3], [0, 0, 10, 10], [30, 30, 50, 50.4]])
    assert objects.by_target(targets, rows(0, 0, 0), rows(0, 2, 0)).tolist() == [0, 3, 2]
    assert objects.by_target(targets, rows(1, 0, 0), rows(0, 2, 0)) is None
    assert objects.by_target(targets, rows(0, 0, 0), rows(1, 2, 0)) is None
    assert objects.by_target(targets[:0], rows(), rows()).tolist() == []


def test_deltas_are_no_targets_in_pixels(objects):
    assert objects.by_target(torch.tensor([[0.1, -0.2, 0.3, 0.0]]), rows(0), rows(0)) is None


def test_targets_in_half_precision_are_as_exact_as_it_is(objects):
    exact = torch.tensor([[30.0, 30, 50, 50]])
    assert objects.by_target((exact + 0.7).bfloat16(), rows(0), rows(0)).tolist() == [2]
    assert objects.by_target(exact + 0.7, rows(0), rows(0)) is None


def test_a_row_is_of_what_it_overlaps_most_of_its_label(objects):
    boxes = torch.tensor([[1.0, 1, 12, 12], [1, 1, 12, 12], [0, 0, 31, 31], [60, 60, 61, 61]])
    found = objects.by_overlap(boxes, rows(0, 1, 0, 0), rows(0, 0, 0, 0))
    assert found.tolist() == [0, 1, 0, 2]  # the last is nearest to it
    assert objects.by_overlap(boxes[:1], rows(0), rows(2)).tolist() == [3]
    assert objects.by_overlap(boxes[:0], rows(), rows()).tolist() == []


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_boxes_in_half_precision_overlap_as_they_do(dtype):
    boxes = [[0.0, 0, 1024, 1024], [696, 696, 712, 712]]
    found = Objects.of(
        [
            SimpleNamespace(
                gt_instances=SimpleNamespace(
                    bboxes=torch.tensor(boxes, dtype=torch.float64), labels=rows(0, 0)
                )
            )
        ]
    )
    assert found.boxes.dtype == torch.float32
    row = torch.tensor([[304.0, 304, 1104, 1104]], dtype=dtype)  # an area that float16 has not
    assert row.tolist() == [[304, 304, 1104, 1104]]
    assert found.by_overlap(row, rows(0), rows(0)).tolist() == [0]  # though 1 is nearer


def test_centres_of_boxes_in_half_precision_lie_between_their_ends():
    boxes = torch.tensor([[1001.0, 3, 1100, 8]], dtype=torch.float16)
    assert centres(boxes).tolist() == [[1050.5, 5.5]]
    assert centres(boxes[:, :2]).tolist() == [[1001, 3]]


@pytest.mark.parametrize(('label', 'image'), [(2, 0), (0, 1), (1, 2)])
def test_a_row_without_an_object_is_refused(objects, label, image):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    with pytest.raises(ValueError, match=r'1 of 2 rows .* the label of no object of their image'):
        objects.by_overlap(boxes, rows(label, 0), rows(image, 0))
