"""What holds for every logit loss: weights, the average, batches of any size, arguments."""

import pytest
import torch
from every_loss import (
    BY_ROW,
    LOSSES,
    OF_BATCH,
    losses,
    losses_by_row,
    losses_with_rows,
    parametrize,
    random_pair,
    value_and_gradients,
)
from mmdet.models.losses.utils import weight_reduce_loss

from sortkd_det.losses import ClassGramLoss, DISTLoss, KDLoss, LogitLoss, TemperedLoss


def test_every_kind_of_loss_is_here():
    assert {'KDLoss', 'DISTLoss', 'KendallLoss'} <= {
        type(loss).__name__ for loss in LOSSES.values()
    }
    assert set(OF_BATCH) == {'DIST', 'ClassGram', 'ClassGram of some classes'}


# -- weights and the average -------------------------------------------------


@losses_with_rows
@pytest.mark.parametrize('weight', [None, torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])])
@pytest.mark.parametrize('avg_factor', [None, 3.0, 0.0, torch.tensor(2.5)])
def test_weighs_and_averages_as_mmdetection_does(loss, weight, avg_factor):
    student, target, labels = random_pair()
    wide = loss.compute_dtype(torch.float32)
    rows = loss.row_losses(student.to(wide), target.to(wide), labels)
    assert rows.shape == (5,)
    torch.testing.assert_close(
        loss(student, target, labels, weight, avg_factor),
        weight_reduce_loss(rows, weight, avg_factor=avg_factor).float(),
    )


@losses_by_row
def test_rows_are_independent(loss):
    student, target, labels = random_pair()
    singly = [
        loss(student[i : i + 1], target[i : i + 1], labels[i : i + 1]) for i in range(len(labels))
    ]
    torch.testing.assert_close(loss(student, target, labels), torch.stack(singly).mean())


@losses
def test_a_weight_of_one_for_every_row_is_no_weight(loss):
    student, target, labels = random_pair()
    plain, plain_gradients = value_and_gradients(loss, student, target, labels)
    value, gradients = value_and_gradients(loss, student, target, labels, torch.ones(5))
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(gradients, plain_gradients)


@losses
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('weight_dtype', [torch.float16, torch.float32, torch.float64])
def test_a_weight_may_be_of_another_floating_dtype_than_the_logits(loss, dtype, weight_dtype):
    student, target, labels = random_pair(dtype=dtype)
    weight = torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])
    value = loss(student, target, labels, weight.to(weight_dtype), 3.0)
    assert value.dtype == dtype
    expected = loss(student.double(), target.double(), labels, weight.double(), 3.0)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)


@losses
def test_the_order_of_the_rows_plays_no_part(loss):
    inputs = [*random_pair(), torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])]
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(loss(*(tensor[order] for tensor in inputs)), loss(*inputs))


@parametrize(BY_ROW | OF_BATCH)
def test_a_row_of_weight_zero_plays_no_part(loss):
    student, target, labels = random_pair()
    weight = torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])
    counted = weight > 0
    value, gradients = value_and_gradients(loss, student, target, labels, weight, 4.0)
    expected, expected_gradients = value_and_gradients(
        loss, student[counted], target[counted], labels[counted], weight[counted], 4.0
    )
    torch.testing.assert_close(value, expected)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient[counted], expected_gradient)
        assert torch.equal(gradient[~counted], torch.zeros(1, 7))


@parametrize(OF_BATCH)
def test_within_classes_a_row_of_weight_two_counts_twice(loss):
    student, target, labels = random_pair()
    twice = [0, 0, 1, 2, 3, 4, 4]
    value = loss(student, target, labels, torch.tensor([2.0, 1.0, 1.0, 1.0, 2.0]), 7.0)
    torch.testing.assert_close(value, loss(student[twice], target[twice], labels[twice]))


@losses
def test_weights_of_zero_give_zero_and_no_gradient(loss):
    student, target, labels = random_pair()
    for avg_factor in (None, 0.0, 1.0):
        value, gradients = value_and_gradients(
            loss, student, target, labels, torch.zeros(5), avg_factor
        )
        assert float(value) == 0
        for gradient in gradients:
            assert torch.equal(gradient, torch.zeros(5, 7))


@pytest.mark.parametrize('cls', dict.fromkeys(map(type, LOSSES.values())))
def test_loss_weight_multiplies_value_and_gradient(cls):
    student, target, labels = random_pair()
    plain, plain_gradients = value_and_gradients(cls(), student, target, labels)
    weighted, gradients = value_and_gradients(cls(loss_weight=2.5), student, target, labels)
    torch.testing.assert_close(weighted, 2.5 * plain)
    for gradient, plain_gradient in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(gradient, 2.5 * plain_gradient)
    assert float(cls(loss_weight=0)(student, target, labels)) == 0


