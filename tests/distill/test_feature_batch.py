"""A batch of features, and what is none."""

import pytest
import torch

from sortkd_det.distill import FeatureBatch

MAP = torch.zeros(2, 3, 4, 4)


def test_maps_of_other_sizes_channels_and_numbers_are_a_batch():
    batch = FeatureBatch((MAP, MAP[..., :2, :2]), [torch.zeros(2, 5, 8, 8)])
    assert len(batch.student) == 2
    assert len(batch.teacher) == 1


@pytest.mark.parametrize(
    ('student', 'teacher', 'error', 'message'),
    [
        (None, [MAP], TypeError, 'features of the student are NoneType; expected a list of maps'),
        ([MAP], MAP, TypeError, 'features of the teacher are Tensor; expected a list'),
        ([MAP], [], TypeError, 'features of the teacher are list; expected a list'),
        ([MAP], [MAP, MAP[0]], TypeError, r'level 1 of .* teacher is \(3, 4, 4\); expected a map'),
        ([[MAP]], [MAP], TypeError, 'level 0 of the features of the student is list; expected'),
        ([MAP], [MAP[:1]], ValueError, 'of the teacher is of 1 images, and the first .* of 2'),
        ([MAP], [MAP.clone().requires_grad_()], ValueError, 'of the teacher need a gradient'),
    ],
)
def test_what_is_no_pair_of_lists_of_maps_is_refused(student, teacher, error, message):
    with pytest.raises(error, match=message):
        FeatureBatch(student, teacher)
