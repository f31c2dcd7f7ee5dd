"""What a method learns, in the student's optimizer."""

import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper
from torch import nn

from sortkd_det.distill import Method
from sortkd_det.distill.learned_parameters import LearnedParameters

CTKD = [dict(loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature')))]


def wrapper_of(*groups):
    """An optimizer of rate 0.1 and decay 0.01 whose groups differ from that as given."""
    parameters = [{'params': [nn.Parameter(torch.ones(2))], **group} for group in groups]
    return OptimWrapper(torch.optim.SGD(parameters, lr=0.1, weight_decay=0.01, momentum=0.9))


@pytest.mark.parametrize(
    ('groups', 'like'),
    [
        pytest.param([{}], 0, id='one'),
        pytest.param([{'lr': 0.001}, {}], 1, id='a slow backbone'),
        pytest.param([{'lr': 0.2, 'weight_decay': 0.0}, {'weight_decay': 0.0}, {}], 2, id='biases'),
        pytest.param([{'lr': 0.05}, {'lr': 0.005}], 0, id='rates scaled to the batch'),
    ],
)
def test_they_have_the_rate_and_decay_of_what_has_no_multiples(groups, like):
    wrapper = wrapper_of(*groups)
    schedule = LinearLR(wrapper, start_factor=0.5, end=4, by_epoch=False)  # before the run begins
    learned = LearnedParameters(Method(CTKD), wrapper)
    for _ in range(6):
        learned.copy_schedule()
        expected = wrapper.optimizer.param_groups[like]
        for key in ('lr', 'weight_decay', 'momentum'):
            assert learned.group[key] == expected[key]
        wrapper.optimizer.step()
        schedule.step()
    assert learned.group['lr'] == pytest.approx(groups[like].get('lr', 0.1))