def test_the_average_over_classes_knows_no_avg_factor():
    student, target, labels = random_pair()
    for loss in (
        DISTLoss(beta=0, gamma=1),
        ClassGramLoss(),
        ClassGramLoss(confidence_quantile=0.5),
    ):
        plain = loss(student, target, labels)
        assert torch.equal(loss(student, target, labels, None, 100.0), plain)


# -- degenerate batches ------------------------------------------------------


@losses
@pytest.mark.parametrize('avg_factor', [None, 0.0, 1.0])
@pytest.mark.parametrize('weight', [None, torch.zeros(0)])
def test_no_rows_give_zero_with_a_graph(loss, weight, avg_factor):
    student, target, labels = random_pair(num_rows=0)
    student.requires_grad_()
    value = loss(student, target, labels, weight, avg_factor)
    value.backward()
    assert value.shape == ()
    assert float(value.detach()) == 0
    assert student.grad.shape == (0, 7)


@losses
@pytest.mark.parametrize(('num_rows', 'num_classes'), [(1, 7), (5, 2), (1, 2)])
def test_one_row_and_two_classes_are_enough(loss, num_rows, num_classes):
    inputs = random_pair(num_rows, num_classes)
    value, gradients = value_and_gradients(loss, *inputs)
    assert value.shape == ()
    assert float(value) >= -1e-6
    for gradient in gradients:
        assert gradient.isfinite().all()


@losses
def test_rows_that_are_the_same_give_finite_values_and_gradients(loss):
    # Within a class nothing varies: a correlation has no meaning.
    student, target, labels = (x[:1].repeat(5, *[1] * (x.dim() - 1)) for x in random_pair())
    value, gradients = value_and_gradients(loss, student, target, labels)
    assert value.isfinite()
    for gradient in gradients:
        assert gradient.isfinite().all()


@losses
def test_equal_logits_in_a_row_give_finite_values_and_gradients(loss):
    value, gradients = value_and_gradients(
        loss, torch.zeros(4, 6), torch.zeros(4, 6), torch.tensor([0, 1, 2, 3])
    )
    assert value.isfinite()
    for gradient in gradients:
        assert gradient.isfinite().all()


# -- arguments ---------------------------------------------------------------


@losses
def test_inputs_are_unchanged(loss):
    inputs = [*random_pair(), torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])]
    copies = [tensor.clone() for tensor in inputs]
    inputs[0].requires_grad_()
    loss(*inputs).backward()
    for tensor, copy in zip(inputs, copies, strict=True):
        assert torch.equal(tensor, copy)


@losses
@pytest.mark.parametrize('shape', [(4, 7), (5, 6), (5,), (5, 7, 1)])
def test_shapes_that_differ_are_refused(loss, shape):
    student, _, labels = random_pair()
    with pytest.raises(ValueError, match='shape'):
        loss(student, torch.zeros(shape), labels)


@losses
@pytest.mark.parametrize('shape', [(4,), (5, 1), (5, 7), ()])
def test_a_weight_that_is_not_one_number_a_row_is_refused(loss, shape):
    student, target, labels = random_pair()
    with pytest.raises(ValueError, match=r'weight must have one number per row, shape \(5,\)'):
        loss(student, target, labels, torch.ones(shape))


@losses
def test_logits_that_are_none_are_refused(loss):
    student, target, labels = random_pair()
    with pytest.raises(TypeError, match='student must be of a floating dtype'):
        loss(student.long(), target, labels)
    with pytest.raises(TypeError, match='target must be a Tensor'):
        loss(student, None, labels)
    with pytest.raises(ValueError, match='student must have at least 2 classes'):
        loss(student[:, :1], target[:, :1], labels)


@losses
@pytest.mark.parametrize(
    ('labels', 'error', 'message'),
    [
        (torch.zeros(5, dtype=torch.int32), TypeError, 'labels must be an int64 Tensor, got .*32'),
        (torch.zeros(5), TypeError, 'labels must be an int64 Tensor, got .*float32'),
        (None, TypeError, 'labels must be an int64 Tensor, got NoneType'),
        (torch.zeros(4).long(), ValueError, r'labels must have shape \(5,\)'),
        (torch.zeros(5, 1).long(), ValueError, r'labels must have shape \(5,\)'),
        (torch.tensor([0, 1, 7, 2, 3]), ValueError, 'labels must lie in 0…6; row 2 has 7'),
        (torch.tensor([0, -1, 0, 0, 0]), ValueError, 'labels must lie in 0…6; row 1 has -1'),
    ],
)
def test_labels_of_another_dtype_shape_or_range_are_refused(loss, labels, error, message):
    student, target, _ = random_pair()
    with pytest.raises(error, match=message):
        loss(student, target, labels)


