"""NKD: its two parts, and what it refuses."""

import pytest
import torch
from every_loss import random_pair

from sortkd_det.functional import normalized_kd
from sortkd_det.losses import NKDLoss


def test_gamma_weighs_the_other_classes():
    student, target, labels = random_pair(dtype=torch.float64)
    own, others = normalized_kd(student, target, labels, 2.0)
    for gamma in (0, 3):
        loss = NKDLoss(gamma=gamma, temperature=2)(student, target, labels)
        torch.testing.assert_close(loss, (own + gamma * others).mean())


def test_a_gamma_below_zero_is_refused():
    with pytest.raises(ValueError, match='gamma must be a finite number ≥ 0'):
        NKDLoss(gamma=-1)
