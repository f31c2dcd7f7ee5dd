"""Losses without data-dependent shapes go through ``torch.compile`` whole."""

import pytest
import torch
from every_loss import LOSSES, random_pair, value_and_gradients

from sortkd_det.losses import DKDLoss, KDLoss, LearnableTemperature, RankingLoss

# Ranking losses pool until nothing is left to pool.
COMPILED = {name: loss for name, loss in LOSSES.items() if not isinstance(loss, RankingLoss)}


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def random_inputs(num_rows=5):
    return [*random_pair(num_rows), torch.linspace(0, 2, num_rows), 3.0]


def assert_same_compiled(loss, **options):
    compiled = torch.compile(loss, fullgraph=True, **options)
    for num_rows in (5, 8):
        inputs = random_inputs(num_rows)
        value, gradients = value_and_gradients(compiled, *inputs)
        expected, expected_gradients = value_and_gradients(loss, *inputs)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('loss', COMPILED.values(), ids=COMPILED.keys())
def test_compiled_whole_gives_the_same_value_and_gradients(loss):
    assert_same_compiled(loss, backend='aot_eager')


def test_a_learned_temperature_follows_its_schedule_in_compiled_code():
    temperature = LearnableTemperature(ramp=10)
    loss = KDLoss(temperature)
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    inputs = random_inputs()
    for epoch in range(1, 13):
        temperature.set_epoch(epoch)
        for way in (loss, compiled):
            temperature.theta.grad = None
            way(*inputs).backward()
            if way is loss:
                expected = temperature.theta.grad
        torch.testing.assert_close(temperature.theta.grad, expected)
    assert float(expected) != 0


@pytest.mark.slow
@pytest.mark.parametrize('cls', [KDLoss, DKDLoss])
def test_compiled_to_machine_code_gives_the_same_value_and_gradients(cls):
    assert_same_compiled(cls(temperature=2))