@pytest.mark.parametrize('cls', dict.fromkeys(map(type, LOSSES.values())))
def test_a_loss_weight_below_zero_or_no_number_is_refused(cls):
    for value in (-0.1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='loss_weight must be a finite number ≥ 0'):
            cls(loss_weight=value)
    for value in (True, '1', None):
        with pytest.raises(TypeError, match='loss_weight must be a number'):
            cls(loss_weight=value)


# -- losses of a user's own --------------------------------------------------


@pytest.mark.parametrize('cls', [LogitLoss, TemperedLoss])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_a_subclass_must_say_what_a_row_costs(cls, activation):
    class Unwritten(cls):
        activations = ('softmax', 'sigmoid')

    with pytest.raises(NotImplementedError, match=r'^Unwritten has no formula; .*row_losses'):
        Unwritten()(*random_pair(), activation=activation)


class OfRows(LogitLoss):
    """A loss whose rows are what the test says."""

    activations = ('softmax', 'sigmoid')

    def __init__(self, reduce):
        super().__init__()
        self.reduce = reduce

    def row_losses(self, student, target, labels):
        return self.reduce((student - target).square())

    bernoulli_row_losses = row_losses


class OfABatch(OfRows):
    """A loss that keeps what it gives for its rows."""

    def batch_loss(self, student, target, labels, weight, avg_factor):
        return self.row_losses(student, target, labels)


SQUARE = (7, 7)  # as many rows as classes: whatever is left out fits the weights all the same


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('weight', [None, torch.arange(7.0)])
def test_rows_that_are_not_one_number_each_are_refused(activation, weight):
    student, target, labels = random_pair(*SQUARE)
    given = (student, target, labels, weight, None, None, activation)
    right = (student - target).square().mean(1)
    expected = right.mean() if weight is None else (right * weight).sum() / 7
    torch.testing.assert_close(OfRows(lambda x: x.mean(1))(*given), expected)
    wrong = {
        r'\(7, 7\)': lambda x: x,
        r'\(7, 1\)': lambda x: x.mean(1, keepdim=True),
        r'\(1, 7\)': lambda x: x.mean(1)[None],
        r'\(\)': lambda x: x.mean(),
    }
    for shape, reduce in wrong.items():
        with pytest.raises(ValueError, match=rf'^OfRows.*row_losses .*shape \(7,\), got {shape}$'):
            OfRows(reduce)(*given)
    with pytest.raises(TypeError, match=r'row_losses must give a Tensor, got list'):
        OfRows(lambda x: x.mean(1).tolist())(*given)


def test_a_mean_over_the_rows_of_each_class_is_refused():
    with pytest.raises(ValueError, match=r'row_losses must give .* shape \(5,\), got \(7,\)'):
        OfRows(lambda x: x.mean(0))(*random_pair())


@pytest.mark.parametrize(
    ('reduce', 'error', 'message'),
    [
        (lambda x: x.mean(1), ValueError, r'one number, a Tensor of shape \(\), got \(7,\)'),
        (lambda x: x.mean()[None], ValueError, r'got \(1,\)'),
        (lambda x: float(x.mean()), TypeError, 'must give a Tensor, got float'),
        (lambda x: (x.mean(), 1), TypeError, 'must give a Tensor, got tuple'),
    ],
)
def test_a_batch_that_is_not_one_number_is_refused(reduce, error, message):
    with pytest.raises(error, match=f'^OfABatch.batch_loss .*{message}'):
        OfABatch(reduce)(*random_pair(*SQUARE))


@pytest.mark.parametrize(
    ('rewrite', 'error', 'message'),
    [
        (lambda target, labels: target[:, 1:], ValueError, r'got shapes \(5, 7\) and \(5, 6\)'),
        (lambda target, labels: target[:1], ValueError, r'got shapes \(5, 7\) and \(1, 7\)'),
        (lambda target, labels: target.argsort(1), TypeError, 'target must be of a floating dtype'),
    ],
)
def test_a_rewriting_that_gives_no_logits_of_the_same_rows_is_refused(rewrite, error, message):
    student, target, labels = random_pair()
    with pytest.raises(error, match=message):
        KDLoss()(student, target, labels, rewrite=rewrite)
