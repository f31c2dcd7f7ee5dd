import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sortkd_det.functional import (
    gram_distance,
    kendall_tau,
    nan_quantile,
    pearson_correlation,
    plackett_luce,
    relations,
    sort_logits,
)

quick = settings(deadline=None, max_examples=30)


def random_pair(num_rows=6, num_classes=9, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    a, b = scale * torch.randn(2, num_rows, num_classes, generator=generator, dtype=torch.float64)
    return a, b, torch.randint(num_classes, (num_rows,), generator=generator)


batches = st.builds(
    random_pair,
    num_rows=st.integers(1, 5),
    num_classes=st.integers(2, 15),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)


def same_value_and_gradient(function, other, *leaves):
    """Whether two ways to compute something agree in value and every gradient."""
    results = []
    for way in (function, other):
        copies = [leaf.clone().requires_grad_() for leaf in leaves]
        value = way(*copies)
        upstream = torch.arange(1.0, value.numel() + 1, dtype=value.dtype).view(value.shape)
        results.append([value.detach(), *torch.autograd.grad(value, copies, upstream)])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)
    return True


# -- quantiles ---------------------------------------------------------------


@given(
    num_values=st.integers(1, 40),
    quantile=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]) | st.floats(0, 1),
    share=st.sampled_from([0.0, 0.3, 0.9]),
    decimals=st.sampled_from([0, 1, 20]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=300)
def test_the_quantile_is_torchs_own_to_the_bit(num_values, quantile, share, decimals, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num_values, generator=generator, dtype=dtype)
    values = values.round(decimals=decimals) if decimals < 20 else values  # rounded ones have ties
    silent = torch.rand(num_values, generator=generator) < share
    among = values.masked_fill(silent, torch.nan)
    assert torch.equal(nan_quantile(values, quantile), values.quantile(quantile))
    mine, expected = nan_quantile(among, quantile), among.nanquantile(quantile)
    assert torch.equal(mine, expected) or (silent.all() and mine.isnan() and expected.isnan())


# -- Pearson's correlation ---------------------------------------------------


def slow_pearson(a, b, weight):
    """By numpy's weighted covariance; 1e-8 is the authors' guard against no variance."""
    results = []
    for row in zip(a.numpy(), b.numpy(), strict=True):
        sums = weight.sum() * np.cov(*row, aweights=weight, ddof=0)
        results.append(sums[0, 1] / (math.sqrt(sums[0, 0] * sums[1, 1]) + 1e-8))
    return results


@quick
@given(batches)
def test_pearson_equals_numpys(batch):
    a, b, _ = batch
    expected = slow_pearson(a, b, np.ones(a.shape[1]))
    assert pearson_correlation(a, b).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@quick
@given(batches, st.integers(0, 1000))
def test_weighted_pearson_equals_numpys_weighted_covariance(batch, seed):
    a, b, _ = batch
    weight = np.random.default_rng(seed).random(a.shape[1]) + 0.01
    expected = slow_pearson(a, b, weight)
    result = pearson_correlation(a, b, torch.tensor(weight))
    assert result.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_in_pearson_weight_zero_is_leaving_out_and_weight_two_is_counting_twice():
    a, b, _ = random_pair(num_classes=5)
    weight = torch.tensor([1, 0, 2, 1, 0]).double()
    entries = [0, 2, 2, 3]
    assert same_value_and_gradient(
        lambda a, b: pearson_correlation(a, b, weight),
        lambda a, b: pearson_correlation(a[:, entries], b[:, entries]),
        a,
        b,
    )


def test_in_pearson_equal_weights_of_any_size_are_none():
    a, b, _ = random_pair()
    plain = pearson_correlation(a, b)
    for size in (0.1, 1, 7):
        weight = torch.full((9,), size).double()
        torch.testing.assert_close(pearson_correlation(a, b, weight), plain, rtol=1e-6, atol=1e-7)


def test_pearson_is_one_between_a_row_and_its_multiple_and_lies_between_bounds():
    a, b, _ = random_pair(num_rows=50)
    ones = torch.ones(50).double()
    torch.testing.assert_close(pearson_correlation(a, 3 * a + 2), ones)
    torch.testing.assert_close(pearson_correlation(a, 2 - a), -ones)
    assert (pearson_correlation(a, b).abs() < 1).all()


