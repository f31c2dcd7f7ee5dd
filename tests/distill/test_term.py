"""What a term does with target, processors, views and losses."""

import math
from dataclasses import replace

import pytest
import torch
from logit_batches import BACKGROUND, make_batch, make_sigmoid_batch, slow_kd, slow_mean, value

from sortkd_det.distill import Method, Term
from sortkd_det.functional import is_debug, set_debug, sort_classes, sort_logits, swap_logits
from sortkd_det.losses import DISTLoss, KDLoss, LearnableTemperature
from sortkd_det.processors import SortLogits
from sortkd_det.registry import LOGIT_PROCESSORS


@pytest.fixture
def batch():
    return make_batch()


class Recorder:
    """A processor that adds a number and writes down what it was given."""

    def __init__(self, number, calls):
        self.number, self.calls = number, calls

    def __call__(self, logits, labels, ignore_index=None):
        self.calls.append((self.number, logits, labels, ignore_index))
        return logits * 2 + self.number


# -- processors --------------------------------------------------------------


def test_all_rows_are_sorted_from_the_start(batch):
    expected = sort_logits(batch.teacher, batch.labels)
    term = Term('KDLoss', processors=['SortLogits'])
    assert torch.equal(term.process(term.processors, batch.teacher, batch), expected)
    losses = slow_kd(batch.student, expected)
    assert value(term(batch, 1)) == pytest.approx(slow_mean(losses, batch.weight.tolist()), 1e-5)


def test_sorting_foreground_alone_leaves_background_rows_as_they_are(batch):
    term = Term('KDLoss', processors=['SortLogits'], sort_rows='foreground')
    result = term.process(term.processors, batch.teacher, batch)
    background = batch.labels == BACKGROUND
    in_full = sort_logits(batch.teacher, batch.labels)
    assert not torch.equal(in_full[background], batch.teacher[background])
    assert torch.equal(result[background], batch.teacher[background])
    assert torch.equal(result[~background], in_full[~background])
    losses = slow_kd(batch.student, result)
    assert value(term(batch, 1)) == pytest.approx(slow_mean(losses, batch.weight.tolist()), 1e-5)


def test_which_rows_are_sorted_and_which_count_are_settings_of_their_own(batch):
    batch = replace(batch, weight=torch.ones(8))
    foreground = batch.labels != BACKGROUND
    losses = slow_kd(batch.student, sort_logits(batch.teacher, batch.labels))
    term = Term('KDLoss', processors=['SortLogits'], loss_rows='foreground')
    assert value(term(batch, 1)) == pytest.approx(slow_mean(losses, foreground.tolist()), 1e-5)


def test_processors_are_applied_in_their_order_each_to_its_side(batch):
    calls = []
    first, second, third = (Recorder(number, calls) for number in (1, 2, 3))
    Term('KDLoss', processors=[first, second], student_processors=[third])(batch, 1)
    given = {number: logits for number, logits, _, _ in calls}
    assert given[1] is batch.teacher
    assert torch.equal(given[2], batch.teacher * 2 + 1)
    assert given[3] is batch.student
    assert len(calls) == 3
    for _, _, labels, ignore_index in calls:
        assert labels is batch.labels
        assert ignore_index is None


def test_processors_are_told_to_leave_background_alone_on_both_sides(batch):
    calls = []
    recorders = [Recorder(number, calls) for number in (1, 2)]
    Term(
        'KDLoss',
        processors=recorders[:1],
        student_processors=recorders[1:],
        sort_rows='foreground',
    )(batch, 1)
    assert {number: ignored for number, _, _, ignored in calls} == {1: BACKGROUND, 2: BACKGROUND}


def test_student_processors_rewrite_the_students_side(batch):
    expected = slow_kd(sort_logits(batch.student, batch.labels), batch.teacher)
    loss = Term('KDLoss', student_processors=['SortLogits'])(batch, 1)
    assert value(loss) == pytest.approx(slow_mean(expected, batch.weight.tolist()), rel=1e-5)


@pytest.mark.parametrize('config', ['SortLogits', 'sortkd_det.SortLogits', {'type': 'SortLogits'}])
def test_processors_are_named_or_configured(config):
    (processor,) = Term('KDLoss', processors=[config]).processors
    assert type(processor) is LOGIT_PROCESSORS.get('SortLogits')


