import math

import pytest
import torch
from torch import nn

from sortkd_det.losses import KDLoss, LearnableTemperature
from sortkd_det.losses.temperature import build_temperature
from sortkd_det.registry import MODELS, build


def gradient_of(temperature):
    """What reaches θ from the temperature itself."""
    temperature.theta.grad = None
    temperature().backward()
    return float(temperature.theta.grad)


def plain_gradient(theta, span):
    """d(start + span · sigmoid(θ)) / dθ, without any reversal."""
    sigmoid = 1 / (1 + math.exp(-theta))
    return span * sigmoid * (1 - sigmoid)


# -- the learned temperature -------------------------------------------------


def test_starts_at_the_papers_temperature():
    expected = 1 + 20 / (1 + math.exp(-1))
    assert float(LearnableTemperature()().detach()) == pytest.approx(expected, rel=1e-12)
    assert LearnableTemperature()().shape == ()


@pytest.mark.parametrize('theta', [-3.0, 0.0, 0.3, 8.0])
@pytest.mark.parametrize('epoch', [1, 3, 10, 100])
def test_its_value_is_exact_whatever_the_schedule_says(theta, epoch):
    temperature = LearnableTemperature(start=2, span=5)
    nn.init.constant_(temperature.theta, theta)
    temperature.set_epoch(epoch)
    stored = temperature.theta.detach().double()
    assert torch.equal(temperature().detach(), 2 + 5 * torch.sigmoid(stored))


def test_lies_between_start_and_start_plus_span():
    temperature = LearnableTemperature(start=2, span=5)
    for theta, expected in ((-100, 2), (0, 4.5), (100, 7)):
        nn.init.constant_(temperature.theta, theta)
        assert float(temperature().detach()) == pytest.approx(expected)


# -- its schedule ------------------------------------------------------------


@pytest.mark.parametrize('ramp', [1, 4, 10, 2.5])
def test_the_reversal_falls_from_zero_to_minus_one_along_half_a_cosine(ramp):
    temperature = LearnableTemperature(ramp=ramp)
    reversals = []
    for epoch in range(0, 16):
        temperature.set_epoch(epoch)
        reversals.append(temperature.reversal)
        expected = (math.cos(math.pi * min(epoch, ramp) / ramp) - 1) / 2
        assert temperature.reversal == pytest.approx(expected, abs=1e-12)
    assert reversals[0] == 0
    assert reversals == sorted(reversals, reverse=True)
    assert reversals[math.ceil(ramp) :] == pytest.approx([-1] * (16 - math.ceil(ramp)))


def test_half_way_it_is_minus_a_half_and_it_stays_at_minus_one():
    temperature = LearnableTemperature(ramp=10)
    for epoch, expected in ((5, -0.5), (10, -1), (11, -1), (10_000, -1)):
        temperature.set_epoch(epoch)
        assert temperature.reversal == pytest.approx(expected)


def test_starts_where_the_first_epoch_is():
    fresh, told = LearnableTemperature(), LearnableTemperature()
    told.set_epoch(1)
    assert fresh.reversal == told.reversal != 0


@pytest.mark.parametrize('epoch', [1, 5, 10, 30])
def test_what_reaches_theta_is_the_plain_gradient_times_the_reversal(epoch):
    temperature = LearnableTemperature(span=7, ramp=10)
    nn.init.constant_(temperature.theta, 0.25)
    temperature.set_epoch(epoch)
    expected = temperature.reversal * plain_gradient(0.25, 7)
    assert expected < 0
    assert gradient_of(temperature) == pytest.approx(expected, rel=1e-6)


def test_a_step_of_an_optimizer_works_against_the_student():
    generator = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, 6, 5, generator=generator)
    labels = torch.zeros(6, dtype=torch.int64)
    loss = KDLoss({'type': 'LearnableTemperature'})
    loss.temperature.set_epoch(100)
    before = loss(student, target, labels)
    before.backward()
    torch.optim.SGD(loss.parameters(), lr=0.1).step()
    assert float(loss(student, target, labels).detach()) > float(before.detach())


def test_theta_is_the_only_thing_saved():
    temperature = LearnableTemperature()
    assert list(temperature.state_dict()) == ['theta']
    nn.init.constant_(temperature.theta, 0.5)
    other = LearnableTemperature()
    other.load_state_dict(temperature.state_dict())
    assert torch.equal(other(), temperature())


@pytest.mark.parametrize('name', ['start', 'span', 'ramp'])
def test_settings_that_are_not_positive_numbers_are_refused_by_name(name):
    for value in (0, -1, float('inf'), float('nan')):
        with pytest.raises(ValueError, match=f'{name} must be a finite number > 0'):
            LearnableTemperature(**{name: value})
    for value in ('1', None, True):
        with pytest.raises(TypeError, match=f'{name} must be a number'):
            LearnableTemperature(**{name: value})


# -- temperatures in configs -------------------------------------------------


@pytest.mark.parametrize('value', [1, 0.5, 4.0])
def test_a_number_comes_back(value):
    assert build_temperature(value) is value


@pytest.mark.parametrize('values', [[2, 3.5], (2, 3.5)])
def test_a_list_comes_back_as_numbers_whose_losses_are_summed(values):
    assert build_temperature(values) == (2, 3.5)
    assert KDLoss(values).temperatures() == (2, 3.5)


def test_a_config_and_an_object_give_a_learned_temperature():
    built = build_temperature({'type': 'LearnableTemperature', 'start': 2})
    assert isinstance(built, LearnableTemperature)
    assert built.start == 2
    assert build_temperature(built) is built
    loss = build(MODELS, {'type': 'KDLoss', 'temperature': {'type': 'LearnableTemperature'}}, '')
    assert [name for name, _ in loss.named_parameters()] == ['temperature.theta']
    (value,) = loss.temperatures()
    assert value.requires_grad


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        (0, ValueError, 'temperature must be a finite number > 0'),
        (float('inf'), ValueError, 'temperature must be a finite number > 0'),
        (True, TypeError, 'temperature must be a number'),
        (None, TypeError, 'temperature must be a number'),
        ('4', TypeError, 'temperature must be a number'),
        (torch.tensor(4.0), TypeError, 'temperature must be a number'),
        ([], ValueError, 'temperature must be a number or a list of at least one'),
        ([1, 0], ValueError, 'temperature must be a finite number > 0, got 0'),
        ([1, '2'], TypeError, "temperature must be a number, got '2'"),
        ([[1, 2]], TypeError, 'temperature must be a number'),
        ({'type': 'Learnable'}, KeyError, "unknown temperature 'Learnable'; .*LearnableTemp"),
        ({'start': 1}, TypeError, 'a temperature needs a type'),
        ({'type': 'LearnableTemperature', 'end': 3}, TypeError, "LearnableTemperature: .*'end'"),
        ({'type': 'LearnableTemperature', 'ramp': 0}, ValueError, 'ramp must be a finite'),
    ],
)
def test_unfit_temperatures_are_refused(value, error, message):
    with pytest.raises(error, match=message):
        build_temperature(value)
