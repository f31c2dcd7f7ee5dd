"""Which rows count in a term, and what their sum is divided by."""

import math
from dataclasses import replace

import pytest
import torch
from logit_batches import (
    BACKGROUND,
    HEAD,
    make_batch,
    make_sigmoid_batch,
    slow_kd,
    slow_mean,
    value,
)

from sortkd_det.distill import LogitBatch, Term
from sortkd_det.functional import sort_logits, swap_logits


@pytest.fixture
def batch():
    return make_batch()


@pytest.fixture
def two_views(batch):
    """The same samples in a second view; one graph of its own for each."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = 2 * torch.randn(2, 8, 5, generator=generator)
    second = replace(batch, student=student.requires_grad_(), teacher=teacher)
    return replace(batch, second=second)


def test_all_rows_count_by_their_weight(batch):
    expected = slow_mean(slow_kd(batch.student, batch.teacher), batch.weight.tolist())
    assert value(Term('KDLoss')(batch, 1)) == pytest.approx(expected, rel=1e-5)


def test_a_number_divides_whatever_counts(batch):
    losses = slow_kd(batch.student, batch.teacher)
    total = sum(map(math.prod, zip(losses, batch.weight.tolist(), strict=True)))
    assert value(Term('KDLoss')(replace(batch, divisor=68.0), 1)) == pytest.approx(total / 68)


def test_a_term_of_boxes_is_about_what_the_batch_finds_of_them(batch):
    asked = []

    def find_boxes():
        asked.append(1)
        return replace(batch, divisor=4.0)

    of_boxes = replace(make_sigmoid_batch(), find_boxes=find_boxes)
    term = Term('KDLoss', of='boxes', begin=2)
    term.check('sigmoid')
    assert value(term(of_boxes, 1)) == 0
    assert asked == []  # only when it counts
    assert value(term(of_boxes, 2)) == value(Term('KDLoss')(find_boxes(), 2))
    with pytest.raises(ValueError, match="term KDLoss has of='boxes', and the batch has no"):
        term(batch, 2)


def test_only_foreground_rows_count_if_told_so(batch):
    weights = [
        weight if label != BACKGROUND else 0.0
        for weight, label in zip(batch.weight.tolist(), batch.labels.tolist(), strict=True)
    ]
    assert sum(weight > 0 for weight in weights) == 4
    expected = slow_mean(slow_kd(batch.student, batch.teacher), weights)
    loss = Term('KDLoss', loss_rows='foreground')(batch, 1)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    silent = torch.tensor(weights) == 0
    assert torch.equal(batch.student.grad.abs().sum(1) == 0, silent)


def test_without_a_background_class_all_rows_are_foreground(batch):
    batch = replace(batch, background=None)
    terms = [Term('KDLoss', loss_rows=rows, sort_rows=rows) for rows in ('all', 'foreground')]
    everything, foreground = (term(batch, 1) for term in terms)
    assert value(foreground) == value(everything)


@pytest.mark.parametrize('loss_rows', ['all', 'foreground'])
def test_a_batch_of_background_alone_gives_a_finite_loss(batch, loss_rows):
    batch = replace(batch, labels=torch.full((8,), BACKGROUND))
    loss = Term('KDLoss', loss_rows=loss_rows)(batch, 1)
    loss.backward()
    assert (value(loss) == 0) == (loss_rows == 'foreground')
    assert torch.isfinite(batch.student.grad).all()


def test_no_rows_give_zero_with_a_graph():
    none = torch.zeros(0, 5)
    student = none.clone().requires_grad_()
    batch = LogitBatch(student, none, torch.zeros(0, dtype=torch.int64), torch.zeros(0), **HEAD)
    loss = Term('KDLoss', processors=['SortLogits'], loss_rows='foreground')(batch, 1)
    loss.backward()
    assert value(loss) == 0
    assert student.grad.shape == (0, 5)


# -- sigmoid heads -----------------------------------------------------------


def slow_bernoulli(student, target):
    """The sum over the classes of each row's KL divergences, in plain Python."""
    sides = [(x.detach().double().sigmoid().tolist()) for x in (student, target)]
    return [
        sum(
            t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s))
            for s, t in zip(*row, strict=True)
        )
        for row in zip(*sides, strict=True)
    ]