@pytest.mark.parametrize('weight', [None, torch.tensor([1.0, 2.0, 0.0]), torch.zeros(3)])
def test_pearson_is_zero_where_a_row_has_no_variance_and_its_gradient_is_finite(weight):
    a = torch.tensor([[2.0, 2.0, 2.0], [0.5, 0.5, 0.5]], requires_grad=True)
    b = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.5, 0.5]], requires_grad=True)
    result = pearson_correlation(a, b, weight)
    result.sum().backward()
    assert torch.equal(result, torch.zeros(2))
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_gradcheck_of_pearson():
    a, b, _ = random_pair(3, 5)
    weight = torch.tensor([1, 0.5, 2, 0, 1]).double()
    sides = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(pearson_correlation, sides)
    assert torch.autograd.gradcheck(lambda a, b: pearson_correlation(a, b, weight), sides)


# -- Gram matrices -----------------------------------------------------------


@quick
@given(batches)
def test_gram_distance_follows_the_definition(batch):
    a, b, _ = batch
    rows_a, rows_b = a.tolist(), b.tolist()

    def product(x, y):
        return sum(p * q for p, q in zip(x, y, strict=True))

    expected = [
        sum(
            (product(rows_a[i], rows_a[j]) - product(rows_b[i], rows_b[j])) ** 2
            for j in range(len(a))
        )
        for i in range(len(a))
    ]
    assert gram_distance(a, b).tolist() == pytest.approx(expected, rel=1e-9)


def test_gram_distance_sees_no_rotation():
    a, _, _ = random_pair(4, 6)
    rotation, _ = torch.linalg.qr(random_pair(6, 6, seed=1)[0])
    zeros = torch.zeros(4).double()
    torch.testing.assert_close(gram_distance(a, a @ rotation), zeros, rtol=0, atol=1e-20)


def test_gradcheck_of_the_gram_distance():
    a, b, _ = random_pair(3, 4, scale=1.0)
    assert torch.autograd.gradcheck(gram_distance, (a.requires_grad_(), b.requires_grad_()))


# -- Kendall's tau -----------------------------------------------------------


def slow_kendall(s, t, steepness):
    pairs = itertools.combinations(range(len(s)), 2)
    concordance = sum(
        math.tanh(steepness * (s[i] - s[j])) * math.tanh(steepness * (t[i] - t[j]))
        for i, j in pairs
    )
    return 2 / (len(s) * (len(s) - 1)) * concordance


@quick
@given(batches, st.sampled_from([0.1, 1.0, 10.0]))
def test_kendall_tau_follows_the_formula(batch, steepness):
    student, target, _ = batch
    expected = [
        slow_kendall(s, t, steepness)
        for s, t in zip(student.tolist(), target.tolist(), strict=True)
    ]
    result = kendall_tau(student, target, steepness)
    assert result.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_steep_kendall_tau_counts_pairs_in_the_same_and_in_the_other_order():
    student, target, _ = random_pair()
    expected = []
    for s, t in zip(student.tolist(), target.tolist(), strict=True):
        pairs = list(itertools.combinations(range(9), 2))
        agreeing = sum((s[i] > s[j]) == (t[i] > t[j]) for i, j in pairs)
        expected.append((2 * agreeing - len(pairs)) / len(pairs))
    assert kendall_tau(student, target, 1e6).tolist() == pytest.approx(expected, abs=1e-12)
    ones = torch.ones(6).double()
    torch.testing.assert_close(kendall_tau(student, student.exp(), 1e6), ones)
    torch.testing.assert_close(kendall_tau(student, -student, 1e6), -ones)


@pytest.mark.parametrize('rows_at_once', [1, 2, 5])
def test_kendall_tau_in_parts_gives_the_same_value_and_gradient(monkeypatch, rows_at_once):
    student, target, _ = random_pair(num_rows=11)
    taken = []

    def watched(a, b, whole=relations._sum_concordance):
        taken.append(len(a))
        return whole(a, b)

    def in_parts(student, target):
        with monkeypatch.context() as patch:
            patch.setattr(relations, '_PAIRS_AT_ONCE', rows_at_once * 9**2)
            patch.setattr(relations, '_sum_concordance', watched)
            return kendall_tau(student, target, 0.7)

    assert same_value_and_gradient(in_parts, lambda s, t: kendall_tau(s, t, 0.7), student, target)
    assert max(taken) == rows_at_once
    assert sum(taken) >= 11