def test_a_silent_term_runs_no_processor(batch):
    calls = []
    Term('KDLoss', processors=[Recorder(1, calls)], begin=2)(batch, 1)
    assert calls == []


def test_background_keeps_its_value_where_the_classes_alone_are_sorted(batch):
    term = Term('KDLoss', processors=[{'type': 'SortLogits', 'sort_columns': 'classes'}])
    found = term.process(term.processors, batch.teacher, batch)
    assert torch.equal(found, sort_classes(batch.teacher, batch.labels, BACKGROUND))
    assert torch.equal(found[:, BACKGROUND], batch.teacher[:, BACKGROUND])
    assert not torch.equal(found, batch.teacher)
    assert not torch.equal(found, sort_logits(batch.teacher, batch.labels))
    weight, count = batch.weight, 6.0
    expected = KDLoss()(batch.student, found, batch.labels, weight, count)
    torch.testing.assert_close(term(batch, 1), expected)


def test_without_a_column_of_background_sorting_the_classes_is_sorting_all():
    for batch in (make_sigmoid_batch(), make_sigmoid_batch().as_softmax()):
        found = [
            Term('KDLoss', processors=[{'type': 'SortLogits', 'sort_columns': columns}])(batch, 1)
            for columns in ('all', 'classes')
        ]
        assert torch.equal(*found)


@pytest.mark.parametrize('processor', ['SortLogits', 'SwapLogits'])
def test_a_head_of_one_sigmoid_has_nothing_to_sort(processor):
    batch = make_sigmoid_batch()
    batch = replace(
        batch,
        student=batch.student[:, :1],
        teacher=batch.teacher[:, :1],
        labels=batch.labels.clamp(max=1),
        background=1,
    )
    sorting = Term(loss='KDLoss', processors=[processor], student_processors=[processor])
    assert sorting(batch, 1) == Term(loss='KDLoss')(batch, 1) > 0


def test_a_sort_that_is_written_anew_is_what_is_done(batch):
    class Reverse(SortLogits):
        def __call__(self, logits, labels, ignore_index=None):
            return -logits

    expected = Term('KDLoss')(replace(batch, teacher=-batch.teacher), 1)
    assert torch.equal(Term('KDLoss', processors=[Reverse()])(batch, 1), expected)


def test_a_processor_that_changes_the_shape_is_refused(batch):
    with pytest.raises(ValueError, match=r'student and target must be .* \(8, 5\) and \(8, 4\)'):
        Term('KDLoss', processors=[lambda logits, labels, ignored: logits[:, :4]])(batch, 1)


# -- what heads make of their logits -----------------------------------------


@pytest.mark.parametrize(
    ('term', 'activation'),
    [
        pytest.param({'loss': 'NKDLoss', 'processors': ['StandardizeLogits']}, 'softmax'),
        pytest.param({'loss': 'KDLoss', 'processors': ['SortLogits']}, 'sigmoid'),
        pytest.param({'loss': 'DKDLoss', 'processors': ['SwapLogits']}, 'sigmoid'),
        pytest.param({'loss': {'type': 'KDLoss', 'focus': 1.0}}, 'sigmoid'),
        pytest.param({'loss': 'NKDLoss', 'activation': 'softmax'}, 'sigmoid'),
        pytest.param({'loss': 'KendallLoss', 'activation': 'softmax'}, 'softmax'),
    ],
)
def test_a_term_of_parts_that_fit_the_head_is_accepted(term, activation):
    Term(**term).check(activation)


