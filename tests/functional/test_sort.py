import functools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from parts import views_of_the_same

from sortkd_det.functional import check_labels, sort_logits
from sortkd_det.functional import sort as sort_module

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
quick = settings(deadline=None, max_examples=60)


def sort_with_torch(logits, labels, ignore_index=None):
    """The public function as it runs where numba is not installed."""
    kernel, sort_module.load_kernels = sort_module.load_kernels, lambda name: None
    try:
        return sort_logits(logits, labels, ignore_index)
    finally:
        sort_module.load_kernels = kernel


def sort_in_full(logits, labels, ignore_index=None):
    """The path without data-dependent shapes, for torch.compile and CUDA without Triton."""
    check_labels(logits, labels, ignore_index)
    return sort_module._sort_in_full(logits, labels, ignore_index)


# float32 and float64 on the CPU go through the kernel where numba is installed.
paths = pytest.mark.parametrize(
    'sort', [sort_logits, sort_with_torch, sort_in_full], ids=['public', 'torch', 'full']
)


def slow_row(row, label):
    """Where each class's value comes from, straight from the definition."""
    descending = sorted(range(len(row)), key=lambda c: (-row[c], c))
    label_first = [label] + [c for c in descending if c != label]
    source = [None] * len(row)
    for receiver, giver in zip(label_first, descending, strict=True):
        source[receiver] = giver
    return source


def slow_sources(logits, labels):
    sources = map(slow_row, logits.tolist(), labels.tolist())
    return torch.tensor(list(sources), dtype=torch.int64).view(logits.shape)