def test_kendall_tau_runs_where_one_row_alone_has_too_many_pairs(monkeypatch):
    student, target, _ = random_pair()
    whole = kendall_tau(student, target)
    monkeypatch.setattr(relations, '_PAIRS_AT_ONCE', 1)
    torch.testing.assert_close(kendall_tau(student, target), whole)


@quick
@given(batches, st.integers(-5, 5))
def test_kendall_tau_is_symmetric_and_sees_no_shift(batch, shift):
    student, target, _ = batch
    expected = kendall_tau(student, target)
    torch.testing.assert_close(kendall_tau(target, student), expected)
    shifted = kendall_tau(student + shift, target - shift)
    torch.testing.assert_close(shifted, expected, rtol=1e-6, atol=1e-10)


def test_gradcheck_of_kendall_tau():
    student, target, _ = random_pair(3, 5, scale=0.5)
    sides = (student.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: kendall_tau(s, t, 0.8), sides)


# -- Plackett-Luce -----------------------------------------------------------


def slow_plackett_luce(s, t, label, temperature):
    others = sorted((c for c in range(len(t)) if c != label), key=lambda c: (-t[c], c))
    order = [label, *others]
    powers = [math.exp(z / temperature) for z in t]
    total = 0.0
    for k, chosen in enumerate(order):
        left = math.log(sum(math.exp(s[c]) for c in order[k:]))
        total += powers[chosen] / sum(powers) * (left - s[chosen])
    return total


@quick
@given(batches, st.sampled_from([0.5, 1.0, 4.0]), st.booleans())
def test_plackett_luce_follows_the_formula_with_and_without_ties(batch, temperature, tied):
    student, target, labels = batch
    target = target.round() if tied else target
    expected = [
        slow_plackett_luce(s, t, y, temperature)
        for s, t, y in zip(student.tolist(), target.tolist(), labels.tolist(), strict=True)
    ]
    result = plackett_luce(student, target, labels, temperature)
    assert result.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (result >= 0).all()


def test_its_order_is_the_one_that_sorting_makes():
    student, target, labels = random_pair(num_rows=20)
    order = sort_logits(target, labels).argsort(1, descending=True)
    assert not torch.equal(order, target.argsort(1, descending=True))
    s, alpha = student.gather(1, order), target.softmax(1).gather(1, order)
    steps = [alpha[:, k] * (s[:, k:].logsumexp(1) - s[:, k]) for k in range(9)]
    torch.testing.assert_close(plackett_luce(student, target, labels), sum(steps))


def test_of_equal_targets_the_lower_class_index_is_chosen_first():
    student = torch.tensor([[0.0, 1.0, 2.0]]).double()
    target, label = torch.zeros(1, 3).double(), torch.tensor([2])
    left = [math.log(1 + math.e + math.e**2) - 2, math.log(1 + math.e) - 0, 0]
    result = plackett_luce(student, target, label)
    assert float(result) == pytest.approx(sum(left) / 3)


@quick
@given(batches, st.integers(-50, 50))
def test_a_shift_of_either_side_changes_no_likelihood(batch, shift):
    student, target, labels = batch
    expected = plackett_luce(student, target, labels)
    shifted = plackett_luce(student + shift, target - 2 * shift, labels)
    torch.testing.assert_close(shifted, expected, rtol=1e-9, atol=1e-9)


def test_a_teacher_sure_of_the_label_makes_it_the_cross_entropy():
    student, target, labels = random_pair()
    sure = target.scatter(1, labels[:, None], 1000.0)
    expected = torch.nn.functional.cross_entropy(student, labels, reduction='none')
    torch.testing.assert_close(plackett_luce(student, sure, labels), expected)


def test_gradcheck_of_plackett_luce_through_both_sides():
    student, target, labels = random_pair(3, 5)
    sides = (student.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: plackett_luce(s, t, labels, 2.0), sides)


# -- no rows -----------------------------------------------------------------


def test_no_rows_have_no_relations():
    none, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for result in (
        pearson_correlation(none, none),
        gram_distance(none, none),
        kendall_tau(none, none),
        plackett_luce(none, none, labels),
    ):
        assert result.shape == (0,)
