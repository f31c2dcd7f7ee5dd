import math
from dataclasses import replace

import pytest
import torch

from sortkd_det.distill import LogitBatch, Term
from sortkd_det.functional import is_debug, set_debug, sort_logits, swap_logits
from sortkd_det.losses import DISTLoss, KDLoss, LearnableTemperature
from sortkd_det.registry import LOGIT_PROCESSORS

BACKGROUND = 4


@pytest.fixture
def pairs():
    """Eight samples of four classes and background; some of weight 0."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, 8, 5, generator=generator)
    labels = torch.tensor([0, 4, 2, 4, 1, 3, 4, 0])
    weight = torch.tensor([1.0, 1.0, 0.5, 2.0, 0.0, 1.0, 0.0, 1.0])
    return LogitBatch(student.requires_grad_(), teacher, labels, weight, BACKGROUND)


def slow_kd(student, target):
    """KL divergence of each row at temperature 1, in plain Python."""
    student, target = student.detach().double().softmax(1), target.detach().double().softmax(1)
    return [
        sum(t * math.log(t / s) for t, s in zip(*rows, strict=True))
        for rows in zip(target.tolist(), student.tolist(), strict=True)
    ]


def slow_mean(losses, weights):
    """Weighted sum over the number of rows that count."""
    total = sum(loss * weight for loss, weight in zip(losses, weights, strict=True))
    return total / max(sum(weight > 0 for weight in weights), 1)


def value(loss):
    return float(loss.detach())


class Recorder:
    """A processor that adds a number and writes down what it was given."""

    def __init__(self, number, calls):
        self.number, self.calls = number, calls

    def __call__(self, logits, labels, ignore_index=None):
        self.calls.append((self.number, logits, labels, ignore_index))
        return logits * 2 + self.number


# -- rows --------------------------------------------------------------------


def test_all_rows_count_by_their_weight(pairs):
    expected = slow_mean(slow_kd(pairs.student, pairs.teacher), pairs.weight.tolist())
    assert value(Term('KDLoss')(pairs, 1)) == pytest.approx(expected, rel=1e-5)


def test_only_foreground_rows_count_if_told_so(pairs):
    weights = [
        weight if label != BACKGROUND else 0.0
        for weight, label in zip(pairs.weight.tolist(), pairs.labels.tolist(), strict=True)
    ]
    assert sum(weight > 0 for weight in weights) == 4
    expected = slow_mean(slow_kd(pairs.student, pairs.teacher), weights)
    loss = Term('KDLoss', loss_rows='foreground')(pairs, 1)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    silent = torch.tensor(weights) == 0
    assert torch.equal(pairs.student.grad.abs().sum(1) == 0, silent)


def test_without_a_background_class_all_rows_are_foreground(pairs):
    pairs.background = None
    terms = [Term('KDLoss', loss_rows=rows, sort_rows=rows) for rows in ('all', 'foreground')]
    everything, foreground = (term(pairs, 1) for term in terms)
    assert value(foreground) == value(everything)


@pytest.mark.parametrize('loss_rows', ['all', 'foreground'])
def test_a_batch_of_background_alone_gives_a_finite_loss(pairs, loss_rows):
    pairs.labels = torch.full((8,), BACKGROUND)
    loss = Term('KDLoss', loss_rows=loss_rows)(pairs, 1)
    loss.backward()
    assert (value(loss) == 0) == (loss_rows == 'foreground')
    assert torch.isfinite(pairs.student.grad).all()


def test_no_rows_give_zero_with_a_graph():
    none = torch.zeros(0, 5)
    student = none.clone().requires_grad_()
    pairs = LogitBatch(student, none, torch.zeros(0, dtype=torch.int64), torch.zeros(0), 4)
    loss = Term('KDLoss', processors=['SortLogits'], loss_rows='foreground')(pairs, 1)
    loss.backward()
    assert value(loss) == 0
    assert student.grad.shape == (0, 5)


# -- processors --------------------------------------------------------------


def test_all_rows_are_sorted_from_the_start(pairs):
    expected = sort_logits(pairs.teacher, pairs.labels)
    term = Term('KDLoss', processors=['SortLogits'])
    assert torch.equal(term.process(term.processors, pairs.teacher, pairs), expected)
    losses = slow_kd(pairs.student, expected)
    assert value(term(pairs, 1)) == pytest.approx(slow_mean(losses, pairs.weight.tolist()), 1e-5)


def test_sorting_foreground_alone_leaves_background_rows_as_they_are(pairs):
    term = Term('KDLoss', processors=['SortLogits'], sort_rows='foreground')
    result = term.process(term.processors, pairs.teacher, pairs)
    background = pairs.labels == BACKGROUND
    in_full = sort_logits(pairs.teacher, pairs.labels)
    assert not torch.equal(in_full[background], pairs.teacher[background])
    assert torch.equal(result[background], pairs.teacher[background])
    assert torch.equal(result[~background], in_full[~background])
    losses = slow_kd(pairs.student, result)
    assert value(term(pairs, 1)) == pytest.approx(slow_mean(losses, pairs.weight.tolist()), 1e-5)


def test_which_rows_are_sorted_and_which_count_are_settings_of_their_own(pairs):
    pairs.weight = torch.ones(8)
    foreground = pairs.labels != BACKGROUND
    losses = slow_kd(pairs.student, sort_logits(pairs.teacher, pairs.labels))
    term = Term('KDLoss', processors=['SortLogits'], loss_rows='foreground')
    assert value(term(pairs, 1)) == pytest.approx(slow_mean(losses, foreground.tolist()), 1e-5)


def test_processors_are_applied_in_their_order_each_to_its_side(pairs):
    calls = []
    first, second, third = (Recorder(number, calls) for number in (1, 2, 3))
    Term('KDLoss', processors=[first, second], student_processors=[third])(pairs, 1)
    given = {number: logits for number, logits, _, _ in calls}
    assert given[1] is pairs.teacher
    assert torch.equal(given[2], pairs.teacher * 2 + 1)
    assert given[3] is pairs.student
    assert len(calls) == 3
    for _, _, labels, ignore_index in calls:
        assert labels is pairs.labels
        assert ignore_index is None


def test_processors_are_told_to_leave_background_alone_on_both_sides(pairs):
    calls = []
    recorders = [Recorder(number, calls) for number in (1, 2)]
    Term(
        'KDLoss',
        processors=recorders[:1],
        student_processors=recorders[1:],
        sort_rows='foreground',
    )(pairs, 1)
    assert {number: ignored for number, _, _, ignored in calls} == {1: BACKGROUND, 2: BACKGROUND}


def test_student_processors_rewrite_the_students_side(pairs):
    expected = slow_kd(sort_logits(pairs.student, pairs.labels), pairs.teacher)
    loss = Term('KDLoss', student_processors=['SortLogits'])(pairs, 1)
    assert value(loss) == pytest.approx(slow_mean(expected, pairs.weight.tolist()), rel=1e-5)


@pytest.mark.parametrize('config', ['SortLogits', 'sortkd_det.SortLogits', {'type': 'SortLogits'}])
def test_processors_are_named_or_configured(config):
    (processor,) = Term('KDLoss', processors=[config]).processors
    assert type(processor) is LOGIT_PROCESSORS.get('SortLogits')


# -- target ------------------------------------------------------------------


def test_the_student_as_target_passes_gradient_through_both_sides(pairs):
    pairs.weight = torch.ones(8)
    Term('KDLoss', target='student', processors=['SortLogits'])(pairs, 1).backward()
    leaf = pairs.student.detach().double().requires_grad_()
    target = sort_logits(leaf, pairs.labels)
    divergence = target.softmax(1) * (target.log_softmax(1) - leaf.log_softmax(1))
    both = torch.autograd.grad(divergence.sum() / 8, leaf, retain_graph=True)[0]
    p_target = target.detach().softmax(1)
    one_side = (leaf.detach().softmax(1) - p_target) / 8
    assert not torch.allclose(both, one_side, atol=1e-3)
    torch.testing.assert_close(pairs.student.grad.double(), both, rtol=1e-4, atol=1e-6)


def test_the_student_as_target_needs_no_teacher(pairs):
    pairs.teacher = pairs.teacher * float('nan')
    loss = Term('KDLoss', target='student', processors=['SortLogits'])(pairs, 1)
    assert value(loss) > 0


def test_the_teacher_gets_no_gradient(pairs):
    assert not Term('KDLoss')(pairs, 1).backward()
    assert pairs.teacher.grad is None


# -- weight and schedule -----------------------------------------------------


def test_weight_multiplies_the_loss(pairs):
    plain = value(Term('KDLoss')(pairs, 1))
    assert value(Term('KDLoss', weight=2.5)(pairs, 1)) == pytest.approx(2.5 * plain)
    both = Term({'type': 'KDLoss', 'loss_weight': 3}, weight=2)
    assert value(both(pairs, 1)) == pytest.approx(6 * plain)


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
def test_a_term_speaks_from_begin_to_end_both_included(pairs, schedule, active):
    plain = value(Term('KDLoss')(pairs, 1))
    term = Term('KDLoss', **schedule)
    expected = [plain if epoch in active else 0.0 for epoch in range(1, 7)]
    assert [value(term(pairs, epoch)) for epoch in range(1, 7)] == pytest.approx(expected)


@pytest.mark.parametrize('warmup', [1, 4, 20])
def test_warmup_grows_linearly_with_the_epoch_counted_from_one(pairs, warmup):
    plain = value(Term('KDLoss')(pairs, 1))
    term = Term('KDLoss', weight=3, warmup=warmup)
    for epoch in range(1, 25):
        expected = 3 * plain * min(epoch / warmup, 1)
        assert value(term(pairs, epoch)) == pytest.approx(expected)


def test_warmup_starts_where_the_term_begins():
    term = Term('KDLoss', begin=11, end=16, warmup=4)
    scales = [term.scale(epoch) for epoch in range(9, 19)]
    assert scales == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 0, 0]


@pytest.mark.parametrize('settings', [{'begin': 2}, {'weight': 0}])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_a_silent_term_is_zero_with_the_students_graph(pairs, settings, dtype):
    # As many and as large logits as a detector has: their sum is beyond half precision.
    student = torch.full((512, 81), 4.0, dtype=dtype, requires_grad=True)
    pairs.student = student
    loss = Term('KDLoss', **settings)(pairs, 1)
    assert loss.shape == ()
    assert value(loss) == 0
    loss.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_silent_term_runs_no_processor(pairs):
    calls = []
    Term('KDLoss', processors=[Recorder(1, calls)], begin=2)(pairs, 1)
    assert calls == []


# -- views -------------------------------------------------------------------


@pytest.fixture
def two_views(pairs):
    """The same samples in a second view; one graph of its own for each."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = 2 * torch.randn(2, 8, 5, generator=generator)
    pairs.second = LogitBatch(
        student.requires_grad_(), teacher, pairs.labels, pairs.weight, BACKGROUND
    )
    return pairs


