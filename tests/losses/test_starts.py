"""What a loss is whose settings are left out: that of its paper, at weight 1."""

import pytest
import torch
from every_loss import SHIPPED, random_maps, random_pair

from sortkd_det.losses import FeatureLoss

# As each loss's docstring gives them, from its paper where that names one setting.
STARTS = {
    'BatchGramLoss': {'temperature': 1},
    'CWDLoss': {'temperature': 1},
    'ClassGramLoss': {'temperature': 1, 'confidence_quantile': None},
    'DISTLoss': {'beta': 1, 'gamma': 1, 'temperature': 1},
    'DKDLoss': {'alpha': 1, 'beta': 0.25, 'temperature': 1},
    'FitNetLoss': {},
    'KDLoss': {'temperature': 1, 'focus': None},
    'KendallLoss': {'steepness': 1},
    'NKDLoss': {'gamma': 1.5, 'temperature': 1},
    'PKDLoss': {},
    'PLDLoss': {'temperature': 1},
    'RankingLoss': {'distance': 'l2', 'strength': 1},
    'TTMLoss': {'gamma': 0.25, 'weighted': False},
}


@pytest.mark.parametrize('kind', SHIPPED, ids=lambda kind: kind.__name__)
def test_settings_left_out_are_those_that_it_says(kind):
    inputs = random_maps() if issubclass(kind, FeatureLoss) else random_pair(dtype=torch.float64)
    told = kind(loss_weight=1, **STARTS[kind.__name__])
    assert torch.equal(kind()(*inputs), told(*inputs))
