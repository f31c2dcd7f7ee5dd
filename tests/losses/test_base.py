"""What holds for every logit loss."""

import pytest
import torch
from mmdet.models.losses.utils import weight_reduce_loss

from sortkd_det.losses import (
    BatchGramLoss,
    ClassGramLoss,
    DISTLoss,
    DKDLoss,
    KDLoss,
    KendallLoss,
    LearnableTemperature,
    LogitLoss,
    NKDLoss,
    PLDLoss,
    RankingLoss,
    TemperedLoss,
    TTMLoss,
)
from sortkd_det.registry import MODELS

TEMPERED = [KDLoss, DKDLoss, NKDLoss, DISTLoss, BatchGramLoss, ClassGramLoss, PLDLoss]

# A row's loss is its own affair.
BY_ROW = {
    'KD': KDLoss(temperature=2),
    'KD at several temperatures': KDLoss(temperature=[1, 2, 6]),
    'KD at a learned temperature': KDLoss(temperature=LearnableTemperature()),
    'DKD': DKDLoss(beta=8, temperature=2),
    'NKD': NKDLoss(temperature=2),
    'TTM': TTMLoss(),
    'WTTM': TTMLoss(weighted=True),
    'PLD': PLDLoss(temperature=2),
    'Ranking l2': RankingLoss(),
    'Ranking l1': RankingLoss('l1'),
    'Ranking spearman': RankingLoss('spearman'),
    'Kendall': KendallLoss(),
}
# One number a row as well, but it takes the whole batch to know it.
IN_BATCH = {'BatchGram': BatchGramLoss(temperature=2)}
# One number a batch.
OF_BATCH = {
    'DIST': DISTLoss(temperature=2),
    'ClassGram': ClassGramLoss(temperature=2),
    'ClassGram of some classes': ClassGramLoss(temperature=2, confidence_quantile=0.5),
}
LOSSES = BY_ROW | IN_BATCH | OF_BATCH


def parametrize(named):
    return pytest.mark.parametrize('loss', named.values(), ids=named.keys())


losses = parametrize(LOSSES)
losses_by_row = parametrize(BY_ROW)
losses_with_rows = parametrize(BY_ROW | IN_BATCH)
half_dtypes = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])


