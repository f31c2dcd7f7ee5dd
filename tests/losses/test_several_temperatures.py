"""Every loss at several temperatures and at a learned one."""

import pytest
import torch
from every_loss import TEMPERED, random_pair, value_and_gradients

from sortkd_det.losses import LearnableTemperature


@pytest.mark.parametrize('cls', TEMPERED)
def test_several_temperatures_give_the_sum_in_value_and_gradient(cls):
    inputs = random_pair()
    value, gradients = value_and_gradients(cls(temperature=[1, 2.5, 6]), *inputs)
    singly = [value_and_gradients(cls(temperature=t), *inputs) for t in (1, 2.5, 6)]
    torch.testing.assert_close(value, sum(single for single, _ in singly))
    for side in (0, 1):
        expected = sum(gradients[side] for _, gradients in singly)
        torch.testing.assert_close(gradients[side], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('cls', TEMPERED)
@pytest.mark.parametrize('weight', [None, torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])])
def test_a_learned_temperature_gives_the_loss_at_its_value_and_gets_a_gradient(cls, weight):
    inputs = [*random_pair(), weight]
    temperature = LearnableTemperature(start=2, span=3)
    temperature.set_epoch(10)
    loss = cls(temperature=temperature)
    value, gradients = value_and_gradients(loss, *inputs)
    held = float(temperature().detach())
    expected, expected_gradients = value_and_gradients(cls(temperature=held), *inputs)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    assert value.dtype == torch.float32
    loss(*inputs).backward()
    assert list(loss.parameters()) == [temperature.theta]
    assert float(temperature.theta.grad) != 0
