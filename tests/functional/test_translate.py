"""A softmax as sigmoids, and sigmoids as a softmax: the exact identities."""

import itertools

import pytest
import torch

from sortkd_det.functional import translate


def draw(columns, rows=50, spread=5.0):
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('columns', [2, 5, 81])
def test_the_sigmoid_of_log_odds_is_the_probability_of_the_softmax(columns):
    logits = draw(columns)
    found = translate(logits, 'softmax', 'sigmoid')
    torch.testing.assert_close(found.sigmoid(), logits.softmax(1)[:, :-1], rtol=1e-12, atol=1e-15)


def test_a_probability_near_one_keeps_its_log_odds():
    """1 − p is 4.5e-9, which no float32 next to 1 can tell."""
    logits = torch.tensor([[20.0, 0.0, 0.0], [0.0, 0.0, 20.0]])
    found = translate(logits, 'softmax', 'sigmoid')
    exact = translate(logits.double(), 'softmax', 'sigmoid').float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    assert found[0, 0].item() == pytest.approx(20 - torch.log(torch.tensor(2.0)).item())


def test_a_softmax_is_independent_classes_of_which_at_most_one_is_there():
    logits = draw(4)
    chance = logits.sigmoid()
    joint = []
    for there in [*torch.eye(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)]:
        joint.append(torch.where(there, chance, (-logits).sigmoid()).prod(1))
    at_most_one = torch.stack(joint, 1)
    expected = at_most_one / at_most_one.sum(1, keepdim=True)
    found = translate(logits, 'sigmoid', 'softmax').softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_the_order_of_the_classes_stays_both_ways():
    logits = draw(6)
    ranks = translate(logits, 'sigmoid', 'softmax')[:, :-1].argsort(1)
    assert torch.equal(ranks, logits.argsort(1))
    assert torch.equal(
        translate(logits, 'softmax', 'sigmoid').argsort(1), logits[:, :-1].argsort(1)
    )


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_the_same_activation_is_no_translation(activation):
    logits = draw(3).to(torch.bfloat16)
    assert translate(logits, activation, activation) is logits


@pytest.mark.parametrize('pair', itertools.permutations(['softmax', 'sigmoid']))
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_no_rows_and_half_precision_are_served(pair, dtype):
    columns = {'softmax': 4, 'sigmoid': 3}
    for rows in (0, 2):
        found = translate(draw(columns[pair[0]], rows).to(dtype), *pair)
        assert found.shape == (rows, columns[pair[1]])
        assert found.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_log_odds_of_half_precision_are_those_in_float64_of_the_same_numbers(dtype):
    logits = draw(6).to(dtype)
    found = translate(logits, 'softmax', 'sigmoid')
    chance = logits.double().softmax(1)[:, :-1]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), chance.logit(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pair', itertools.permutations(['softmax', 'sigmoid']))
def test_what_is_no_logits_is_refused(pair):
    with pytest.raises(TypeError, match=r'logits must be of a floating dtype, got torch\.int64'):
        translate(torch.zeros(2, 3, dtype=torch.int64), *pair)
    with pytest.raises(ValueError, match=r'logits must have shape \(N, C\), got \(3,\)'):
        translate(torch.zeros(3), *pair)


def test_a_softmax_over_background_alone_and_a_sigmoid_of_no_class_are_refused():
    with pytest.raises(ValueError, match=r'at least 2 classes \(columns\), got \(2, 1\)'):
        translate(torch.zeros(2, 1), 'softmax', 'sigmoid')
    with pytest.raises(ValueError, match=r'at least 1 classes \(columns\), got \(2, 0\)'):
        translate(torch.zeros(2, 0), 'sigmoid', 'softmax')


@pytest.mark.parametrize('pair', [('softmax', 'tanh'), ('tanh', 'softmax')])
def test_another_activation_is_refused(pair):
    with pytest.raises(ValueError, match=r"must be one of 'softmax', 'sigmoid', got 'tanh'"):
        translate(draw(3), *pair)