@pytest.mark.parametrize(
    ('divisor', 'settings', 'counted', 'number'),
    [
        pytest.param('positives', {}, [0, 1, 2, 3, 5, 7], 4, id='by positives'),
        pytest.param('rows', {}, [0, 1, 2, 3, 5, 7], 6, id='by rows'),
        pytest.param('rows', {'loss_rows': 'foreground'}, [0, 2, 5, 7], 4, id='foreground'),
    ],
)
def test_the_loss_of_a_sigmoid_head_is_divided_as_the_batch_says(
    divisor, settings, counted, number
):
    batch = make_sigmoid_batch(divisor)
    losses = slow_bernoulli(batch.student, batch.teacher)
    expected = sum(losses[row] * float(batch.weight[row]) for row in counted) / number
    assert value(Term('KDLoss', **settings)(batch, 1)) == pytest.approx(expected, rel=1e-5)


def test_a_softmax_may_be_divided_by_positives_too(batch):
    batch = replace(batch, divisor='positives')
    weights = batch.weight.tolist()
    losses = slow_kd(batch.student, batch.teacher)
    expected = sum(map(math.prod, zip(losses, weights, strict=True))) / 4
    assert value(Term('KDLoss')(batch, 1)) == pytest.approx(expected, rel=1e-5)


