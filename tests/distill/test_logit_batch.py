"""What an adapter may hand over."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from sortkd_det.distill import LogitBatch


def make(**changes):
    """Three rows of a sigmoid head of two classes, the last of background."""
    student, teacher = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    given = {
        'student': student.requires_grad_(),
        'teacher': teacher,
        'labels': torch.tensor([0, 1, 2]),
        'weight': torch.tensor([1.0, 0.5, 1.0]),
        'activation': 'sigmoid',
        'background': 2,
    }
    return LogitBatch(**{**given, **changes})


def test_background_is_a_column_of_a_softmax_and_none_of_a_sigmoid():
    sigmoid = make()
    assert (sigmoid.background_column, sigmoid.label_without_column) == (None, 2)
    softmax = make(activation='softmax', background=1, labels=torch.tensor([0, 1, 1]))
    assert (softmax.background_column, softmax.label_without_column) == (1, None)
    assert softmax.is_positive.tolist() == [True, False, False]
    classifier = make(activation='softmax', background=None, labels=torch.tensor([0, 1, 1]))
    assert (classifier.background_column, classifier.label_without_column) == (None, None)
    assert classifier.is_positive.tolist() == [True, True, True]


def test_a_sigmoid_head_may_have_one_class():
    batch = make(
        student=torch.zeros(3, 1), teacher=torch.zeros(3, 1), labels=torch.zeros(3).long(),
        background=1,
    )  # fmt: skip
    assert batch.student.shape == (3, 1)


def test_it_may_be_divided_by_a_number():
    assert make(divisor=68.0).divisor == 68
    assert make(divisor=68.0).as_softmax().divisor == 68
    with pytest.raises(ValueError, match='divisor must be'):
        make(divisor=0)


def test_it_stays_as_it_was_checked():
    with pytest.raises(FrozenInstanceError):
        make().labels = torch.zeros(3)


def test_the_teachers_confidence_is_its_largest_probability():
    batch = make(teacher=torch.tensor([[0.0, -5.0], [2.0, 3.0], [-9.0, -9.0]]).half())
    expected = torch.tensor([0.0, 3.0, -9.0]).sigmoid()
    torch.testing.assert_close(batch.teacher_confidence(), expected)
    read = batch.as_softmax()
    torch.testing.assert_close(read.teacher_confidence(), batch.teacher.float().softmax(1).amax(1))


def test_read_as_one_softmax_rows_of_background_count_no_more():
    batch = make(second=make(labels=torch.tensor([2, 0, 0])))
    read = batch.as_softmax()
    assert (read.activation, read.background) == ('softmax', None)
    assert read.labels.tolist() == [0, 1, 0]
    assert read.weight.tolist() == [1.0, 0.5, 0.0]
    assert read.second.weight.tolist() == [0.0, 0.5, 1.0]
    assert read.student is batch.student
    assert read.as_softmax() is read


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        pytest.param({'activation': 'none'}, ValueError, "one of 'softmax', 'sigmoid', got 'none'"),
        pytest.param({'divisor': 'classes'}, ValueError, "one of 'rows', 'positives', got 'cl"),
        pytest.param(
            {'teacher': torch.zeros(3, 3)}, ValueError, r'student and teacher .* \(3, 2\) and \(3'
        ),
        pytest.param({'teacher': torch.zeros(3, 2).int()}, TypeError, 'teacher must be of a float'),
        pytest.param(
            {'teacher': torch.zeros(3, 2, requires_grad=True)},
            ValueError,
            'the logits of the teacher need a gradient',
        ),
        pytest.param({'labels': torch.tensor([0, 3, 2])}, ValueError, 'row 1 has 3'),
        pytest.param({'labels': torch.tensor([0, -1, 2])}, ValueError, 'row 1 has -1'),
        pytest.param({'labels': torch.zeros(3)}, TypeError, 'labels must be an int64 Tensor'),
        pytest.param({'labels': torch.zeros(2).long()}, ValueError, r'labels must have shape \(3,'),
        pytest.param({'weight': torch.ones(2)}, ValueError, 'weight must have one number per row'),
        pytest.param({'weight': torch.ones(3).long()}, TypeError, 'weight must be of a floating'),
        pytest.param({'weight': None}, TypeError, r'weight must be a Tensor of .* got None; where'),
        pytest.param({'second': (0, 1)}, TypeError, 'second must be a LogitBatch, got tuple'),
        pytest.param(
            {'second': make(labels=torch.zeros(3).long(), background=None)},
            ValueError,
            'the second view has background=None and the first 2; expected the same',
        ),
        pytest.param({'background': 1}, ValueError, 'background is 1 .* expected 2, the number of'),
        pytest.param(
            {'activation': 'softmax'}, ValueError, r'background is 2 .* a column of .* in 0…1, or'
        ),
        pytest.param(
            {'activation': 'softmax', 'background': None}, ValueError, 'labels must lie in 0…1'
        ),
        pytest.param(
            {
                'activation': 'softmax',
                'background': None,
                'labels': torch.zeros(3).long(),
                'second': make(),
            },
            ValueError,
            "the second view has activation='sigmoid' and the first 'softmax'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_named(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


@pytest.mark.parametrize('name', ['activation', 'background'])
def test_what_could_be_wrong_in_silence_has_no_default(name):
    given = {'activation': 'sigmoid', 'background': None}
    given.pop(name)
    with pytest.raises(TypeError, match=name):
        LogitBatch(
            torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1).long(), torch.ones(1), **given
        )


@pytest.mark.parametrize('number', [-0.5, float('nan'), float('inf')])
def test_weights_are_finite_and_not_below_zero(number):
    with pytest.raises(ValueError, match=rf'weight must hold finite .*row 1 has {number} \(1 of 3'):
        make(weight=torch.tensor([1.0, number, 0.0]))


@pytest.mark.parametrize(
    ('name', 'bad', 'message'),
    [
        ('weight', -0.5, r'weight must hold finite numbers ≥ 0; row 1 has -0\.5 \(1 of 3'),
        ('labels', 3, r'labels must lie in 0…1 or ignore_index=2; row 1 has 3 \(1 of 3'),
    ],
)
def test_numbers_of_both_views_are_looked_at_when_asked_for(name, bad, message):
    second = make()
    batch = make(second=second)
    batch.check_numbers()
    getattr(second, name)[1] = bad
    with pytest.raises(ValueError, match=message):
        batch.check_numbers()


@pytest.mark.parametrize('name', ['weight', 'labels'])
def test_numbers_on_other_devices_are_looked_at_when_asked_for(name):
    batch = make(**{name: getattr(make(), name).to('meta')})
    # A tensor without numbers says so when it is asked for them.
    with pytest.raises((RuntimeError, NotImplementedError), match='meta'):
        batch.check_numbers()
