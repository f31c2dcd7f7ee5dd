import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sortkd_det.functional import sort_logits, swap_logits

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
quick = settings(deadline=None, max_examples=60)


def slow_sources(logits, labels):
    """Where each class's value comes from, straight from the definition."""
    sources = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        source = list(range(len(row)))
        top = row.index(max(row))
        if row[top] > row[label]:
            source[top], source[label] = label, top
        sources.append(source)
    return torch.tensor(sources, dtype=torch.int64).view(logits.shape)


def random_batch(num_rows=20, num_classes=9, dtype=torch.float32, seed=0, largest=None):
    """Logits and labels; with ``largest``, whole numbers up to it, many of them equal."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_rows, num_classes)
    if largest is None:
        logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        logits = torch.randint(-largest, largest + 1, shape, generator=generator)
    return logits.to(dtype), torch.randint(num_classes, (num_rows,), generator=generator)


batches = st.builds(
    random_batch,
    num_rows=st.integers(1, 6),
    num_classes=st.integers(2, 30),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 10_000),
    largest=st.sampled_from([2, 90]),
)


@quick
@given(batches)
def test_follows_the_definition_with_ties_in_every_dtype(batch):
    logits, labels = batch
    result = swap_logits(logits, labels)
    assert result.dtype == logits.dtype
    assert torch.equal(result, logits.gather(1, slow_sources(logits, labels)))


@quick
@given(batches)
def test_the_label_gets_the_largest_value_and_at_most_two_classes_move(batch):
    logits, labels = batch
    result = swap_logits(logits, labels)
    assert torch.equal(result.gather(1, labels[:, None]), logits.amax(1, keepdim=True))
    assert ((result != logits).sum(1) <= 2).all()
    assert torch.equal(result.sort(1).values, logits.sort(1).values)


@quick
@given(batches)
def test_a_row_with_its_label_at_the_maximum_is_unchanged(batch):
    logits, _ = batch
    assert torch.equal(swap_logits(logits, logits.argmax(1)), logits)


def test_a_row_whose_label_shares_the_maximum_is_unchanged():
    logits = torch.tensor([[2.0, 2.0, 1.0, 2.0]]).repeat(3, 1)
    assert torch.equal(swap_logits(logits, torch.tensor([0, 1, 3])), logits)


def test_of_several_largest_the_lowest_class_index_is_exchanged():
    swapped = swap_logits(torch.tensor([[1.0, 5.0, 5.0, 3.0]]), torch.tensor([3]))
    assert torch.equal(swapped, torch.tensor([[1.0, 3.0, 5.0, 5.0]]))


def test_equals_the_sort_where_the_label_stands_second_and_not_where_it_stands_third():
    logits, _ = random_batch()
    ranked = logits.topk(3, dim=1).indices
    second, third = ranked[:, 1], ranked[:, 2]
    assert torch.equal(swap_logits(logits, second), sort_logits(logits, second))
    assert not torch.equal(swap_logits(logits, third), sort_logits(logits, third))


@pytest.mark.parametrize('ignore_index', [-100, 255, 3])
def test_ignored_rows_come_back_as_they_are_and_others_are_swapped(ignore_index):
    logits, labels = random_batch(12)
    labels[labels == 3] = 4
    ignored = torch.tensor([True, False, False, True] * 3)
    result = swap_logits(logits, torch.where(ignored, ignore_index, labels), ignore_index)
    assert torch.equal(result[ignored], logits[ignored])
    assert torch.equal(result[~ignored], swap_logits(logits[~ignored], labels[~ignored]))
    assert not torch.equal(swap_logits(logits, labels)[ignored], logits[ignored])


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_row_with_a_nan_comes_back_as_it_is(dtype):
    logits, _ = random_batch(dtype=dtype)
    labels = logits.argmin(1)
    logits[1, 5] = logits[2, labels[2]] = float('nan')
    result = swap_logits(logits, labels)
    assert torch.equal(result[1:3].nan_to_num(99), logits[1:3].nan_to_num(99))
    assert torch.equal(result[3:], swap_logits(logits[3:], labels[3:]))
    assert not torch.equal(result[3:], logits[3:])


def test_inputs_are_unchanged_and_the_result_is_a_tensor_of_its_own():
    logits, labels = random_batch()
    labels[:5] = logits[:5].argmax(1)
    for rows in (slice(None), slice(5)):  # the latter: nothing to swap
        given_logits, given_labels = logits[rows].clone(), labels[rows].clone()
        swap_logits(given_logits, given_labels, 3).zero_()
        assert torch.equal(given_logits, logits[rows])
        assert torch.equal(given_labels, labels[rows])


def test_non_contiguous_logits_swap_alike():
    logits, labels = random_batch()
    transposed = logits.t().contiguous().t()
    assert not transposed.is_contiguous()
    assert torch.equal(swap_logits(transposed, labels), swap_logits(logits, labels))


@pytest.mark.parametrize('dtype', DTYPES)
def test_no_rows_give_no_rows_with_a_graph(dtype):
    logits = torch.zeros(0, 5, dtype=dtype, requires_grad=True)
    result = swap_logits(logits, torch.zeros(0, dtype=torch.int64))
    assert result.shape == (0, 5)
    assert result.dtype == dtype
    result.sum().backward()
    assert logits.grad.shape == (0, 5)


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_gradient_flows_back_along_the_exchange(dtype):
    logits, labels = random_batch(dtype=dtype)
    labels[0] = logits[0].argmax()
    upstream, _ = random_batch(dtype=dtype, seed=1)
    reference = logits.clone().requires_grad_()
    reference.gather(1, slow_sources(logits, labels)).backward(upstream)
    logits.requires_grad_()
    swap_logits(logits, labels).backward(upstream)
    assert torch.equal(logits.grad, reference.grad)


def test_gradcheck_with_ignored_rows():
    logits, labels = random_batch(4, 6, torch.float64)
    labels[2] = -1
    assert torch.autograd.gradcheck(lambda x: swap_logits(x, labels, -1), logits.requires_grad_())


@pytest.mark.parametrize('label', [4, -1, -100])
def test_a_label_out_of_range_is_named_with_its_row_and_the_range(label):
    labels = torch.tensor([0, 3, label, label])
    with pytest.raises(ValueError, match=rf'0…3; row 2 has {label} \(2 of 4 rows'):
        swap_logits(torch.zeros(4, 4), labels)


@pytest.mark.parametrize(
    ('logits', 'labels', 'error', 'message'),
    [
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int32), TypeError, 'int64.*int32'),
        (torch.zeros(3, 4), None, TypeError, 'int64 Tensor, got NoneType'),
        (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3).long(), TypeError, 'floating'),
        (torch.zeros(4), torch.zeros(4).long(), ValueError, r'\(N, C\), got \(4,\)'),
        (torch.zeros(3, 1), torch.zeros(3).long(), ValueError, r'2 classes.*\(3, 1\)'),
        (torch.zeros(3, 4), torch.zeros(2).long(), ValueError, r'\(3,\).*\(3, 4\).*\(2,\)'),
    ],
)
def test_unfit_arguments_are_refused(logits, labels, error, message):
    with pytest.raises(error, match=message):
        swap_logits(logits, labels)