@pytest.mark.parametrize(('views', 'spoken_of'), [('first', [0]), ('second', [1]), ('all', [0, 1])])
def test_a_term_is_the_sum_over_its_views(two_views, views, spoken_of):
    both = [two_views, two_views.second]
    singly = [
        slow_mean(
            slow_kd(view.student, sort_logits(view.teacher, view.labels)), view.weight.tolist()
        )
        for view in both
    ]
    assert singly[0] != pytest.approx(singly[1], rel=1e-2)
    loss = Term('KDLoss', processors=['SortLogits'], views=views, weight=2)(two_views, 1)
    assert value(loss) == pytest.approx(2 * sum(singly[i] for i in spoken_of), rel=1e-5)
    loss.backward()
    assert [view.student.grad is not None for view in both] == [i in spoken_of for i in (0, 1)]


def test_a_term_speaks_of_the_first_view_unless_told_otherwise(two_views):
    alone = value(Term('KDLoss', views='first')(two_views, 1))
    assert value(Term('KDLoss')(two_views, 1)) == alone


def test_on_data_of_one_view_all_views_are_the_first(pairs):
    assert value(Term('KDLoss', views='all')(pairs, 1)) == value(Term('KDLoss')(pairs, 1))


@pytest.mark.parametrize('now', [1, 9])
def test_a_second_view_that_is_not_there_is_an_error_from_the_first_epoch_on(pairs, now):
    term = Term('KDLoss', views='second', begin=9, name='strong')
    with pytest.raises(ValueError, match=r"term strong has views='second', .* gives one view"):
        term(pairs, now)


