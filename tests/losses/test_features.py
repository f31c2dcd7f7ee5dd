"""Losses between two maps of features, against the papers' formulas spelled slowly."""

import math

import pytest
import torch

from sortkd_det.losses import CWDLoss, FeatureLoss, FitNetLoss, PKDLoss

LOSSES = [PKDLoss(), CWDLoss(temperature=2), FitNetLoss()]
losses = pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: type(loss).__name__)


def random_maps(shape=(2, 3, 4, 5), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return (3 * student + 1).to(dtype).requires_grad_(), (2 * teacher - 4).to(dtype)


def channels(features):
    """The values of each channel, over images and places."""
    return features.detach().transpose(0, 1).flatten(1).tolist()


def moments(values):
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values)


def test_pkd_is_one_minus_pearsons_correlation_of_each_channel():
    student, teacher = random_maps()
    total = 0
    for own, other in zip(channels(student), channels(teacher), strict=True):
        (a, squares_a), (b, squares_b) = moments(own), moments(other)
        products = sum((x - a) * (y - b) for x, y in zip(own, other, strict=True))
        total += 1 - products / math.sqrt(squares_a * squares_b)
    assert float(PKDLoss()(student, teacher).detach()) == pytest.approx(total / 3, rel=1e-5)


def test_pkd_is_half_the_squared_difference_of_standardised_maps():
    # As the authors' code: deviations over n - 1 values, which makes it (n - 1) / n of ours.
    student, teacher = random_maps()
    total, n = 0, 2 * 4 * 5
    for own, other in zip(channels(student), channels(teacher), strict=True):
        (a, squares_a), (b, squares_b) = moments(own), moments(other)
        deviations = [math.sqrt(squares / (n - 1)) + 1e-6 for squares in (squares_a, squares_b)]
        for x, y in zip(own, other, strict=True):
            total += ((x - a) / deviations[0] - (y - b) / deviations[1]) ** 2
    expected = total / (3 * n) / 2 * n / (n - 1)
    assert float(PKDLoss()(student, teacher).detach()) == pytest.approx(expected, rel=1e-5)


def test_pkd_knows_neither_shift_nor_scale_of_a_channel():
    _, teacher = random_maps()
    scale = torch.tensor([0.5, 3.0, 20.0], dtype=torch.float64)[:, None, None]
    assert float(PKDLoss()(teacher * scale - 7, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(PKDLoss()(-teacher, teacher)) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 3, 1, 1)])
def test_a_channel_without_variance_has_finite_gradients(shape):
    student, teacher = random_maps(shape)
    flat = student.detach().clone()
    flat[:, 0] = 0.25
    flat.requires_grad_()
    loss = PKDLoss()(flat, teacher)
    loss.backward()
    assert loss.isfinite()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_cwd_is_the_divergence_over_the_places_of_each_channel(temperature):
    student, teacher = random_maps()
    total = 0
    for own, other in zip(
        student.detach().flatten(2).flatten(0, 1).tolist(),
        teacher.flatten(2).flatten(0, 1).tolist(),
        strict=True,
    ):
        q, p = ([math.exp(value / temperature) for value in values] for values in (own, other))
        q, p = ([value / sum(values) for value in values] for values in (q, p))
        total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
    expected = temperature**2 * total / (2 * 3)
    assert float(CWDLoss(temperature)(student, teacher).detach()) == pytest.approx(expected)


def test_fitnet_is_the_mean_squared_difference():
    student, teacher = random_maps()
    pairs = zip(student.detach().flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum((s - t) ** 2 for s, t in pairs) / (2 * 3 * 4 * 5)
    assert float(FitNetLoss()(student, teacher).detach()) == pytest.approx(expected)


@losses
def test_equal_maps_lose_nothing_and_others_have_right_gradients(loss):
    student, teacher = random_maps((2, 2, 2, 3))
    assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(loss(student, teacher).detach()) > 0.01
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


@losses
def test_loss_weight_multiplies(loss):
    student, teacher = random_maps()
    heavy = type(loss)(**({'temperature': 2} if isinstance(loss, CWDLoss) else {}), loss_weight=6)
    assert torch.allclose(heavy(student, teacher), 6 * loss(student, teacher))


@losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    student, teacher = random_maps(dtype=dtype)
    expected = loss(student.float(), teacher.float())
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@losses
@pytest.mark.parametrize(
    ('student', 'target', 'error', 'message'),
    [
        ((2, 3, 4, 4), (2, 3, 4, 5), ValueError, r'\(2, 3, 4, 4\) and \(2, 3, 4, 5\); expected'),
        ((2, 3, 4), (2, 3, 4), ValueError, r'expected one shape, \(B, C, H, W\)'),
        ((2, 3, 4, 4), None, TypeError, 'of the target must be a floating Tensor, got NoneType'),
    ],
)
def test_what_is_no_pair_of_maps_is_refused(loss, student, target, error, message):
    with pytest.raises(error, match=message):
        loss(torch.zeros(student), None if target is None else torch.zeros(target))


def test_whole_numbers_are_no_features():
    with pytest.raises(TypeError, match=r'of the student must be a floating Tensor, got torch.int'):
        FitNetLoss()(torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize('kind', [PKDLoss, CWDLoss, FitNetLoss])
def test_a_negative_weight_is_refused(kind):
    assert issubclass(kind, FeatureLoss)
    with pytest.raises(ValueError, match='loss_weight'):
        kind(loss_weight=-1)


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match='temperature'):
        CWDLoss(temperature=0)