@pytest.mark.parametrize(
    ('term', 'activation', 'message'),
    [
        pytest.param(
            {'loss': 'NKDLoss', 'name': 'late'},
            'sigmoid',
            'NKDLoss, in the term late, is made for one softmax over all columns, and the head of '
            'this student makes a sigmoid for each class; made for that are DKDLoss, KDLoss, '
            "KendallLoss, RankingLoss, TTMLoss. activation='softmax' in the term reads",
        ),
        pytest.param(
            {'loss': 'KDLoss', 'student_processors': ['StandardizeLogits']},
            'sigmoid',
            'StandardizeLogits, in the term KDLoss, is made for one softmax .* made for that are '
            'SortLogits, SwapLogits',
        ),
        pytest.param(
            {'loss': 'KDLoss', 'processors': [lambda logits, labels, ignored: logits]},
            'sigmoid',
            '<lambda>, in the term KDLoss, is made for one softmax',
        ),
        pytest.param(
            {'loss': {'type': 'KDLoss', 'focus': 1.0}},
            'softmax',
            'KDLoss, in the term KDLoss, is made for a sigmoid .* KDLoss with other settings',
        ),
        pytest.param(
            {'loss': {'type': 'KDLoss', 'focus': 1.0}, 'activation': 'softmax'},
            'sigmoid',
            'KDLoss, in the term KDLoss, is made for a sigmoid for each class',
        ),
        pytest.param({'loss': 'KDLoss'}, 'none', "one of 'softmax', 'sigmoid', got 'none'"),
    ],
)
def test_a_part_that_does_not_fit_the_head_is_named_with_those_that_do(term, activation, message):
    with pytest.raises(ValueError, match=message):
        Term(**term).check(activation)


def test_a_method_is_refused_for_any_of_its_terms():
    method = Method([{'loss': 'KDLoss'}, {'loss': 'PLDLoss'}])
    method.check('softmax')
    with pytest.raises(ValueError, match='PLDLoss, in the term PLDLoss, is made for one softmax'):
        method.check('sigmoid')


# -- target ------------------------------------------------------------------


def test_the_student_as_target_passes_gradient_through_both_sides(batch):
    batch = replace(batch, weight=torch.ones(8))
    Term('KDLoss', target='student', processors=['SortLogits'])(batch, 1).backward()
    leaf = batch.student.detach().double().requires_grad_()
    target = sort_logits(leaf, batch.labels)
    divergence = target.softmax(1) * (target.log_softmax(1) - leaf.log_softmax(1))
    both = torch.autograd.grad(divergence.sum() / 8, leaf, retain_graph=True)[0]
    p_target = target.detach().softmax(1)
    one_side = (leaf.detach().softmax(1) - p_target) / 8
    assert not torch.allclose(both, one_side, atol=1e-3)
    torch.testing.assert_close(batch.student.grad.double(), both, rtol=1e-4, atol=1e-6)


def test_the_student_as_target_needs_no_teacher(batch):
    batch = replace(batch, teacher=batch.teacher * float('nan'))
    loss = Term('KDLoss', target='student', processors=['SortLogits'])(batch, 1)
    assert value(loss) > 0


def test_the_teacher_gets_no_gradient(batch):
    assert not Term('KDLoss')(batch, 1).backward()
    assert batch.teacher.grad is None


# -- views -------------------------------------------------------------------


