"""When a term counts, and how much."""

import pytest
import torch
from logit_batches import HEAD, make_batch, value

from sortkd_det.distill import LogitBatch, Term
from sortkd_det.distill.schedule import Schedule


@pytest.fixture
def batch():
    return make_batch()


def test_weight_multiplies_the_loss(batch):
    plain = value(Term('KDLoss')(batch, 1))
    assert value(Term('KDLoss', weight=2.5)(batch, 1)) == pytest.approx(2.5 * plain)
    both = Term({'type': 'KDLoss', 'loss_weight': 3}, weight=2)
    assert value(both(batch, 1)) == pytest.approx(6 * plain)


@pytest.mark.parametrize(
    ('schedule', 'active'),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({'begin': 3}, [3, 4, 5, 6]),
        ({'end': 2}, [1, 2]),
        ({'begin': 2, 'end': 4}, [2, 3, 4]),
        ({'begin': 5, 'end': 5}, [5]),
    ],
)
def test_a_term_speaks_from_begin_to_end_both_included(batch, schedule, active):
    plain = value(Term('KDLoss')(batch, 1))
    term = Term('KDLoss', **schedule)
    expected = [plain if epoch in active else 0.0 for epoch in range(1, 7)]
    assert [value(term(batch, epoch)) for epoch in range(1, 7)] == pytest.approx(expected)


@pytest.mark.parametrize('warmup', [1, 4, 20])
def test_warmup_grows_linearly_with_the_epoch_counted_from_one(batch, warmup):
    plain = value(Term('KDLoss')(batch, 1))
    term = Term('KDLoss', weight=3, warmup=warmup)
    for epoch in range(1, 25):
        expected = 3 * plain * min(epoch / warmup, 1)
        assert value(term(batch, epoch)) == pytest.approx(expected)


def test_warmup_starts_where_the_term_begins():
    term = Term('KDLoss', begin=11, end=16, warmup=4)
    scales = [term.schedule.scale(epoch) for epoch in range(9, 19)]
    assert scales == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ('settings', 'scales'),
    [
        ({'end': 6, 'decay': 4}, [1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        ({'end': 6, 'decay': 1}, [1, 1, 1, 1, 1, 1, 0, 0]),
        ({'end': 6, 'decay': 12}, [6 / 12, 5 / 12, 4 / 12, 3 / 12, 2 / 12, 1 / 12, 0, 0]),
        ({'end': 7, 'begin': 2, 'warmup': 2, 'decay': 2}, [0, 0.5, 1, 1, 1, 1, 0.5, 0]),
        ({'end': 5, 'warmup': 4, 'decay': 4}, [0.25, 0.5, 0.75, 0.5, 0.25, 0, 0, 0]),
    ],
)
def test_decay_falls_linearly_to_the_end(settings, scales):
    schedule = Term('KDLoss', weight=2, **settings).schedule
    assert [schedule.scale(epoch) for epoch in range(1, 9)] == [2 * scale for scale in scales]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'decay': 4}, 'decay is 4 and the term has no end; expected end'),
        ({'decay': -1, 'end': 3}, 'decay must be'),
    ],
)
def test_a_decay_is_a_whole_number_and_needs_an_end(settings, message):
    with pytest.raises(ValueError, match=message):
        Term('KDLoss', **settings)


@pytest.mark.parametrize('settings', [{'begin': 2}, {'weight': 0}])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_a_silent_term_is_zero_with_the_students_graph(settings, dtype):
    # As many and as large logits as a detector has: their sum is beyond half precision.
    student = torch.full((512, 81), 4.0, dtype=dtype, requires_grad=True)
    labels, weight = torch.zeros(512, dtype=torch.int64), torch.ones(512)
    batch = LogitBatch(student, student.detach(), labels, weight, **HEAD)
    loss = Term('KDLoss', **settings)(batch, 1)
    assert loss.shape == ()
    assert value(loss) == 0
    loss.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize(('settings', 'first'), [({}, 1), ({'begin': 3}, 3), ({'warmup': 4}, 4)])
def test_the_weight_is_whole_from_the_end_of_the_warmup_on(settings, first):
    schedule = Schedule(**settings)
    assert schedule.full_from == first
    assert [schedule.scale(now) == 1 for now in (first - 1, first, 99)] == [False, True, True]


def test_a_warmup_ends_within_the_term():
    assert [Schedule(begin=3, end=5, warmup=3).scale(now) for now in (3, 5)] == [1 / 3, 1]
    with pytest.raises(ValueError, match=r'warmup is 4 and the term has 3 epochs .*, 3 to 5;'):
        Schedule(begin=3, end=5, warmup=4)
