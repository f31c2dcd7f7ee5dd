import functools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import views_of_the_same

from sortkd_det.functional import ranks, soft_rank

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
STRENGTHS = [1e-4, 1e-2, 0.1, 1.0, 30.0, 1e3]
quick = settings(deadline=None, max_examples=40)


def rank_with_torch(values, strength=1.0):
    """The public function as it runs where numba is not installed."""
    load, ranks.load_kernels = ranks.load_kernels, lambda name: None
    try:
        return soft_rank(values, strength)
    finally:
        ranks.load_kernels = load


# Values on the CPU go through the kernel where numba is installed.
paths = pytest.mark.parametrize('rank', [soft_rank, rank_with_torch], ids=['public', 'torch'])


def slow_row(row, strength):
    """Soft ranks of one row by the minimax formula of isotonic regression: O(C²), no pooling."""
    s = -np.asarray(row, np.longdouble) / strength
    num_classes = len(s)
    order = np.argsort(-s, kind='stable')
    y = s[order] - np.arange(num_classes, 0, -1)
    sums = np.concatenate([[0], y.cumsum()])
    first, last = np.ogrid[:num_classes, :num_classes]
    means = (sums[None, 1:] - sums[:-1, None]) / np.maximum(last - first + 1, 1)
    means[first > last] = -np.inf
    highest = np.maximum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # over ends k ≥ i
    highest[first > last] = np.inf
    fitted = np.diagonal(np.minimum.accumulate(highest, axis=0))  # over starts j ≤ i
    result = np.empty(num_classes)
    result[order] = s[order] - fitted
    return result


def slow_rank(values, strength=1.0):
    rows = [slow_row(row, strength) for row in values.double().tolist()]
    return torch.tensor(np.array(rows)).view(values.shape)


def hard_rank(values):
    """1 for the largest value of each row."""
    return (values[:, None] > values[:, :, None]).sum(2) + 1