# -- confidence --------------------------------------------------------------


def confident_rows(pairs, counted, quantile):
    """Of the rows in ``counted``: those of the teacher's lowest confidence, by sorting."""
    confidence = pairs.teacher.double().softmax(1).amax(1).tolist()
    ordered = sorted(counted, key=lambda row: confidence[row])
    return ordered[: int((len(counted) - 1) * quantile) + 1]


@pytest.mark.parametrize('quantile', [0.0, 0.4, 0.5, 1.0])
@pytest.mark.parametrize('loss_rows', ['all', 'foreground'])
def test_only_rows_the_teacher_is_unsure_of_count_and_the_divisor_stays(pairs, quantile, loss_rows):
    weights = pairs.weight.tolist()
    if loss_rows == 'foreground':
        weights = [
            weight * (label != BACKGROUND)
            for weight, label in zip(weights, pairs.labels.tolist(), strict=True)
        ]
    counted = [row for row in range(8) if weights[row] > 0]
    kept = confident_rows(pairs, counted, quantile)
    losses = slow_kd(pairs.student, pairs.teacher)
    expected = sum(losses[row] * weights[row] for row in kept) / len(counted)
    term = Term('KDLoss', confidence_quantile=quantile, loss_rows=loss_rows)
    loss = term(pairs, 1)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert pairs.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(kept)