def random_pair(num_rows=5, num_classes=7, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, target = torch.randn(2, num_rows, num_classes, generator=generator).to(dtype)
    return student, target, torch.randint(num_classes, (num_rows,), generator=generator)


def value_and_gradients(loss, student, target, *arguments):
    """The loss and what reaches both sides."""
    sides = [student.detach().clone().requires_grad_(), target.detach().clone().requires_grad_()]
    value = loss(*sides, *arguments)
    return value.detach(), torch.autograd.grad(value, sides)


def test_every_registered_loss_is_here():
    import sortkd_det.losses  # noqa: F401

    ours = {
        cls
        for cls in MODELS.module_dict.values()
        if issubclass(cls, LogitLoss) and cls.__module__.startswith('sortkd_det.losses')
    }
    assert ours == {type(loss) for loss in LOSSES.values()}


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


def test_between_rows_a_weight_multiplies_the_sum_of_a_rows_relations():
    # The row of weight 0 still stands in the relations of the others.
    loss = BatchGramLoss(temperature=2)
    student, target, labels = random_pair(dtype=torch.float64)
    a, b = ((x / 2).softmax(1) for x in (student, target))
    relations = (a @ a.T - b @ b.T) ** 2
    weight = torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    expected = sum(weight[i] * relations[i, j] for i in range(5) for j in range(5)) / 4
    torch.testing.assert_close(loss(student, target, labels, weight, 4), expected)
    without = loss(*(x[weight > 0] for x in (student, target, labels, weight)), 4)
    assert not torch.isclose(without, expected, rtol=1e-2)


def test_the_average_over_classes_knows_no_avg_factor():
    student, target, labels = random_pair()
    for loss in (ClassGramLoss(), ClassGramLoss(confidence_quantile=0.5)):
        plain = loss(student, target, labels)
        assert torch.equal(loss(student, target, labels, None, 100.0), plain)
    within = DISTLoss(beta=0, gamma=1)
    plain = within(student, target, labels)
    assert torch.equal(within(student, target, labels, None, 100.0), plain)


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


# -- the definitions of losses that know the whole batch ---------------------


def slow_pearson(a, b):
    a, b = (x - sum(x) / len(x) for x in (a, b))
    return sum(a * b) / (sum(a * a).sqrt() * sum(b * b).sqrt())


def test_dist_adds_both_relations_by_their_weights():
    student, target, labels = random_pair(dtype=torch.float64)
    for temperature in (1, 3):
        a, b = ((x / temperature).softmax(1) for x in (student, target))
        between = sum(1 - slow_pearson(a[i], b[i]) for i in range(5)) / 5
        within = sum(1 - slow_pearson(a[:, c], b[:, c]) for c in range(7)) / 7
        loss = DISTLoss(beta=2, gamma=0.3, temperature=temperature)
        expected = temperature**2 * (2 * between + 0.3 * within)
        torch.testing.assert_close(loss(student, target, labels), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize('quantile', [0.0, 0.3, 0.5, 1.0])
def test_class_gram_counts_the_classes_that_the_teacher_is_least_sure_of(quantile):
    student, target, labels = random_pair(dtype=torch.float64)
    a, b = ((x / 2).softmax(1) for x in (student, target))
    by_class = ((a.T @ a - b.T @ b) ** 2).sum(1).tolist()
    confidence = target.softmax(1).sum(0).tolist()
    # The quantile between 7 classes lies at 6 · quantile, counted from 0.
    counted = sorted(range(7), key=lambda c: confidence[c])[: int(6 * quantile) + 1]
    loss = ClassGramLoss(temperature=2, confidence_quantile=quantile)
    expected = sum(by_class[c] for c in counted) / 7
    assert float(loss(student, target, labels)) == pytest.approx(expected)


def test_every_class_counts_at_quantile_one():
    inputs = random_pair()
    everything = ClassGramLoss(confidence_quantile=1.0)(*inputs)
    torch.testing.assert_close(everything, ClassGramLoss()(*inputs))


def test_ranking_losses_are_distances_between_soft_ranks():
    from sortkd_det.functional import soft_rank

    student, target, labels = random_pair(dtype=torch.float64)
    for strength in (0.2, 5.0):
        r, t = soft_rank(student, strength), soft_rank(target, strength)
        expected = {
            'l2': sum(float((r[i] - t[i]).square().sum()) / 7 for i in range(5)) / 5,
            'l1': sum(float((r[i] - t[i]).abs().sum()) / 7 for i in range(5)) / 5,
            'spearman': sum(1 - float(slow_pearson(r[i], t[i])) for i in range(5)) / 5,
        }
        for distance, value in expected.items():
            loss = RankingLoss(distance, strength)(student, target, labels)
            assert float(loss) == pytest.approx(value, rel=1e-6)


def test_spearman_of_the_same_order_is_zero_and_of_the_reverse_two():
    student, _, labels = random_pair(dtype=torch.float64)
    loss = RankingLoss('spearman', strength=1e-6)
    assert float(loss(student, student.exp(), labels)) == pytest.approx(0, abs=1e-6)
    assert float(loss(student, -student, labels)) == pytest.approx(2)


def test_kendall_of_the_same_order_is_zero_and_of_the_reverse_two():
    student, _, labels = random_pair(dtype=torch.float64)
    loss = KendallLoss(steepness=1e9)
    assert float(loss(student, student.exp(), labels)) == pytest.approx(0, abs=1e-6)
    assert float(loss(student, -student, labels)) == pytest.approx(2)


def test_wttm_multiplies_each_row_by_the_teachers_doubt():
    student, target, labels = random_pair(dtype=torch.float64)
    rows = TTMLoss(gamma=0.3).row_losses(student, target, labels)
    weight = target.softmax(1).pow(0.3).sum(1)
    weighted = TTMLoss(gamma=0.3, weighted=True)(student, target, labels)
    torch.testing.assert_close(weighted, (weight * rows).mean())


# -- temperatures ------------------------------------------------------------


@pytest.mark.parametrize('cls', TEMPERED)
def test_several_temperatures_give_the_sum_in_value_and_gradient(cls):
    inputs = random_pair()
    value, gradients = value_and_gradients(cls(temperature=[1, 2.5, 6]), *inputs)
    singly = [value_and_gradients(cls(temperature=t), *inputs) for t in (1, 2.5, 6)]
    torch.testing.assert_close(value, sum(single for single, _ in singly))
    for side in (0, 1):
        expected = sum(gradients[side] for _, gradients in singly)
        torch.testing.assert_close(gradients[side], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('cls', TEMPERED)
@pytest.mark.parametrize('weight', [None, torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])])
def test_a_learned_temperature_gives_the_loss_at_its_value_and_gets_a_gradient(cls, weight):
    inputs = [*random_pair(), weight]
    temperature = LearnableTemperature(start=2, span=3)
    temperature.follow(10)
    loss = cls(temperature=temperature)
    value, gradients = value_and_gradients(loss, *inputs)
    held = float(temperature().detach())
    expected, expected_gradients = value_and_gradients(cls(temperature=held), *inputs)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    assert value.dtype == torch.float32
    loss(*inputs).backward()
    assert list(loss.parameters()) == [temperature.theta]
    assert float(temperature.theta.grad) != 0


def test_all_losses_that_take_a_temperature_are_tried_with_several():
    assert {type(x) for x in LOSSES.values() if isinstance(x, TemperedLoss)} == set(TEMPERED)


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


# -- precision ---------------------------------------------------------------


@losses
@half_dtypes
def test_half_precision_inputs_are_computed_in_single_precision(loss, dtype):
    student, target, labels = random_pair(dtype=dtype)
    expected = loss(student.float(), target.float(), labels)
    student.requires_grad_()
    value = loss(student, target, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.dtype == dtype
    assert torch.equal(value.detach(), expected.detach())


SIGNS = torch.tensor([[1, -1, -1, 1], [-1, 1, -1, -1], [1, 1, 1, -1], [-1, -1, -1, -1]])
DOMINANT = 2 * torch.eye(4).long() - 1
LARGE = {'mixed': SIGNS, 'one class dominant': DOMINANT}
large_logits = pytest.mark.parametrize('signs', LARGE.values(), ids=LARGE.keys())


@losses
@large_logits
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_a_hundred_give_finite_values_and_gradients(loss, signs, dtype):
    for student in (100 * signs, -100 * signs, 100 * signs.flip(1)):
        for labels in (torch.tensor([1, 0, 3, 2]), torch.arange(4)):
            value, gradients = value_and_gradients(
                loss, student.to(dtype), (100 * signs).to(dtype), labels
            )
            assert value.isfinite()
            for gradient in gradients:
                assert gradient.isfinite().all()


@losses
@large_logits
@half_dtypes
def test_autocast_gives_finite_values_and_gradients_in_single_precision(loss, signs, dtype):
    features, weight = torch.eye(4), (10.0 * signs.flip(1)).requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        student = features @ weight * 10
        assert student.dtype == dtype
        value = loss(student, (100 * signs).to(dtype), torch.tensor([1, 0, 3, 2]))
        expected = loss(student.float(), 100.0 * signs, torch.tensor([1, 0, 3, 2]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.equal(value, expected)
    assert weight.grad.isfinite().all()


@losses
@half_dtypes
def test_autocast_changes_no_single_precision_loss(loss, dtype):
    inputs = [*random_pair(), torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])]
    expected, expected_gradients = value_and_gradients(loss, *inputs)
    sides = [inputs[0].requires_grad_(), inputs[1].requires_grad_()]
    with torch.autocast('cpu', dtype=dtype):
        value = loss(*inputs)
    gradients = torch.autograd.grad(value, sides)
    assert torch.equal(value, expected)
    assert all(map(torch.equal, gradients, expected_gradients))


@losses
def test_the_loss_takes_the_students_precision(loss):
    student, target, labels = random_pair()
    for wide, narrow in ((torch.float32, torch.float16), (torch.float64, torch.float32)):
        assert loss(student.to(wide), target.to(narrow), labels).dtype == wide
        assert loss(student.to(narrow), target.to(wide), labels).dtype == torch.float32


@losses
def test_gradcheck_through_both_sides(loss):
    # Without θ, where there is one: its gradient is wrong on purpose.
    student, target, labels = random_pair(num_rows=3, num_classes=5, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, t: loss(s, t, labels, weight, 2.0),
        (student.requires_grad_(), target.requires_grad_()),
    )


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


@pytest.mark.parametrize(
    ('cls', 'arguments', 'error', 'message'),
    [
        (NKDLoss, {'gamma': -1}, ValueError, 'gamma must be a finite number ≥ 0'),
        (TTMLoss, {'gamma': 0}, ValueError, 'gamma must be a finite number > 0'),
        (TTMLoss, {'gamma': '1'}, TypeError, 'gamma must be a number'),
        (DISTLoss, {'beta': -1}, ValueError, 'beta must be a finite number ≥ 0'),
        (DISTLoss, {'gamma': None}, TypeError, 'gamma must be a number'),
        (ClassGramLoss, {'confidence_quantile': 2}, ValueError, 'confidence_quantile must lie'),
        (ClassGramLoss, {'confidence_quantile': '0.5'}, TypeError, 'confidence_quantile must be'),
        (RankingLoss, {'distance': 'L2'}, ValueError, "distance must be one of 'l2', 'l1', 'spea"),
        (RankingLoss, {'strength': 0}, ValueError, 'strength must be a finite number > 0'),
        (KendallLoss, {'steepness': -1}, ValueError, 'steepness must be a finite number > 0'),
        *((cls, {'temperature': 0}, ValueError, 'temperature must be a fi') for cls in TEMPERED),
        *((cls, {'temperature': '4'}, TypeError, 'temperature must be a n') for cls in TEMPERED),
    ],
)
def test_unfit_settings_are_refused_by_name(cls, arguments, error, message):
    with pytest.raises(error, match=message):
        cls(**arguments)


@pytest.mark.parametrize('cls', [LogitLoss, TemperedLoss])
def test_a_subclass_must_say_what_a_row_costs(cls):
    with pytest.raises(NotImplementedError):
        cls()(*random_pair())