def bits(tensor):
    return tensor.contiguous().view(
        {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
    )


def assert_same_bits(result, expected):
    assert result.dtype == expected.dtype
    assert torch.equal(bits(result), bits(expected))


@st.composite
def batches(draw, dtypes=DTYPES, distinct=False):
    """Logits and labels; small integers, so that every dtype holds them exactly."""
    num_rows = draw(st.integers(1, 5))
    num_classes = draw(st.integers(2, 40))
    if distinct:
        rows = [draw(st.permutations(range(num_classes))) for _ in range(num_rows)]
    else:
        largest = draw(st.sampled_from([2, 90]))  # 2: many ties
        values = st.integers(-largest, largest)
        rows = draw(arrays(np.int64, (num_rows, num_classes), elements=values))
    labels = draw(arrays(np.int64, num_rows, elements=st.integers(0, num_classes - 1)))
    logits = torch.tensor(np.array(rows), dtype=draw(st.sampled_from(dtypes)))
    return logits, torch.tensor(labels)


def random_batch(num_rows=64, num_classes=81, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    return logits.to(dtype), labels


# -- the authors' figures and the definition ---------------------------------


@paths
@pytest.mark.parametrize('batch', [0, 1, 2])
def test_equals_the_authors_figures_to_the_bit(figures, sort, batch):
    result = sort(figures(batch, 'teacher'), figures(batch, 'labels'))
    assert_same_bits(result, figures(batch, 'sort'))


@paths
@quick
@given(batches())
def test_follows_the_definition_with_ties_in_every_dtype(sort, batch):
    logits, labels = batch
    expected = logits.gather(1, slow_sources(logits, labels))
    assert_same_bits(sort(logits, labels), expected)


@paths
def test_of_equal_logits_the_lower_class_index_counts_as_the_higher(sort):
    # Classes 0 and 2 tie above the label: class 0 stands higher, so it takes class 2's
    # value and class 2 takes the label's.
    logits = torch.tensor([[5.0, 1.0, 5.0, 3.0]])
    expected = torch.tensor([[5.0, 1.0, 3.0, 5.0]])
    assert_same_bits(sort(logits, torch.tensor([3])), expected)


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_many_classes_above_the_label_follow_the_definition(sort, dtype):
    logits, labels = random_batch(num_rows=20, num_classes=150, dtype=dtype)
    labels[:10] = logits[:10].argmin(1)
    assert (logits > logits.gather(1, labels[:, None])).sum(1).max() > 100
    assert_same_bits(sort(logits, labels), logits.gather(1, slow_sources(logits, labels)))


# -- laws --------------------------------------------------------------------


@paths
@quick
@given(batches())
def test_each_row_is_permuted(sort, batch):
    logits, labels = batch
    result = sort(logits, labels)
    assert result.shape == logits.shape
    assert_same_bits(result.sort(1).values, logits.sort(1).values)


@paths
@quick
@given(batches())
def test_the_label_gets_the_largest_value(sort, batch):
    logits, labels = batch
    result = sort(logits, labels)
    assert torch.equal(result.gather(1, labels[:, None]), logits.amax(1, keepdim=True))


@paths
@quick
@given(batches())
def test_classes_that_do_not_stand_above_the_label_keep_their_value(sort, batch):
    logits, labels = batch
    kept = logits <= logits.gather(1, labels[:, None])
    kept.scatter_(1, labels[:, None], False)
    assert_same_bits(sort(logits, labels)[kept], logits[kept])


@paths
@quick
@given(batches())
def test_all_classes_but_the_label_keep_their_relative_order(sort, batch):
    logits, labels = batch
    result = sort(logits, labels)
    for row, sorted_row, label in zip(
        logits.tolist(), result.tolist(), labels.tolist(), strict=True
    ):
        others = [c for c in range(len(row)) if c != label]
        others.sort(key=lambda c: (-row[c], c))
        values = [sorted_row[c] for c in others]
        assert values == sorted(values, reverse=True)


@paths
@quick
@given(batches())
def test_sorting_twice_is_sorting_once(sort, batch):
    logits, labels = batch
    once = sort(logits, labels)
    assert_same_bits(sort(once, labels), once)


@paths
@quick
@given(batches())
def test_a_row_with_its_label_at_the_maximum_is_unchanged(sort, batch):
    logits, _ = batch
    labels = logits.argmax(1)
    assert_same_bits(sort(logits, labels), logits)


@paths
def test_a_row_whose_label_shares_the_maximum_is_unchanged(sort):
    for row in ([2.0, 2.0, 1.0, 2.0], [0.0, -0.0, -1.0, -0.0]):
        logits = torch.tensor([row]).repeat(3, 1).requires_grad_()
        result = sort(logits, torch.tensor([0, 1, 3]))
        assert_same_bits(result.detach(), logits.detach())
        upstream = torch.arange(12.0).view(3, 4)
        (gradient,) = torch.autograd.grad(result, logits, upstream)
        assert torch.equal(gradient, upstream)


@paths
@quick
@given(batches(), st.integers(-100, 100))
def test_sorting_commutes_with_a_shift(sort, batch, shift):
    logits, labels = batch
    assert_same_bits(sort(logits + shift, labels), sort(logits, labels) + shift)


@paths
@quick
@given(batches(distinct=True))
def test_equals_a_swap_where_the_label_stands_second(sort, batch):
    logits, _ = batch
    first, second = logits.topk(2, dim=1).indices.unbind(1)
    expected = logits.clone()
    rows = torch.arange(len(logits))
    expected[rows, first], expected[rows, second] = logits[rows, second], logits[rows, first]
    assert_same_bits(sort(logits, second), expected)


# -- kernel and torch path ---------------------------------------------------


def test_the_kernel_runs_for_single_and_double_precision_on_the_cpu(monkeypatch):
    pytest.importorskip('numba')

    def fail(*_):
        pytest.fail('the torch path ran')

    monkeypatch.setattr(sort_module, '_sort_with_torch', fail)
    for dtype in (torch.float32, torch.float64):
        sort_logits(*random_batch(dtype=dtype))


def test_without_numba_the_torch_path_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.delitem(sys.modules, 'sortkd_det.functional.kernels.sort_cpu', raising=False)
    looked_up = functools.cache(sort_module.load_kernels.__wrapped__)
    monkeypatch.setattr(sort_module, 'load_kernels', looked_up)
    logits, labels = random_batch()
    result = sort_logits(logits, labels)
    assert looked_up('sort_cpu') is None
    assert_same_bits(result, logits.gather(1, slow_sources(logits, labels)))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('num_classes', [2, 7, 81, 1000])
def test_kernel_and_torch_path_give_the_same_bits(num_classes, dtype):
    pytest.importorskip('numba')
    logits, labels = random_batch(200, num_classes, dtype)
    labels[:50] = logits[:50].argmin(1)  # all classes above
    logits[50:100] = logits[50:100].round()  # ties
    assert_same_bits(sort_logits(logits, labels), sort_with_torch(logits, labels))
    assert_same_bits(sort_logits(logits, labels, 1), sort_with_torch(logits, labels, 1))


@pytest.mark.parametrize('round_to', [None, 0.25])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_kernel_and_torch_path_agree_for_each_number_of_classes_above(dtype, round_to):
    pytest.importorskip('numba')
    logits, _ = random_batch(210, 210, dtype)  # past 4, 16, … and 192, where ways of sorting change
    if round_to is not None:
        logits = (logits / round_to).round() * round_to
    ranks = torch.randperm(210, generator=torch.Generator().manual_seed(1))
    labels = logits.argsort(1, descending=True).gather(1, ranks[:, None]).squeeze(1)
    assert_same_bits(sort_logits(logits, labels), sort_with_torch(logits, labels))


special = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])