def random_values(num_rows=6, num_classes=9, dtype=torch.float64, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    return values.to(dtype)


batches = st.builds(
    random_values,
    num_rows=st.integers(1, 4),
    num_classes=st.integers(2, 40),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
)
strengths = st.sampled_from(STRENGTHS)


@pytest.fixture
def three_threads():
    """Let torch, and with it the kernels, use three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


# -- the definition ----------------------------------------------------------


@paths
@pytest.mark.parametrize('strength', STRENGTHS)
@pytest.mark.parametrize('num_classes', [2, 7, 100, 400])
def test_follows_the_minimax_formula_at_every_strength(rank, num_classes, strength):
    values = random_values(5, num_classes)
    torch.testing.assert_close(
        rank(values, strength), slow_rank(values, strength), rtol=1e-9, atol=1e-9
    )


@paths
@pytest.mark.parametrize('gap', [-1e-6, 1e-6])
@pytest.mark.parametrize('num_classes', [4, 30])
def test_rows_just_below_and_above_eight_buckets_a_class_follow_the_formula(rank, num_classes, gap):
    # There the kernel changes from throwing values into buckets to sorting them.
    values = random_values(5, num_classes)
    span = values.amax(1, keepdim=True) - values.amin(1, keepdim=True)
    values = (values - values.amin(1, keepdim=True)) / span * (8 * num_classes + 63 + gap)
    torch.testing.assert_close(rank(values), slow_rank(values), rtol=1e-9, atol=1e-9)


@paths
@quick
@given(batches, strengths, st.booleans())
def test_follows_the_minimax_formula_with_and_without_ties(rank, values, strength, tied):
    values = values.round() if tied else values
    torch.testing.assert_close(
        rank(values, strength), slow_rank(values, strength), rtol=1e-9, atol=1e-9
    )


@paths
def test_of_two_values_the_rank_is_linear_until_they_lie_strength_apart(rank):
    values = torch.tensor([[0.0, 0.0], [0.5, 0.0], [2.0, 0.0], [-7.0, 0.0]])
    expected = torch.tensor([[1.5, 1.5], [1.375, 1.625], [1.0, 2.0], [2.0, 1.0]])
    torch.testing.assert_close(rank(values, 2.0), expected)


# -- laws --------------------------------------------------------------------


@paths
@quick
@given(batches, strengths)
def test_each_row_sums_to_the_sum_of_its_ranks(rank, values, strength):
    num_classes = values.shape[1]
    expected = torch.full((len(values),), num_classes * (num_classes + 1) / 2).double()
    torch.testing.assert_close(rank(values, strength).sum(1), expected)


@paths
@quick
@given(batches, strengths, st.booleans())
def test_a_larger_value_never_has_a_larger_rank(rank, values, strength, tied):
    values = values.round() if tied else values
    order = values.argsort(dim=1, descending=True, stable=True)
    ordered = rank(values, strength).gather(1, order)
    assert (ordered.diff(dim=1) >= -1e-9).all()
    same = values.gather(1, order).diff(dim=1) == 0
    torch.testing.assert_close(ordered.diff(dim=1)[same], torch.zeros(int(same.sum())).double())


@paths
@quick
@given(batches, strengths)
def test_ranks_stay_between_one_and_the_number_of_classes(rank, values, strength):
    result = rank(values, strength)
    assert (result >= 1 - 1e-9).all()
    assert (result <= values.shape[1] + 1e-9).all()


@paths
@quick
@given(batches, strengths, st.integers(-100, 100))
def test_a_shift_changes_nothing(rank, values, strength, shift):
    shifted = rank(values + shift, strength)
    torch.testing.assert_close(shifted, rank(values, strength), rtol=1e-7, atol=1e-7)


@paths
@quick
@given(batches, strengths)
def test_strength_is_in_units_of_the_values(rank, values, strength):
    torch.testing.assert_close(rank(values * 4, strength * 4), rank(values, strength))


@paths
@quick
@given(batches, st.randoms(use_true_random=False))
def test_ranks_move_with_the_classes(rank, values, random):
    permutation = list(range(values.shape[1]))
    random.shuffle(permutation)
    torch.testing.assert_close(rank(values[:, permutation]), rank(values)[:, permutation])


@paths
@quick
@given(batches)
def test_near_strength_zero_they_are_the_ranks_and_at_a_large_one_their_mean(rank, values):
    num_classes = values.shape[1]
    smallest_gap = values.sort(1).values.diff(dim=1).min().clamp(min=1e-9)
    torch.testing.assert_close(
        rank(values, float(smallest_gap) / 2), hard_rank(values).double(), rtol=1e-6, atol=1e-6
    )
    mean = torch.full_like(values, (num_classes + 1) / 2)
    torch.testing.assert_close(rank(values, 1e9), mean, rtol=0, atol=1e-5)


# -- gradients ---------------------------------------------------------------


@paths
@pytest.mark.parametrize('strength', [0.05, 1.0, 50.0])
@pytest.mark.parametrize('num_classes', [2, 8])
def test_gradcheck(rank, strength, num_classes):
    values = random_values(4, num_classes).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rank(x, strength), values)


@pytest.mark.parametrize('strength', STRENGTHS)
@pytest.mark.parametrize('num_classes', [2, 81, 300])
def test_kernel_and_torch_path_give_the_same_ranks_and_gradients(num_classes, strength):
    pytest.importorskip('numba')
    values = random_values(8, num_classes)
    values[4:] = values[4:].round(decimals=1)  # ties
    upstream = random_values(8, num_classes, seed=1)
    results = []
    for rank in (soft_rank, rank_with_torch):
        leaf = values.clone().requires_grad_()
        result = rank(leaf, strength)
        result.backward(upstream)
        results.append((result.detach(), leaf.grad))
    torch.testing.assert_close(*(value for value, _ in results), rtol=1e-9, atol=1e-8)
    # A multiple of ε between two rounded values is a kink: pooled or not is a matter of rounding.
    kinked = slice(None) if strength >= 1e3 or strength <= 1e-4 else slice(4)
    gradients = [gradient[kinked] for _, gradient in results]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-7 / strength)


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_the_gradient_averages_within_blocks_and_takes_the_values_dtype(rank, dtype):
    # Classes 0 and 1 are pooled, 2 and 3 stand alone: their ranks do not move.
    values = torch.tensor([[0.25, 0.0, 9.0, -9.0]], dtype=dtype).requires_grad_()
    rank(values).backward(torch.tensor([[1.0, 3.0, 5.0, 7.0]], dtype=dtype))
    assert torch.equal(values.grad, torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=dtype))


@paths
def test_without_grad_mode_the_ranks_are_the_same(rank):
    values = random_values()
    with torch.no_grad():
        result = rank(values.clone().requires_grad_())
    assert not result.requires_grad
    assert torch.equal(result, rank(values))


# -- dtypes, layouts, threads ------------------------------------------------


@paths
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('strength', [1e-3, 1.0, 100.0])
def test_every_floating_dtype_comes_back_as_the_nearest_number(rank, dtype, strength):
    values = random_values(7, 50, dtype)
    result = rank(values, strength)
    assert result.dtype == dtype
    half_a_step = torch.finfo(dtype).eps
    torch.testing.assert_close(
        result.double(), slow_rank(values, strength), rtol=half_a_step, atol=1e-8
    )


@pytest.mark.parametrize('strength', [1e-3, 1.0])
def test_many_rows_shared_among_threads_equal_one_row_at_a_time(three_threads, strength):
    pytest.importorskip('numba')
    values = random_values(601, 100, torch.float32)
    assert values.numel() > 3 * ranks._WORTH_A_THREAD
    upstream = random_values(601, 100, torch.float32, seed=1)
    together = values.clone().requires_grad_()
    result = soft_rank(together, strength)
    result.backward(upstream)
    for row in range(0, 601, 7):
        alone = values[row : row + 1].clone().requires_grad_()
        expected = soft_rank(alone, strength)
        expected.backward(upstream[row : row + 1])
        assert torch.equal(result[row : row + 1], expected)
        assert torch.equal(together.grad[row : row + 1], alone.grad)


@paths
@views_of_the_same
def test_non_contiguous_values_and_gradients_rank_alike(rank, view):
    values, upstream = random_values(), random_values(seed=1)
    assert not view(values).is_contiguous()
    results = []
    for leaf, gradient in ((values.clone(), upstream), (view(values), view(upstream))):
        leaf.requires_grad_()
        result = rank(leaf)
        result.backward(gradient)
        results.append((result.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_no_rows_give_no_rows_with_a_graph(rank, dtype):
    values = torch.zeros(0, 5, dtype=dtype, requires_grad=True)
    result = rank(values)
    assert result.shape == (0, 5)
    assert result.dtype == dtype
    result.sum().backward()
    assert values.grad.shape == (0, 5)


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_the_values_are_unchanged(rank, dtype):
    values = random_values(dtype=dtype)
    copy = values.clone()
    rank(values).zero_()
    assert torch.equal(values, copy)


def test_the_kernel_runs_on_the_cpu(monkeypatch):
    pytest.importorskip('numba')

    def fail(*_):
        pytest.fail('the torch path ran')

    monkeypatch.setattr(ranks, '_rank_with_torch', fail)
    for dtype in DTYPES:
        soft_rank(random_values(dtype=dtype))


def test_without_numba_the_torch_path_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.delitem(sys.modules, 'sortkd_det.functional.kernels.rank_cpu', raising=False)
    monkeypatch.delattr('sortkd_det.functional.kernels.rank_cpu', raising=False)
    looked_up = functools.cache(ranks.load_kernels.__wrapped__)
    monkeypatch.setattr(ranks, 'load_kernels', looked_up)
    values = random_values()
    torch.testing.assert_close(soft_rank(values), slow_rank(values))
    assert looked_up('rank_cpu') is None


# -- bad input ---------------------------------------------------------------


@paths
@pytest.mark.parametrize('strength', [1e-3, 1.0, 1e3])
@pytest.mark.parametrize('bad', ['nan', 'inf', '-inf'])
def test_a_row_that_is_not_finite_gives_nans_and_leaves_others_alone(rank, bad, strength):
    values = random_values(5, 30)
    expected = rank(values, strength)
    values[1, 0] = values[3, 17] = float(bad)
    result = rank(values, strength)
    assert result[[1, 3]].isnan().all()
    assert torch.equal(result[[0, 2, 4]], expected[[0, 2, 4]])


@paths
@pytest.mark.parametrize('strength', [0, -1.0, float('nan'), float('inf')])
def test_a_strength_that_is_not_positive_is_refused(rank, strength):
    with pytest.raises(ValueError, match='strength must be a finite number > 0'):
        rank(random_values(), strength)


@paths
@pytest.mark.parametrize('strength', ['1', None, True])
def test_a_strength_that_is_no_number_is_refused(rank, strength):
    with pytest.raises(TypeError, match='strength must be a number'):
        rank(random_values(), strength)


@paths
@pytest.mark.parametrize(
    ('values', 'error', 'message'),
    [
        (torch.zeros(3, 4, dtype=torch.int64), TypeError, 'values must be of a floating dtype'),
        ([[0.0, 1.0]], TypeError, 'values must be a Tensor, got list'),
        (torch.zeros(4), ValueError, r'values must have shape \(N, C\), got \(4,\)'),
        (torch.zeros(3, 1), ValueError, r'values must have at least 2 classes.*\(3, 1\)'),
    ],
)
def test_unfit_values_are_refused(rank, values, error, message):
    with pytest.raises(error, match=message):
        rank(values)
