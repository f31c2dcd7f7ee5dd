from dataclasses import replace

import pytest
import torch

from sortkd_det.distill import LogitBatch, Method, Term


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 4, 4])
    head = {'activation': 'softmax', 'background': 4}
    return LogitBatch(student.requires_grad_(), teacher, labels, torch.ones(6), **head)


def test_one_term_is_called_loss_distill(batch):
    for terms in ([{'loss': 'KDLoss'}], {'loss': 'KDLoss'}, [Term('KDLoss')]):
        losses = Method(terms)(batch, 1)
        assert list(losses) == ['loss_distill']
        assert torch.equal(losses['loss_distill'], Term('KDLoss')(batch, 1))


def test_each_term_speaks_for_itself_under_a_number(batch):
    configs = [
        {'loss': 'KDLoss', 'processors': ['SortLogits']},
        {'loss': 'DKDLoss', 'weight': 2},
        {'loss': 'KDLoss', 'begin': 2},
    ]
    method = Method(configs)
    assert method.loss_names == ['loss_distill_0', 'loss_distill_1', 'loss_distill_2']
    for now in (1, 2):
        losses = method(batch, now)
        assert list(losses) == method.loss_names
        for loss, config in zip(losses.values(), configs, strict=True):
            assert torch.equal(loss, Term(**config)(batch, now))
    assert float(method(batch, 1)['loss_distill_2'].detach()) == 0


def doubled(logits, labels, ignore_index=None):
    return logits.mul_(2)


class ShiftsItsTarget(torch.nn.Module):
    def forward(self, student, target, labels, weight, avg_factor):
        target -= target.mean(1, keepdim=True)
        return (student - target).square().mean()


class ClearsWeights(torch.nn.Module):
    def forward(self, student, target, labels, weight, avg_factor):
        return (student * weight.fill_(0)[:, None]).sum()


@pytest.mark.parametrize(
    ('term', 'name'),
    [
        ({'loss': 'KDLoss', 'processors': [doubled]}, 'teacher'),
        ({'loss': 'KDLoss', 'processors': [doubled, 'SortLogits']}, 'teacher'),
        ({'loss': 'KDLoss', 'student_processors': [doubled]}, 'student'),
        ({'loss': ShiftsItsTarget()}, 'teacher'),
        ({'loss': ClearsWeights()}, 'weight'),
    ],
)
def test_a_term_that_changes_what_all_are_given_is_refused(term, name):
    """The terms after it, and the log, would have other logits than the heads gave."""
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    made = student.requires_grad_() * 1  # by a network: a leaf refuses such changes itself
    labels = torch.arange(6) % 5
    batch = LogitBatch(made, teacher, labels, torch.ones(6), activation='softmax', background=4)
    message = f'the term (KDLoss|S.*|C.*) changed {name} of the batch in place'
    with pytest.raises(RuntimeError, match=message):
        Method([term, {'loss': 'KDLoss'}])(batch, 1)


@pytest.mark.parametrize('side', ['processors', 'student_processors'])
def test_a_processor_that_takes_other_arguments_is_refused_at_once(side):
    class OfLogitsAlone:
        def __call__(self, logits):
            return logits

    with pytest.raises(TypeError, match=r'OfLogitsAlone is no processor: .*\(logits, labels, ig'):
        Method([{'loss': 'KDLoss', side: [OfLogitsAlone()]}])


def test_the_loss_of_a_term_is_one_number(batch):
    class OfEachRow(torch.nn.Module):
        def forward(self, student, target, labels, weight, avg_factor):
            return (student - target).square().mean(1) * weight / avg_factor

    with pytest.raises(ValueError, match=r'^OfEachRow must give one number, .* got \(6,\)'):
        Method([{'loss': OfEachRow()}])(batch, 1)
    of_boxes = replace(batch, find_box_loss=lambda bounded: batch.student.mean(1))
    with pytest.raises(ValueError, match=r'^find_box_loss must give one number, .* got \(6,\)'):
        Method([{'type': 'BoxTerm'}])(of_boxes, 1)


def test_swapped_distillation_of_the_student_is_two_terms(batch):
    # Design: methods are configs made of terms; both sides' gradients reach the student.
    method = Method([{'loss': 'KDLoss'}, {'loss': 'KDLoss', 'target': 'student', 'begin': 2}])
    sum(method(batch, 2).values()).backward()
    assert batch.student.grad is not None