@quick
@given(st.data())
def test_kernel_and_torch_path_agree_on_zeros_infinities_and_nans(data):
    pytest.importorskip('numba')
    rows = data.draw(arrays(np.float32, (3, 6), elements=special))
    labels = data.draw(arrays(np.int64, 3, elements=st.integers(0, 5)))
    logits, labels = torch.tensor(rows), torch.tensor(labels)
    assert_same_bits(sort_logits(logits, labels), sort_with_torch(logits, labels))
    # The same numbers; which of two zeros has the sign may differ.
    expected = sort_with_torch(logits, labels)
    torch.testing.assert_close(
        sort_in_full(logits, labels), expected, rtol=0, atol=0, equal_nan=True
    )


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_a_row_with_a_nan_comes_back_as_it_is(sort, dtype):
    logits, labels = random_batch(8, 60, dtype)
    labels[:] = logits.argmin(1)
    logits[1, 5] = logits[2, labels[2]] = float('nan')
    result = sort(logits, labels)
    assert_same_bits(result[1:3], logits[1:3])
    healthy = [0, 3, 4, 5, 6, 7]
    assert_same_bits(result[healthy], sort(logits[healthy], labels[healthy]))
    assert not torch.equal(result[0], logits[0])


# -- arguments ---------------------------------------------------------------


@paths
@pytest.mark.parametrize('ignore_index', [-100, 255, 3])
def test_ignored_rows_come_back_as_they_are_and_others_are_sorted(sort, ignore_index):
    logits, labels = random_batch(12, 9)
    labels[labels == 3] = 4
    ignored = torch.tensor([True, False, False, True] * 3)
    given_labels = torch.where(ignored, ignore_index, labels)
    result = sort(logits, given_labels, ignore_index)
    assert_same_bits(result[ignored], logits[ignored])
    assert_same_bits(result[~ignored], sort(logits[~ignored], labels[~ignored]))
    assert not torch.equal(sort(logits, labels)[ignored], logits[ignored])


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_inputs_are_unchanged_and_the_result_is_a_tensor_of_its_own(sort, dtype):
    logits, labels = random_batch(dtype=dtype)
    labels[:5] = logits[:5].argmax(1)
    for rows in (slice(None), slice(5)):  # the latter: nothing to sort
        given_logits, given_labels = logits[rows].clone(), labels[rows].clone()
        result = sort(given_logits, given_labels)
        result.zero_()
        assert_same_bits(given_logits, logits[rows])
        assert torch.equal(given_labels, labels[rows])


@paths
@views_of_the_same
def test_non_contiguous_logits_are_sorted_alike(sort, view):
    logits, labels = random_batch()
    assert not view(logits).is_contiguous()
    assert_same_bits(sort(view(logits), labels), sort(logits, labels))


@paths
def test_non_contiguous_labels_sort_alike(sort):
    logits, labels = random_batch()
    assert_same_bits(sort(logits, labels.repeat_interleave(2)[::2]), sort(logits, labels))


@paths
@pytest.mark.parametrize('dtype', DTYPES)
def test_no_rows_give_no_rows(sort, dtype):
    result = sort(torch.zeros(0, 5, dtype=dtype), torch.zeros(0, dtype=torch.int64))
    assert result.shape == (0, 5)
    assert result.dtype == dtype


@pytest.mark.parametrize('label', [4, -1, -100])
@pytest.mark.parametrize('dtype', DTYPES)
def test_a_label_out_of_range_is_named_with_its_row_and_the_range(dtype, label):
    labels = torch.tensor([0, 3, label, label])
    with pytest.raises(ValueError, match=rf'0…3; row 2 has {label} \(2 of 4 rows') as error:
        sort_logits(torch.zeros(4, 4, dtype=dtype), labels)
    assert 'ignore_index' not in str(error.value)


