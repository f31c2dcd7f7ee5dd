"""TTM, and WTTM that weighs its rows."""

import pytest
import torch
from every_loss import random_pair

from sortkd_det.losses import TTMLoss


def test_wttm_multiplies_each_row_by_the_teachers_doubt():
    student, target, labels = random_pair(dtype=torch.float64)
    rows = TTMLoss(gamma=0.3).row_losses(student, target, labels)
    weight = target.softmax(1).pow(0.3).sum(1)
    weighted = TTMLoss(gamma=0.3, weighted=True)(student, target, labels)
    torch.testing.assert_close(weighted, (weight * rows).mean())


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'gamma': 0}, ValueError, 'gamma must be a finite number > 0'),
        ({'gamma': '1'}, TypeError, 'gamma must be a number'),
    ],
)
def test_unfit_settings_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        TTMLoss(**arguments)