def test_rows_that_do_not_count_do_not_move_the_quantile(pairs):
    term = Term('KDLoss', confidence_quantile=0.5)
    before = value(term(pairs, 1))
    silent = pairs.weight == 0
    pairs.teacher[silent] = 50 * torch.eye(5)[0]  # as sure as can be
    assert value(term(pairs, 1)) == before


def test_rows_are_chosen_in_one_compiled_graph(pairs):
    """torch 2.11 cannot compile torch's own quantile whole."""
    term = Term('KDLoss', confidence_quantile=0.4)
    torch.compiler.reset()
    compiled = torch.compile(term, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(pairs, 1), term(pairs, 1))


def test_the_confidence_is_that_of_the_teacher_before_its_processors(pairs):
    pairs.weight = torch.ones(8)
    expected = confident_rows(pairs, list(range(8)), 0.5)
    processed = pairs.teacher * torch.linspace(5, 0.1, 8)[:, None]  # other rows are the sure ones
    assert set(expected) != set(
        confident_rows(replace(pairs, teacher=processed), list(range(8)), 0.5)
    )
    term = Term('KDLoss', processors=[lambda *_: processed], confidence_quantile=0.5)
    term(pairs, 1).backward()
    assert pairs.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(expected)


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


def test_a_quantile_among_rows_that_do_not_count_is_zero_with_a_graph(pairs):
    pairs.weight = torch.zeros(8)
    loss = Term('KDLoss', confidence_quantile=0.5)(pairs, 1)
    loss.backward()
    assert value(loss) == 0
    assert torch.equal(pairs.student.grad, torch.zeros(8, 5))