@pytest.mark.parametrize('row', [0, 1500, 2999])
def test_a_label_out_of_range_in_a_matrix_that_threads_share_is_named(row):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        logits, labels = torch.zeros(3000, 200), torch.zeros(3000, dtype=torch.int64)
        assert logits.numel() > 2 * sort_module._WORTH_A_THREAD
        labels[row] = 200
        with pytest.raises(ValueError, match=rf'row {row} has 200 \(1 of 3000 rows'):
            sort_logits(logits, labels)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_label_that_is_neither_in_range_nor_ignored_is_named(dtype):
    labels = torch.tensor([-100, 7, 0])
    with pytest.raises(ValueError, match='0…3 or ignore_index=-100; row 1 has 7'):
        sort_logits(torch.zeros(3, 4, dtype=dtype), labels, ignore_index=-100)


@pytest.mark.parametrize(
    ('logits', 'labels', 'error', 'message'),
    [
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int32), TypeError, 'int64.*int32'),
        (torch.zeros(3, 4), [0, 1, 2], TypeError, 'int64 Tensor, got list'),
        (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3).long(), TypeError, 'floating'),
        ([[0.0, 1.0]], torch.zeros(1).long(), TypeError, 'Tensor, got list'),
        (torch.zeros(4), torch.zeros(4).long(), ValueError, r'\(N, C\), got \(4,\)'),
        (torch.zeros(1, 3, 4), torch.zeros(1).long(), ValueError, r'\(N, C\), got \(1, 3, 4\)'),
        (torch.zeros(3, 1), torch.zeros(3).long(), ValueError, r'2 classes.*\(3, 1\)'),
        (torch.zeros(3, 4), torch.zeros(2).long(), ValueError, r'\(3,\).*\(3, 4\).*\(2,\)'),
        (torch.zeros(3, 4), torch.zeros(3, 1).long(), ValueError, r'\(3,\).*\(3, 1\)'),
    ],
)
def test_unfit_arguments_are_refused(logits, labels, error, message):
    with pytest.raises(error, match=message):
        sort_logits(logits, labels)


# -- gradients ---------------------------------------------------------------


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_gradient_flows_back_along_the_permutation(dtype):
    logits, labels = random_batch(10, 12, dtype)
    labels[0] = logits[0].argmax()
    upstream, _ = random_batch(10, 12, dtype, seed=1)
    reference = logits.clone().requires_grad_()
    reference.gather(1, slow_sources(logits, labels)).backward(upstream)
    logits.requires_grad_()
    result = sort_logits(logits, labels)
    result.backward(upstream)
    assert_same_bits(result.detach(), sort_logits(logits.detach(), labels))
    assert_same_bits(logits.grad, reference.grad)


def test_gradcheck():
    logits = torch.randperm(36, generator=torch.Generator().manual_seed(0)).view(4, 9).double()
    logits.requires_grad_()
    labels = torch.tensor([0, 8, -1, 3])
    assert torch.autograd.gradcheck(lambda x: sort_logits(x, labels, -1), logits)


def test_an_ignored_row_passes_its_gradient_straight_through():
    logits, labels = random_batch(4, 6, torch.float64)
    labels[1] = -100
    upstream, _ = random_batch(4, 6, torch.float64, seed=1)
    logits.requires_grad_()
    sort_logits(logits, labels, -100).backward(upstream)
    assert_same_bits(logits.grad[1], upstream[1])


def test_without_grad_mode_logits_that_require_grad_are_sorted_alike():
    logits, labels = random_batch()
    with torch.no_grad():
        result = sort_logits(logits.clone().requires_grad_(), labels)
    assert not result.requires_grad
    assert_same_bits(result, sort_logits(logits, labels))


# -- compiled ----------------------------------------------------------------


def test_it_compiles_to_one_graph():
    logits, labels = random_batch()
    compiled = torch.compile(sort_logits, fullgraph=True, backend='aot_eager')
    assert_same_bits(compiled(logits, labels), sort_logits(logits, labels))
    assert_same_bits(compiled(logits, labels, 5), sort_logits(logits, labels, 5))
