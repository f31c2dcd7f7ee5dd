"""The sort of all columns but that of background."""

import pytest
import torch

from sortkd_det.functional import Sort, sort_classes, sort_logits

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
IGNORED = -7


def random_rows(num_columns, dtype=torch.float32, seed=0):
    """Sixty rows with equal logits among them; labels of each kind."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(60, num_columns, generator=generator)).round(decimals=1).to(dtype)
    labels = torch.randint(num_columns, (60,), generator=generator)
    labels[::9] = IGNORED
    return logits, labels


def slow_sort(row, label, background):
    """The other columns' values, handed out in descending order, the label first."""
    if label in (background, IGNORED):
        return list(row)
    classes = [column for column in range(len(row)) if column != background]
    order = sorted(classes, key=lambda column: (column != label, -row[column], column))
    values = sorted((row[column] for column in classes), reverse=True)
    result = list(row)
    for column, value in zip(order, values, strict=True):
        result[column] = value
    return result


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(
    ('num_columns', 'background'), [(2, 1), (3, 2), (7, 6), (7, 0), (7, 3), (81, 80)]
)
def test_background_keeps_its_value_and_the_classes_are_sorted(num_columns, background, dtype):
    logits, labels = random_rows(num_columns, dtype)
    before = logits.clone()
    found = sort_classes(logits, labels, background, IGNORED)
    expected = [
        slow_sort(row, label, background)
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert found.dtype == dtype
    assert found.tolist() == expected
    assert torch.equal(logits, before)
    # By plain torch, with a graph, and within a compiled one, the same to the bit.
    with_graph = sort_classes(logits.clone().requires_grad_(), labels, background, IGNORED)
    assert torch.equal(with_graph.detach(), found)


def test_compiled_it_is_the_same():
    torch.compiler.reset()
    logits, labels = random_rows(7)
    compiled = torch.compile(sort_classes, fullgraph=True, backend='aot_eager')
    assert torch.equal(
        compiled(logits, labels, 6, IGNORED), sort_classes(logits, labels, 6, IGNORED)
    )
    torch.compiler.reset()


def test_gradients_flow_back_along_the_permutation():
    logits = torch.tensor([[1.0, 3.0, 2.0, 9.0]], requires_grad=True)
    found = sort_classes(logits, torch.tensor([0]), 3)
    assert found.tolist() == [[3.0, 2.0, 1.0, 9.0]]
    (gradient,) = torch.autograd.grad(found, logits, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert gradient.tolist() == [[3.0, 1.0, 2.0, 4.0]]


def test_a_class_that_is_on_top_among_classes_stays_though_background_is_above():
    logits = torch.tensor([[5.0, 4.0, 9.0]])
    labels = torch.tensor([0])
    assert torch.equal(sort_classes(logits, labels, 2), logits)
    assert sort_logits(logits, labels).tolist() == [[9.0, 4.0, 5.0]]


def test_no_rows():
    assert sort_classes(torch.zeros(0, 5), torch.zeros(0).long(), 4).shape == (0, 5)


def test_a_told_sort_does_what_it_says():
    logits, labels = random_rows(7)
    told = Sort(IGNORED)(logits, labels)
    assert torch.equal(told, sort_logits(logits, labels, IGNORED))
    told = Sort(IGNORED, 6)(logits, labels)
    assert torch.equal(told, sort_classes(logits, labels, 6, IGNORED))


def test_a_told_sort_leaves_a_single_class_as_it_is_in_a_tensor_of_its_own():
    logits = torch.tensor([[1.0], [2.0]])
    found = Sort(IGNORED, 1)(logits, torch.tensor([0, 1]))
    assert torch.equal(found, logits)
    found.zero_()
    assert logits.tolist() == [[1.0], [2.0]]


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', DTYPES)
def test_on_cuda_it_is_the_same_to_the_bit(dtype):
    logits, labels = random_rows(81, dtype)
    expected = sort_classes(logits, labels, 80, IGNORED)
    assert torch.equal(sort_classes(logits.cuda(), labels.cuda(), 80, IGNORED).cpu(), expected)


@pytest.mark.parametrize('background', [-1, 5, None])
def test_a_background_that_is_no_column_is_refused(background):
    with pytest.raises(ValueError, match='background must be a column, 0…4, got'):
        sort_classes(torch.zeros(1, 5), torch.tensor([0]), background)


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match='row 0 has 5'):
        sort_classes(torch.zeros(1, 5), torch.tensor([5]), 4)