def test_learned_temperatures_stand_beside_their_losses_in_the_log(batch):
    learned = {'type': 'KDLoss', 'temperature': {'type': 'LearnableTemperature', 'start': 2}}
    expected = 2 + 20 * torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    alone = Method({'loss': learned}).temperatures()
    assert list(alone) == ['temperature']
    assert torch.equal(alone['temperature'], expected)
    assert not alone['temperature'].requires_grad
    method = Method([{'loss': 'KDLoss'}, {'loss': 'RankingLoss'}, {'loss': learned}])
    assert list(method.temperatures()) == ['temperature_2']
    method.terms[2].loss.temperature.theta.data.zero_()
    assert float(method.temperatures()['temperature_2']) == 12


def test_without_a_learned_temperature_there_is_none_for_the_log():
    several = {'type': 'KDLoss', 'temperature': [1, 2]}
    assert Method([{'loss': 'KDLoss'}, {'loss': several}]).temperatures() == {}


def test_the_logs_temperatures_are_taken_for_no_loss():
    learned = {'type': 'KDLoss', 'temperature': {'type': 'LearnableTemperature'}}
    method = Method([{'loss': 'KDLoss'}, {'loss': learned}])
    # MMEngine sums all entries with "loss" in their names.
    assert not any('loss' in name for name in method.temperatures())


def own_losses():
    return {
        'loss_cls': torch.tensor(2.0),
        'loss_rpn_cls': [torch.tensor(1.0), torch.tensor(3.0)],
        'd0.loss_bbox': (torch.tensor(5.0),),
        'acc': torch.tensor(90.0),
        'pos_num': 7,
    }


def test_student_weight_multiplies_all_own_losses_and_nothing_else():
    scaled = Method([{'loss': 'KDLoss'}], student_weight=0.1).scale_own(own_losses())
    assert list(scaled) == list(own_losses())
    assert float(scaled['loss_cls']) == pytest.approx(0.2)
    assert [float(loss) for loss in scaled['loss_rpn_cls']] == pytest.approx([0.1, 0.3])
    assert [float(loss) for loss in scaled['d0.loss_bbox']] == pytest.approx([0.5])
    assert float(scaled['acc']) == 90
    assert scaled['pos_num'] == 7


def test_student_weight_of_one_and_of_zero():
    losses = own_losses()
    assert Method([{'loss': 'KDLoss'}]).scale_own(losses) == losses
    silent = Method([{'loss': 'KDLoss'}], student_weight=0).scale_own(losses)
    assert float(silent['loss_cls']) == 0
    assert float(silent['acc']) == 90


def test_scaling_leaves_the_given_losses_as_they_are():
    losses = own_losses()
    Method([{'loss': 'KDLoss'}], student_weight=0.5).scale_own(losses)
    assert float(losses['loss_cls']) == 2
    assert [float(loss) for loss in losses['loss_rpn_cls']] == [1, 3]


def test_scaled_losses_keep_their_graph():
    loss = torch.tensor(2.0, requires_grad=True)
    Method([{'loss': 'KDLoss'}], 0.25).scale_own({'loss_cls': [loss]})['loss_cls'][0].backward()
    assert float(loss.grad) == 0.25


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'terms': []}, ValueError, 'at least one term'),
        ({'terms': [{'loss': 'KDLoss'}], 'student_weight': -1}, ValueError, 'student_weight'),
        ({'terms': [{'loss': 'KDLoss'}], 'student_weight': '1'}, TypeError, 'student_weight'),
        ({'terms': [{'loss': 'KDLoss', 'wieght': 1}]}, TypeError, "term .*'wieght'"),
        ({'terms': [{'weight': 1}]}, TypeError, "term .*'loss'"),
        ({'terms': ['KDLoss']}, TypeError, "a term of a method is dict.*'KDLoss'"),
        ({'terms': 'SortKD'}, TypeError, "must be a list of terms.*'SortKD'"),
        ({'terms': [{'loss': 'KL'}]}, KeyError, "unknown loss 'KL'"),
        ({'terms': [{'loss': 'KDLoss', 'begin': 0}]}, ValueError, 'begin must be'),
    ],
)
def test_unfit_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Method(**arguments)