def test_a_quantile_among_no_rows_is_zero_with_a_graph():
    none = torch.zeros(0, 5)
    student = none.clone().requires_grad_()
    pairs = LogitBatch(student, none, torch.zeros(0, dtype=torch.int64), torch.zeros(0), 4)
    loss = Term('KDLoss', confidence_quantile=0.5)(pairs, 1)
    loss.backward()
    assert value(loss) == 0
    assert student.grad.shape == (0, 5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_confidence_of_half_precision_logits_is_taken_in_single_precision(pairs, dtype):
    pairs.teacher = pairs.teacher.to(dtype)
    pairs.weight = torch.ones(8)
    expected = confident_rows(pairs, list(range(8)), 0.5)
    Term('KDLoss', confidence_quantile=0.5)(pairs, 1).backward()
    assert pairs.student.grad.abs().sum(1).nonzero().view(-1).tolist() == sorted(expected)


# -- methods of several terms ------------------------------------------------


def test_swapped_distillation_is_two_terms_of_which_the_second_joins_at_its_epoch(pairs):
    pairs.weight = torch.ones(8)
    loss = {'type': 'KDLoss', 'temperature': [1, 2, 3, 4, 5, 6]}
    terms = [
        Term(loss, processors=['SwapLogits']),
        Term(loss, target='student', processors=['SwapLogits'], begin=151),
    ]
    leaf = pairs.student.detach().double().requires_grad_()
    sides = [swap_logits(pairs.teacher.double(), pairs.labels), swap_logits(leaf, pairs.labels)]
    expected = []
    for target in sides:
        total = 0.0
        for t in range(1, 7):
            p = (target / t).softmax(1)
            divergence = (p * ((target / t).log_softmax(1) - (leaf / t).log_softmax(1))).sum(1)
            total = total + t**2 * divergence.mean()
        expected.append(total)
    for now, joined in ((150, 1), (151, 2), (240, 2)):
        pairs.student.grad = None
        whole = sum(term(pairs, now) for term in terms)
        whole.backward()
        (gradient,) = torch.autograd.grad(sum(expected[:joined]), leaf, retain_graph=True)
        assert value(whole) == pytest.approx(value(sum(expected[:joined])), rel=1e-5)
        torch.testing.assert_close(pairs.student.grad.double(), gradient, rtol=1e-4, atol=1e-6)


# -- learned temperatures ----------------------------------------------------


@pytest.mark.parametrize('schedule', [{}, {'begin': 50}, {'weight': 0}])
def test_the_learned_temperature_of_a_loss_is_told_the_epoch(pairs, schedule):
    for loss in (
        KDLoss(LearnableTemperature(ramp=10)),
        DISTLoss(temperature=LearnableTemperature()),
    ):
        term = Term(loss, **schedule)
        for now, expected in ((5, -0.5), (10, -1), (2, -(1 - math.cos(math.pi / 5)) / 2)):
            term(pairs, now)
            assert loss.temperature.reversal == pytest.approx(expected)


def test_theta_is_a_parameter_of_the_term_and_gets_its_weighted_gradient(pairs):
    gradients = []
    for weight in (1, 3):
        term = Term(
            {'type': 'KDLoss', 'temperature': {'type': 'LearnableTemperature'}}, weight=weight
        )
        assert [name for name, _ in term.named_parameters()] == ['loss.temperature.theta']
        term(pairs, 10).backward()
        gradients.append(float(term.loss.temperature.theta.grad))
    assert gradients[0] != 0
    assert gradients[1] == pytest.approx(3 * gradients[0])


# -- debug mode --------------------------------------------------------------


@pytest.fixture
def debug():
    """Debug mode; afterwards as it was found."""
    before = is_debug()
    set_debug(True)
    yield
    set_debug(before)


@pytest.mark.parametrize('bad', ['nan', 'inf'])
def test_in_debug_mode_the_term_and_the_teachers_bad_rows_are_named(pairs, debug, bad):
    pairs.teacher[2, 1] = pairs.teacher[7, 0] = float(bad)
    with pytest.raises(ValueError, match=r'teacher, in the term late, .* 2 of 8 rows .* row 2'):
        Term('KDLoss', name='late')(pairs, 1)


def test_in_debug_mode_the_second_view_is_looked_at_too(two_views, debug):
    two_views.second.teacher[3, 0] = float('nan')
    Term('KDLoss')(two_views, 1)
    with pytest.raises(ValueError, match=r'in the term KDLoss, .* 1 of 8 rows'):
        Term('KDLoss', views='all')(two_views, 1)


def test_outside_debug_mode_the_teachers_numbers_are_not_looked_at(pairs, debug):
    set_debug(False)
    pairs.teacher[2, 1] = float('nan')
    assert math.isnan(value(Term('KDLoss')(pairs, 1)))


# -- arguments ---------------------------------------------------------------


def test_is_called_by_its_losss_type_unless_named():
    assert Term('DKDLoss').name == 'DKDLoss'
    assert Term('DKDLoss', name='late').name == 'late'


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'target': 'both'}, ValueError, "target must be one of 'teacher', 'student', got 'both'"),
        ({'loss_rows': 'fg'}, ValueError, "loss_rows must be one of 'all', 'foreground'"),
        ({'sort_rows': None}, ValueError, "sort_rows must be one of 'all', 'foreground'"),
        ({'weight': -1}, ValueError, 'weight must be a finite number ≥ 0, got -1'),
        ({'weight': float('nan')}, ValueError, 'weight must be a finite number ≥ 0'),
        ({'weight': '1'}, TypeError, 'weight must be a number'),
        ({'begin': 0}, ValueError, 'begin must be at least 1, got 0'),
        ({'begin': '1'}, TypeError, 'begin must be a whole number'),
        ({'begin': 1.5}, TypeError, 'begin must be a whole number'),
        ({'end': True}, TypeError, 'end must be a whole number'),
        ({'warmup': 0.5}, TypeError, 'warmup must be a whole number'),
        ({'end': 0}, ValueError, 'end must be at least 1, got 0'),
        ({'begin': 5, 'end': 4}, ValueError, 'end must be at least 5, got 4'),
        ({'end': '9'}, TypeError, 'end must be a whole number'),
        ({'warmup': -1}, ValueError, 'warmup must be at least 0, got -1'),
        ({'warmup': True}, TypeError, 'warmup must be a whole number'),
        (
            {'views': 'both'},
            ValueError,
            "views must be one of 'first', 'second', 'all'",
        ),
        ({'confidence_quantile': 1.5}, ValueError, r'confidence_quantile must lie in \[0, 1\]'),
        ({'confidence_quantile': -1}, ValueError, 'confidence_quantile must be'),
        ({'confidence_quantile': '0.5'}, TypeError, 'confidence_quantile must be a number'),
        ({'processors': 'SortLogits'}, TypeError, r"processors must be a list.*\['SortLogits'\]"),
        ({'processors': {'type': 'SortLogits'}}, TypeError, 'processors must be a list'),
        ({'student_processors': 'SortLogits'}, TypeError, 'student_processors must be a list'),
        ({'processors': ['Sort']}, KeyError, "unknown processor 'Sort'; .* SortLogits"),
        ({'student_processors': ['Sort']}, KeyError, "unknown processor 'Sort'; .* SortLogits"),
        ({'processors': [{}]}, TypeError, 'a processor needs a type'),
        ({'loss': 'KL'}, KeyError, "unknown loss 'KL'; registered are: .*KDLoss"),
        ({'loss': {'temperature': 1}}, TypeError, 'a loss needs a type'),
        ({'loss': {'type': 'KDLoss', 'T': 1}}, TypeError, "loss KDLoss: .*'T'"),
        ({'loss': {'type': 'KDLoss', 'temperature': 0}}, ValueError, 'temperature must be'),
    ],
)
def test_unfit_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Term(**{'loss': 'KDLoss', **arguments})


@pytest.mark.parametrize(
    'arguments',
    [{'loss': None}, {'loss': 3}, {'processors': [None]}, {'student_processors': [3]}],
)
def test_what_can_be_no_loss_and_no_processor_is_refused_at_once(arguments):
    with pytest.raises(TypeError):
        Term(**{'loss': KDLoss(), **arguments})