def test_positives_that_there_are_none_of_are_counted_as_one():
    batch = make_sigmoid_batch()
    batch = replace(batch, labels=torch.full((8,), BACKGROUND))
    losses = slow_bernoulli(batch.student, batch.teacher)
    expected = sum(map(math.prod, zip(losses, batch.weight.tolist(), strict=True)))
    assert value(Term('KDLoss')(batch, 1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('sort_rows', ['all', 'foreground'])
@pytest.mark.parametrize('processor', ['SortLogits', 'SwapLogits'])
def test_rows_whose_label_is_no_column_are_never_rewritten(sort_rows, processor):
    batch = make_sigmoid_batch()
    term = Term('KDLoss', processors=[processor], sort_rows=sort_rows)
    found = term.process(term.processors, batch.teacher, batch)
    positive = batch.labels != BACKGROUND
    rewrite = {'SortLogits': sort_logits, 'SwapLogits': swap_logits}[processor]
    assert torch.equal(found[~positive], batch.teacher[~positive])
    expected = rewrite(batch.teacher[positive], batch.labels[positive])
    assert torch.equal(found[positive], expected)
    losses = slow_bernoulli(batch.student, found)
    weights = batch.weight.tolist()
    expected = sum(map(math.prod, zip(losses, weights, strict=True))) / 4
    assert value(term(batch, 1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('loss', ['KDLoss', 'NKDLoss', 'DKDLoss', 'DISTLoss', 'PLDLoss'])
def test_read_as_one_softmax_rows_of_objects_alone_teach(loss):
    batch = make_sigmoid_batch()
    positive = batch.labels != BACKGROUND
    alone = LogitBatch(
        batch.student[positive],
        batch.teacher[positive],
        batch.labels[positive],
        batch.weight[positive],
        activation='softmax',
        background=None,
    )
    settings = {'loss': loss, 'processors': ['SortLogits'], 'confidence_quantile': 0.5}
    found = Term(**settings, activation='softmax')(batch, 1)
    torch.testing.assert_close(found, Term(**settings)(alone, 1))


# -- confidence --------------------------------------------------------------


def confident_rows(batch, counted, quantile):
    """Of the rows in ``counted``: those of the teacher's lowest confidence, by sorting."""
    confidence = batch.teacher.double().softmax(1).amax(1).tolist()
    ordered = sorted(counted, key=lambda row: confidence[row])
    return ordered[: int((len(counted) - 1) * quantile) + 1]


@pytest.mark.parametrize('quantile', [0.0, 0.4, 0.5, 1.0])
@pytest.mark.parametrize('loss_rows', ['all', 'foreground'])
def test_only_rows_the_teacher_is_unsure_of_count_and_the_divisor_stays(batch, quantile, loss_rows):
    weights = batch.weight.tolist()
    if loss_rows == 'foreground':
        weights = [
            weight * (label != BACKGROUND)
            for weight, label in zip(weights, batch.labels.tolist(), strict=True)
        ]
    counted = [row for row in range(8) if weights[row] > 0]
    kept = confident_rows(batch, counted, quantile)
    losses = slow_kd(batch.student, batch.teacher)
    expected = sum(losses[row] * weights[row] for row in kept) / len(counted)
    term = Term('KDLoss', confidence_quantile=quantile, loss_rows=loss_rows)
    loss = term(batch, 1)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert batch.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(kept)


def test_rows_that_do_not_count_do_not_move_the_quantile(batch):
    term = Term('KDLoss', confidence_quantile=0.5)
    before = value(term(batch, 1))
    silent = batch.weight == 0
    batch.teacher[silent] = 50 * torch.eye(5)[0]  # as sure as can be
    assert value(term(batch, 1)) == before


def test_rows_are_chosen_in_one_compiled_graph(batch):
    """torch 2.11 cannot compile torch's own quantile whole."""
    term = Term('KDLoss', confidence_quantile=0.4)
    torch.compiler.reset()
    compiled = torch.compile(term, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(batch, 1), term(batch, 1))


def test_the_confidence_is_that_of_the_teacher_before_its_processors(batch):
    batch = replace(batch, weight=torch.ones(8))
    expected = confident_rows(batch, list(range(8)), 0.5)
    processed = batch.teacher * torch.linspace(5, 0.1, 8)[:, None]  # other rows are the sure ones
    assert set(expected) != set(
        confident_rows(replace(batch, teacher=processed), list(range(8)), 0.5)
    )
    term = Term('KDLoss', processors=[lambda *_: processed], confidence_quantile=0.5)
    term(batch, 1).backward()
    assert batch.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(expected)


def test_each_view_has_a_quantile_of_its_own(two_views):
    term = Term('KDLoss', views='all', confidence_quantile=0.5)
    singly = []
    for view in (two_views, two_views.second):
        weights = view.weight.tolist()
        counted = [row for row in range(8) if weights[row] > 0]
        losses = slow_kd(view.student, view.teacher)
        kept = confident_rows(view, counted, 0.5)
        singly.append(sum(losses[row] * weights[row] for row in kept) / len(counted))
    assert value(term(two_views, 1)) == pytest.approx(sum(singly), rel=1e-5)


def test_a_quantile_among_rows_that_do_not_count_is_zero_with_a_graph(batch):
    batch = replace(batch, weight=torch.zeros(8))
    loss = Term('KDLoss', confidence_quantile=0.5)(batch, 1)
    loss.backward()
    assert value(loss) == 0
    assert torch.equal(batch.student.grad, torch.zeros(8, 5))


def test_a_quantile_among_no_rows_is_zero_with_a_graph():
    none = torch.zeros(0, 5)
    student = none.clone().requires_grad_()
    batch = LogitBatch(student, none, torch.zeros(0, dtype=torch.int64), torch.zeros(0), **HEAD)
    loss = Term('KDLoss', confidence_quantile=0.5)(batch, 1)
    loss.backward()
    assert value(loss) == 0
    assert student.grad.shape == (0, 5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_confidence_of_half_precision_logits_is_taken_in_single_precision(batch, dtype):
    batch = replace(batch, teacher=batch.teacher.to(dtype))
    batch = replace(batch, weight=torch.ones(8))
    expected = confident_rows(batch, list(range(8)), 0.5)
    Term('KDLoss', confidence_quantile=0.5)(batch, 1).backward()
    assert batch.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(expected)
