import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sortkd_det.functional import standardize_logits
from sortkd_det.processors import StandardizeLogits

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
quick = settings(deadline=None, max_examples=40)


def random_logits(num_rows=6, num_classes=9, seed=0, scale=3.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    return (scale * logits).to(dtype)


def slow_standardize(logits):
    rows = logits.double().numpy()
    std = rows.std(axis=1, ddof=1, keepdims=True)
    return torch.tensor((rows - rows.mean(axis=1, keepdims=True)) / (1e-7 + std))


batches = st.builds(
    random_logits,
    num_rows=st.integers(1, 5),
    num_classes=st.integers(2, 30),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 100.0]),
)


@quick
@given(batches)
def test_equals_numpys_mean_and_unbiased_deviation(logits):
    torch.testing.assert_close(standardize_logits(logits), slow_standardize(logits))


@quick
@given(batches)
def test_rows_have_mean_zero_and_deviation_one(logits):
    std, mean = torch.std_mean(standardize_logits(logits), dim=1)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-9)
    torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


@quick
@given(batches, st.sampled_from([0.5, 3.0]), st.integers(-20, 20))
def test_a_shift_and_a_positive_factor_change_nothing(logits, factor, shift):
    moved = standardize_logits(factor * logits + shift)
    torch.testing.assert_close(moved, standardize_logits(logits), rtol=1e-4, atol=1e-5)


@quick
@given(batches)
def test_the_order_of_the_classes_stays(logits):
    assert torch.equal(standardize_logits(logits).argsort(1), logits.argsort(1))


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_row_of_equal_logits_becomes_zeros_with_a_finite_gradient(dtype):
    logits = torch.full((2, 6), 3.0, dtype=dtype).requires_grad_()
    result = standardize_logits(logits)
    result.sum().backward()
    assert torch.equal(result, torch.zeros_like(logits))
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('dtype', DTYPES)
def test_half_precision_is_computed_in_single_precision(dtype):
    # In half precision itself the sum of these squares is beyond the largest number.
    logits = random_logits(num_classes=300, scale=100.0, dtype=dtype)
    result = standardize_logits(logits)
    assert result.dtype == dtype
    expected = slow_standardize(logits)
    torch.testing.assert_close(result.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_gradcheck():
    assert torch.autograd.gradcheck(standardize_logits, random_logits(3, 5).requires_grad_())


def test_rows_are_independent():
    logits = random_logits()
    singly = torch.cat([standardize_logits(row[None]) for row in logits])
    torch.testing.assert_close(standardize_logits(logits), singly, rtol=1e-12, atol=0)


def test_the_logits_are_unchanged():
    logits = random_logits()
    copy = logits.clone()
    standardize_logits(logits).zero_()
    assert torch.equal(logits, copy)


@pytest.mark.parametrize('dtype', DTYPES)
def test_no_rows_give_no_rows(dtype):
    result = standardize_logits(torch.zeros(0, 5, dtype=dtype))
    assert result.shape == (0, 5)
    assert result.dtype == dtype


def test_as_a_processor_labels_and_ignored_ones_play_no_part():
    logits, labels = random_logits(), torch.tensor([0, 1, -100, 3, -100, 5])
    for arguments in ((), (labels,), (labels, -100)):
        assert torch.equal(StandardizeLogits()(logits, *arguments), standardize_logits(logits))


@pytest.mark.parametrize(
    ('logits', 'error', 'message'),
    [
        (torch.zeros(3, 4, dtype=torch.int64), TypeError, 'logits must be of a floating dtype'),
        (np.zeros((3, 4)), TypeError, 'logits must be a Tensor, got ndarray'),
        (torch.zeros(4), ValueError, r'logits must have shape \(N, C\), got \(4,\)'),
        (torch.zeros(3, 1), ValueError, r'at least 2 classes.*\(3, 1\)'),
    ],
)
def test_unfit_logits_are_refused(logits, error, message):
    with pytest.raises(error, match=message):
        standardize_logits(logits)