@pytest.fixture
def two_views(batch):
    """The same samples in a second view; one graph of its own for each."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = 2 * torch.randn(2, 8, 5, generator=generator)
    second = replace(batch, student=student.requires_grad_(), teacher=teacher)
    return replace(batch, second=second)


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


def test_on_data_of_one_view_all_views_are_the_first(batch):
    assert value(Term('KDLoss', views='all')(batch, 1)) == value(Term('KDLoss')(batch, 1))


@pytest.mark.parametrize('now', [1, 9])
def test_a_second_view_that_is_not_there_is_an_error_from_the_first_epoch_on(batch, now):
    term = Term('KDLoss', views='second', begin=9, name='strong')
    with pytest.raises(ValueError, match=r"term strong has views='second', .* gives one view"):
        term(batch, now)


# -- methods of several terms ------------------------------------------------


def test_swapped_distillation_is_two_terms_of_which_the_second_joins_at_its_epoch(batch):
    batch = replace(batch, weight=torch.ones(8))
    loss = {'type': 'KDLoss', 'temperature': [1, 2, 3, 4, 5, 6]}
    terms = [
        Term(loss, processors=['SwapLogits']),
        Term(loss, target='student', processors=['SwapLogits'], begin=151),
    ]
    leaf = batch.student.detach().double().requires_grad_()
    sides = [swap_logits(batch.teacher.double(), batch.labels), swap_logits(leaf, batch.labels)]
    expected = []
    for target in sides:
        total = 0.0
        for t in range(1, 7):
            p = (target / t).softmax(1)
            divergence = (p * ((target / t).log_softmax(1) - (leaf / t).log_softmax(1))).sum(1)
            total = total + t**2 * divergence.mean()
        expected.append(total)
    for now, joined in ((150, 1), (151, 2), (240, 2)):
        batch.student.grad = None
        whole = sum(term(batch, now) for term in terms)
        whole.backward()
        (gradient,) = torch.autograd.grad(sum(expected[:joined]), leaf, retain_graph=True)
        assert value(whole) == pytest.approx(value(sum(expected[:joined])), rel=1e-5)
        torch.testing.assert_close(batch.student.grad.double(), gradient, rtol=1e-4, atol=1e-6)


# -- learned temperatures ----------------------------------------------------


@pytest.mark.parametrize('schedule', [{}, {'begin': 50}, {'weight': 0}])
def test_the_learned_temperature_of_a_loss_is_told_the_epoch(batch, schedule):
    for loss in (
        KDLoss(LearnableTemperature(ramp=10)),
        DISTLoss(temperature=LearnableTemperature()),
    ):
        term = Term(loss, **schedule)
        for now, expected in ((5, -0.5), (10, -1), (2, -(1 - math.cos(math.pi / 5)) / 2)):
            term(batch, now)
            assert loss.temperature.reversal == pytest.approx(expected)


def test_theta_is_a_parameter_of_the_term_and_gets_its_weighted_gradient(batch):
    gradients = []
    for weight in (1, 3):
        term = Term(
            {'type': 'KDLoss', 'temperature': {'type': 'LearnableTemperature'}}, weight=weight
        )
        assert [name for name, _ in term.named_parameters()] == ['loss.temperature.theta']
        term(batch, 10).backward()
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
def test_in_debug_mode_the_term_and_the_teachers_bad_rows_are_named(batch, debug, bad):
    batch.teacher[2, 1] = batch.teacher[7, 0] = float(bad)
    with pytest.raises(ValueError, match=r'teacher, in the term late, .* 2 of 8 rows .* row 2'):
        Term('KDLoss', name='late')(batch, 1)


def test_in_debug_mode_the_second_view_is_looked_at_too(two_views, debug):
    two_views.second.teacher[3, 0] = float('nan')
    Term('KDLoss')(two_views, 1)
    with pytest.raises(ValueError, match=r'in the term KDLoss, .* 1 of 8 rows'):
        Term('KDLoss', views='all')(two_views, 1)


def test_outside_debug_mode_the_teachers_numbers_are_not_looked_at(batch, debug):
    set_debug(False)
    batch.teacher[2, 1] = float('nan')
    assert math.isnan(value(Term('KDLoss')(batch, 1)))


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
        (
            {'loss': 'LearnableTemperature'},
            TypeError,
            '^LearnableTemperature is no loss between logits: .*; expected a module that is called',
        ),
        ({'loss': torch.dist}, TypeError, r'^dist is no loss .*: it is no torch\.nn\.Module'),
    ],
)
def test_unfit_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Term(**{'loss': 'KDLoss', **arguments})


def test_a_loss_of_mmdetection_which_takes_no_labels_is_refused():
    losses = pytest.importorskip('mmdet.models.losses')
    kd = losses.KnowledgeDistillationKLDivLoss()
    with pytest.raises(TypeError, match=r"^KnowledgeDistillationKLDivLoss .*argument 'labels'"):
        Term(kd)


def test_a_loss_of_another_kind_gets_labels_and_weights_by_their_names(batch):
    class OfTheLabel(torch.nn.Module):
        def forward(self, student, target, avg_factor, weight, labels):
            taken = (student - target).gather(1, labels[:, None])[:, 0]
            return (taken * weight).sum() / avg_factor

    rows = range(len(batch.labels))
    difference = (batch.student - batch.teacher).detach()[rows, batch.labels].tolist()
    expected = slow_mean(difference, batch.weight.tolist())
    assert value(Term(OfTheLabel())(batch, 1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    'arguments',
    [{'loss': None}, {'loss': 3}, {'processors': [None]}, {'student_processors': [3]}],
)
def test_what_can_be_no_loss_and_no_processor_is_refused_at_once(arguments):
    with pytest.raises(TypeError):
        Term(**{'loss': KDLoss(), **arguments})
