import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sortkd_det.distill import LogitBatch
from sortkd_det.functional import sort_logits
from sortkd_det.hooks import DistilledBatch, TeacherAuditHook
from sortkd_det.hooks.teacher_audit_hook import (
    class_table,
    count_by_class,
    gradient_norms,
    summarise,
)

BACKGROUND = 4
HEAD = {'activation': 'softmax', 'background': BACKGROUND}


def make_batch(num_rows=60, background=BACKGROUND, with_truth=True):
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, num_rows, 5, generator=generator)
    labels = torch.randint(5, (num_rows,), generator=generator)
    teacher[::3].scatter_(1, labels[::3, None], 9.0)  # a teacher that is often right
    weight = torch.randint(3, (num_rows,), generator=generator) / 2
    truth = torch.rand(num_rows, generator=generator) < 0.3
    truth &= labels != BACKGROUND
    return LogitBatch(
        student.requires_grad_(),
        teacher,
        labels,
        weight,
        activation='softmax',
        background=background,
        find_ground_truth=(lambda: truth) if with_truth else None,
    )


def samples_of(batch):
    """Label, rank of the label, whether it is a ground-truth box, and whether background has
    the largest logit, of each that counts.
    """
    num_rows = len(batch.labels)
    truth = batch.find_ground_truth().tolist() if batch.find_ground_truth else [False] * num_rows
    for row, label, weight, is_truth in zip(
        batch.teacher.tolist(), batch.labels.tolist(), batch.weight.tolist(), truth, strict=True
    ):
        if weight > 0:
            rank = 1 + sum(logit > row[label] for logit in row)
            yield label, rank, is_truth, row.index(max(row)) == BACKGROUND


def slow_counts(batch):
    counts = [[0.0] * 8 for _ in range(5)]
    for label, rank, is_truth, as_background in samples_of(batch):
        for column, number in enumerate((1, rank == 1, rank)):
            counts[label][column + 3 * is_truth] += number
        counts[label][6] += rank > 1
        counts[label][7] += as_background
    return counts


def share(hits):
    hits = list(hits)
    return sum(hits) / len(hits)


# -- count_by_class --------------------------------------------------------------


@pytest.mark.parametrize('with_truth', [True, False])
def test_counts_samples_hits_and_ranks_of_each_class(with_truth):
    batch = make_batch(with_truth=with_truth)
    counts = count_by_class(batch)
    assert counts.dtype == torch.float64
    assert counts.tolist() == slow_counts(batch)
    assert counts[:, 3:6].any() == with_truth


def test_samples_of_weight_zero_are_left_out():
    batch = make_batch()
    assert (batch.weight == 0).any()
    assert count_by_class(batch)[:, [0, 3]].sum() == (batch.weight > 0).sum()
    batch = replace(batch, weight=torch.zeros(60))
    assert not count_by_class(batch).any()


def test_a_label_that_shares_the_maximum_is_a_hit():
    teacher = torch.tensor([[1.0, 3.0, 3.0, 3.0]])
    batch = LogitBatch(
        teacher, teacher, torch.tensor([2]), torch.ones(1), activation='softmax', background=3
    )
    assert count_by_class(batch)[2].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_no_samples_count_nothing():
    none = torch.zeros(0, 5)
    batch = LogitBatch(none, none, torch.zeros(0, dtype=torch.int64), torch.zeros(0), **HEAD)
    assert torch.equal(count_by_class(batch), torch.zeros(5, 8, dtype=torch.float64))


# -- summarise ---------------------------------------------------------------


def test_one_number_answers_each_question():
    batch = make_batch()
    samples = list(samples_of(batch))
    predicted = [(label, rank) for label, rank, is_truth, _ in samples if not is_truth]
    foreground = [rank for label, rank in predicted if label != BACKGROUND]
    expected = {
        'fg_top1': share(rank == 1 for rank in foreground),
        'fg_rank': share(foreground),
        'gt_top1': share(rank == 1 for _, rank, is_truth, _ in samples if is_truth),
        'bg_top1': share(rank == 1 for label, rank in predicted if label == BACKGROUND),
        'fg_sorted': share(rank > 1 for label, rank, _, _ in samples if label != BACKGROUND),
        'sorted': share(rank > 1 for _, rank, _, _ in samples),
        'fg_as_bg': share(above for label, _, _, above in samples if label != BACKGROUND),
    }
    assert summarise(count_by_class(batch), BACKGROUND) == pytest.approx(expected)


