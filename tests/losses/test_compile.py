"""Losses without data-dependent shapes go through ``torch.compile`` whole."""

import pytest
import torch

from sortkd_det.losses import (
    BatchGramLoss,
    ClassGramLoss,
    DISTLoss,
    DKDLoss,
    KDLoss,
    KendallLoss,
    LearnableTemperature,
    NKDLoss,
    PLDLoss,
    TTMLoss,
)

# All but RankingLoss: its pooling runs until nothing is left to pool.
COMPILED = {
    'KD': KDLoss(temperature=2),
    'KD at several temperatures': KDLoss(temperature=[1, 2, 6]),
    'DKD': DKDLoss(beta=8, temperature=2),
    'NKD': NKDLoss(temperature=2),
    'TTM': TTMLoss(),
    'WTTM': TTMLoss(weighted=True),
    'PLD': PLDLoss(temperature=2),
    'Kendall': KendallLoss(),
    'DIST': DISTLoss(temperature=2),
    'BatchGram': BatchGramLoss(temperature=2),
    'ClassGram': ClassGramLoss(temperature=2),
    'ClassGram of some classes': ClassGramLoss(temperature=2, confidence_quantile=0.5),
}


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def random_inputs(num_rows=5):
    generator = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, num_rows, 7, generator=generator)
    labels = torch.randint(7, (num_rows,), generator=generator)
    return student, target, labels, torch.linspace(0, 2, num_rows)


def value_and_gradients(loss, student, target, labels, weight):
    """The loss and what reaches both sides."""
    sides = [student.detach().clone().requires_grad_(), target.detach().clone().requires_grad_()]
    value = loss(*sides, labels, weight, 3.0)
    return value.detach(), torch.autograd.grad(value, sides)


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
        temperature.follow(epoch)
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