def test_sorted_is_the_share_of_rows_that_sorting_changes():
    batch = make_batch()
    batch = replace(batch, weight=torch.ones(60))
    changed = (sort_logits(batch.teacher, batch.labels) != batch.teacher).any(1)
    summary = summarise(count_by_class(batch), BACKGROUND)
    assert summary['sorted'] == pytest.approx(share(changed.tolist()))
    foreground = changed[batch.labels != BACKGROUND]
    assert summary['fg_sorted'] == pytest.approx(share(foreground.tolist()))


def test_without_a_background_class_all_is_foreground():
    summary = summarise(count_by_class(make_batch(with_truth=False)), None)
    assert summary.keys() == {'fg_top1', 'fg_rank', 'fg_sorted', 'sorted'}
    assert summary['fg_sorted'] == summary['sorted']


def test_questions_without_samples_are_left_out():
    assert summarise(torch.zeros(5, 8), BACKGROUND) == {}
    counts = torch.zeros(5, 8, dtype=torch.float64)
    counts[BACKGROUND, [0, 1, 2, 6]] = torch.tensor([4, 3, 5, 1], dtype=torch.float64)
    assert summarise(counts, BACKGROUND) == {'bg_top1': 0.75, 'sorted': 0.25}


# -- class_table -------------------------------------------------------------


def cells(table):
    rows = [line for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]


def cell(numbers):
    numbers = list(numbers)
    return f'{share(numbers):.3f}' if numbers else '-'


def test_the_table_has_a_row_for_each_class_that_was_seen():
    batch = make_batch()
    batch = replace(batch, weight=batch.weight * (batch.labels != 1))
    names = ('ace', 'two', 'three', 'four')
    head, *rows = cells(class_table(count_by_class(batch), BACKGROUND, names))
    assert head == ['class', 'samples', 'top-1', 'mean rank', 'sorted', 'GT boxes', 'GT top-1']
    assert [row[0] for row in rows] == ['ace', 'three', 'four', 'background']
    samples = list(samples_of(batch))
    for row, label in zip(rows, (0, 2, 3, BACKGROUND), strict=True):
        ranks = [rank for other, rank, is_truth, _ in samples if other == label and not is_truth]
        truth = [rank for other, rank, is_truth, _ in samples if other == label and is_truth]
        assert row[1:] == [
            str(len(ranks)),
            cell(rank == 1 for rank in ranks),
            cell(ranks),
            cell(rank > 1 for rank in ranks + truth),
            str(len(truth)),
            cell(rank == 1 for rank in truth),
        ]


@pytest.mark.parametrize(('names', 'last'), [(None, '3'), (('a', 'b'), '3'), ('abcde', 'd')])
def test_classes_without_a_name_are_called_by_their_index(names, last):
    counts = torch.zeros(5, 8, dtype=torch.float64)
    counts[3, :3] = 1
    _, row = cells(class_table(counts, BACKGROUND, names))
    assert row == [last, '1', '1.000', '1.000', '0.000', '0', '-']


def test_without_a_background_class_the_last_class_keeps_its_name():
    counts = torch.ones(5, 8, dtype=torch.float64)
    assert cells(class_table(counts, None, 'abcde'))[-1][0] == 'e'


# -- gradient_norms ----------------------------------------------------------


def test_norms_are_those_of_each_losss_gradient_at_the_students_logits():
    batch = make_batch(num_rows=4)
    student, teacher, labels = batch.student, batch.teacher, batch.labels
    divergence = torch.nn.functional.kl_div(
        student.log_softmax(1), teacher.softmax(1), reduction='batchmean'
    )
    own = {
        'loss_cls': 3 * torch.nn.functional.cross_entropy(student, labels),
        'loss_bbox': student.sum(),
        'acc': torch.tensor(50.0),
    }
    norms = gradient_norms(DistilledBatch(batch, own, {'loss_distill': 2 * divergence}))

    def slow_norm(scale, targets):
        rows = student.detach().double().softmax(1) - targets.double()
        return scale / 4 * math.sqrt(sum(x * x for row in rows.tolist() for x in row))

    one_hot = torch.nn.functional.one_hot(labels, 5)
    assert {name: float(norm) for name, norm in norms.items()} == pytest.approx(
        {
            'loss_distill': slow_norm(2, teacher.softmax(1)),
            'loss_cls': slow_norm(3, one_hot),
        },
        rel=1e-5,
    )


def test_measuring_norms_leaves_gradients_and_graph_to_the_run():
    batch = make_batch(num_rows=4)
    loss = (batch.student**2).sum()
    gradient_norms(DistilledBatch(batch, {}, {'loss_distill': loss}))
    assert batch.student.grad is None
    loss.backward()
    assert torch.equal(batch.student.grad, 2 * batch.student.detach())


def test_losses_without_a_gradient_at_the_logits_have_no_norm():
    batch = make_batch(num_rows=4)
    elsewhere = torch.ones(1, requires_grad=True)
    own = {'loss_cls': [elsewhere.sum()], 'loss_rpn_cls': batch.student.sum()}
    distill = {'a': torch.tensor(1.0), 'b': elsewhere.sum(), 'c': batch.student.sum()}
    assert gradient_norms(DistilledBatch(batch, own, distill)).keys() == {'c'}
    batch = replace(batch, student=batch.student.detach())
    assert gradient_norms(DistilledBatch(batch, {}, {'b': elsewhere.sum()})) == {}


def test_norms_are_taken_where_the_students_own_loss_reads():
    """Maps of two levels, whose rows are gathered; losses of each level and layer."""
    maps = [torch.full((3, 2), 2.0, requires_grad=True) for _ in range(2)]
    batch = LogitBatch(
        torch.cat([maps[0][:2], maps[1][1:]]),
        torch.zeros(4, 2),
        torch.tensor([0, 1, 1, 2]),
        torch.ones(4),
        activation='sigmoid',
        background=2,
        sources=maps,
    )
    own = {'loss_cls': [3 * maps[0].sum(), maps[1].sum()], 'd0.loss_cls': maps[1].sum()}
    norms = gradient_norms(DistilledBatch(batch, own, {'loss_distill': batch.student.sum()}))
    assert float(norms['loss_distill']) == pytest.approx(math.sqrt(8))
    assert float(norms['loss_cls']) == pytest.approx(math.sqrt(6 * 3**2 + 6 * 2**2))


# -- sigmoid heads -----------------------------------------------------------


def test_of_a_sigmoid_head_background_has_no_column_and_is_never_sorted():
    teacher = torch.tensor([[2.0, 1.0], [2.0, 1.0], [-1.0, -2.0], [-1.0, -2.0], [-1.0, 3.0]])
    batch = LogitBatch(
        teacher,
        teacher,
        torch.tensor([0, 1, 1, 2, 2]),
        torch.ones(5),
        activation='sigmoid',
        background=2,
    )
    counts = count_by_class(batch)
    assert counts.tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [2, 0, 4, 0, 0, 0, 2, 1],  # of both classes it is the second; one is below one half
        [2, 1, 3, 0, 0, 0, 0, 1],
    ]
    assert summarise(counts, 2) == pytest.approx(
        {
            'fg_top1': 1 / 3,
            'fg_rank': 5 / 3,
            'bg_top1': 1 / 2,
            'fg_sorted': 2 / 3,
            'sorted': 2 / 5,
            'fg_as_bg': 1 / 3,
        }
    )


# -- arguments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ('on_top', 'is_told'), [(BACKGROUND, True), (1, False)], ids=['background', 'another class']
)
def test_a_teacher_that_does_not_see_the_objects_is_told_of(on_top, is_told):
    logits = torch.zeros(20, 5)
    logits[:, on_top] = 1.0
    labels = torch.tensor([0] * 10 + [BACKGROUND] * 10)
    batch = LogitBatch(logits.clone().requires_grad_(), logits, labels, torch.ones(20), **HEAD)
    warnings = []
    logger = SimpleNamespace(info=lambda text: None, warning=warnings.append)
    hook = TeacherAuditHook()
    hook._classes = None
    hook._watch(DistilledBatch(batch, {}, {}))
    hook.after_train_epoch(SimpleNamespace(logger=logger))
    assert len(warnings) == is_told
    if is_told:
        assert 'says background on 100.0% of the samples of objects' in warnings[0]
        assert 'the label first on 0.0%' in warnings[0]
    hook.after_train_epoch(SimpleNamespace(logger=logger))  # nothing was seen since
    assert len(warnings) == is_told


@pytest.mark.parametrize('name', ['interval', 'grad_interval'])
def test_intervals_must_be_whole_numbers_above_zero(name):
    for value in (0, -5):
        with pytest.raises(ValueError, match=f'{name} must be at least 1'):
            TeacherAuditHook(**{name: value})
    for value in ('50', True, 0.5):
        with pytest.raises(TypeError, match=f'{name} must be a whole number'):
            TeacherAuditHook(**{name: value})
