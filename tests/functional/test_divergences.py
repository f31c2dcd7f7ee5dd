import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sortkd_det.functional import (
    bernoulli_divergence,
    decoupled_bernoulli,
    decoupled_kd,
    focused_cross_entropy,
    kl_divergence,
    normalized_kd,
    plackett_luce,
    sort_logits,
    transformed_kd,
)

quick = settings(deadline=None, max_examples=40)


def random_pair(num_rows=6, num_classes=9, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, target = scale * torch.randn(
        2, num_rows, num_classes, generator=generator, dtype=torch.float64
    )
    return student, target, torch.randint(num_classes, (num_rows,), generator=generator)


def slow_softmax(row, temperature=1.0):
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def slow_kl(target, student):
    return sum(t * math.log(t / s) for t, s in zip(target, student, strict=True))


def slow_decoupled(student, target, label, temperature):
    """TCKD and NCKD of one row, by equations 5-7 of the paper."""
    pairs, rests = [], []
    for row in (target, student):
        p = slow_softmax(row, temperature)
        pairs.append([p[label], sum(p[:label] + p[label + 1 :])])
        rests.append(slow_softmax(row[:label] + row[label + 1 :], temperature))
    return temperature**2 * slow_kl(*pairs), temperature**2 * slow_kl(*rests)


def slow_normalized(student, target, label, temperature):
    """Both parts of normalised distillation of one row."""
    own = -slow_softmax(target)[label] * math.log(slow_softmax(student)[label])
    q_student, q_target = (
        slow_softmax(row[:label] + row[label + 1 :], temperature) for row in (student, target)
    )
    others = -sum(t * math.log(s) for t, s in zip(q_target, q_student, strict=True))
    return own, temperature**2 * others


def slow_transformed(student, target, gamma):
    """Divergence from the power of the teacher's distribution, and the power's sum, of one row."""
    powers = [p**gamma for p in slow_softmax(target)]
    transformed = [power / sum(powers) for power in powers]
    return slow_kl(transformed, slow_softmax(student)), sum(powers)


batches = st.builds(
    random_pair,
    num_rows=st.integers(1, 5),
    num_classes=st.integers(2, 30),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
temperatures = st.sampled_from([0.5, 1.0, 4.0])
gammas = st.sampled_from([0.1, 0.25, 1.0, 2.0])


# -- the authors' figures ----------------------------------------------------


def loss_of(name, student, target, labels):
    """The authors' loss called ``name``, from our functions."""
    kind, *options = name.split('_')
    if 'sort' in options:
        target = sort_logits(target, labels)
    temperature = float(options[-1].removeprefix('T'))
    if kind == 'kd':
        return kl_divergence(student, target, temperature).mean()
    alpha, beta = (float(option[1:]) for option in options[-3:-1])
    tckd, nckd = decoupled_kd(student, target, labels, temperature)
    return (alpha * tckd + beta * nckd).mean()


@pytest.mark.parametrize('batch', [0, 1, 2])
@pytest.mark.parametrize('temperature', ['T1', 'T4'])
@pytest.mark.parametrize('loss', ['kd', 'kd_sort', 'dkd_a1_b8', 'dkd_sort_a1_b8', 'dkd_a1_b0.25'])
def test_values_and_gradients_equal_the_authors_figures(figures, batch, loss, temperature):
    name = f'{loss}_{temperature}'
    student = figures(batch, 'student').requires_grad_()
    value = loss_of(name, student, figures(batch, 'teacher'), figures(batch, 'labels'))
    value.backward()
    assert float(value.detach()) == pytest.approx(float(figures(batch, name)), rel=1e-5)
    gradient = figures(batch, f'{name}_grad')
    assert float((student.grad - gradient).norm() / gradient.norm()) < 1e-5


# -- the definitions ---------------------------------------------------------


@quick
@given(batches, temperatures)
def test_kl_divergence_follows_the_definition(batch, temperature):
    student, target, _ = batch
    expected = [
        temperature**2 * slow_kl(slow_softmax(t, temperature), slow_softmax(s, temperature))
        for s, t in zip(student.tolist(), target.tolist(), strict=True)
    ]
    result = kl_divergence(student, target, temperature)
    assert result.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@quick
@given(batches, temperatures)
def test_decoupled_kd_follows_the_definition(batch, temperature):
    student, target, labels = batch
    expected = [
        slow_decoupled(s, t, y, temperature)
        for s, t, y in zip(student.tolist(), target.tolist(), labels.tolist(), strict=True)
    ]
    tckd, nckd = decoupled_kd(student, target, labels, temperature)
    assert tckd.tolist() == pytest.approx([e[0] for e in expected], rel=1e-6, abs=1e-12)
    assert nckd.tolist() == pytest.approx([e[1] for e in expected], rel=1e-6, abs=1e-12)


@quick
@given(batches, temperatures)
def test_normalized_kd_follows_the_definition(batch, temperature):
    student, target, labels = batch
    expected = [
        slow_normalized(s, t, y, temperature)
        for s, t, y in zip(student.tolist(), target.tolist(), labels.tolist(), strict=True)
    ]
    own, others = normalized_kd(student, target, labels, temperature)
    assert own.tolist() == pytest.approx([e[0] for e in expected], rel=1e-6, abs=1e-12)
    assert others.tolist() == pytest.approx([e[1] for e in expected], rel=1e-6, abs=1e-12)


@quick
@given(batches, gammas)
def test_transformed_kd_follows_the_definition(batch, gamma):
    student, target, _ = batch
    expected = [
        slow_transformed(s, t, gamma)
        for s, t in zip(student.tolist(), target.tolist(), strict=True)
    ]
    divergence, weight = transformed_kd(student, target, gamma)
    assert divergence.tolist() == pytest.approx([e[0] for e in expected], rel=1e-6, abs=1e-12)
    assert weight.tolist() == pytest.approx([e[1] for e in expected], rel=1e-9)


@quick
@given(batches, st.sampled_from([0.1, 0.25, 1.0]))
def test_wttms_weights_lie_between_one_and_that_of_a_teacher_in_full_doubt(batch, gamma):
    student, target, _ = batch
    num_classes = target.shape[1]
    _, weight = transformed_kd(student, target, gamma)
    assert (weight >= 1 - 1e-12).all()
    assert (weight <= num_classes ** (1 - gamma) + 1e-9).all()
    _, in_doubt = transformed_kd(student, torch.zeros_like(target), gamma)
    torch.testing.assert_close(in_doubt, torch.full_like(in_doubt, num_classes ** (1 - gamma)))


def test_at_gamma_one_transformed_kd_is_kd():
    student, target, _ = random_pair()
    divergence, weight = transformed_kd(student, target, 1.0)
    torch.testing.assert_close(divergence, kl_divergence(student, target))
    torch.testing.assert_close(weight, torch.ones_like(weight))


def test_the_temperature_is_that_of_the_other_classes_alone_in_normalized_kd():
    student, target, labels = random_pair()
    own, others = normalized_kd(student, target, labels, 1.0)
    own_at_4, others_at_4 = normalized_kd(student, target, labels, 4.0)
    assert torch.equal(own, own_at_4)
    assert not torch.allclose(others, others_at_4)


def test_a_shift_of_either_side_changes_no_divergence():
    student, target, labels = random_pair()
    for moved, plain in (
        (
            normalized_kd(student + 3, target - 5, labels, 2.0),
            normalized_kd(student, target, labels, 2.0),
        ),
        (transformed_kd(student + 3, target - 5, 0.25), transformed_kd(student, target, 0.25)),
    ):
        for one, other in zip(moved, plain, strict=True):
            torch.testing.assert_close(one, other)


@quick
@given(batches, temperatures)
def test_kd_is_tckd_plus_nckd_times_the_targets_doubt(batch, temperature):
    # Equation 7 of the paper: what decoupling takes apart.
    student, target, labels = batch
    tckd, nckd = decoupled_kd(student, target, labels, temperature)
    doubt = 1 - (target / temperature).softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(
        tckd + doubt * nckd, kl_divergence(student, target, temperature), rtol=1e-6, atol=1e-10
    )


@quick
@given(batches, temperatures)
def test_divergences_are_zero_between_equals_and_never_negative(batch, temperature):
    student, target, labels = batch
    same = [kl_divergence(target, target + 3, temperature)]
    same += decoupled_kd(target, target + 3, labels, temperature)
    for losses in same:
        torch.testing.assert_close(losses, torch.zeros_like(losses), rtol=0, atol=1e-10)
    losses = [kl_divergence(student, target, temperature)]
    losses += decoupled_kd(student, target, labels, temperature)
    assert all((loss > -1e-12).all() for loss in losses)


def test_of_two_classes_all_of_kd_is_tckd():
    student, target, labels = random_pair(num_classes=2)
    tckd, nckd = decoupled_kd(student, target, labels, 2.0)
    torch.testing.assert_close(tckd, kl_divergence(student, target, 2.0))
    assert torch.equal(nckd, torch.zeros_like(nckd))


def test_the_label_is_left_out_of_nckd():
    student, target, labels = random_pair()
    _, before = decoupled_kd(student, target, labels)
    moved = student.scatter_add(1, labels[:, None], torch.full((6, 1), 5.0, dtype=torch.float64))
    tckd, after = decoupled_kd(moved, target, labels)
    assert torch.equal(before, after)
    assert not torch.allclose(tckd, decoupled_kd(student, target, labels)[0])


@pytest.mark.parametrize(
    ('divergence', 'others'),
    [
        (kl_divergence, ()),
        (bernoulli_divergence, ()),
        (focused_cross_entropy, (1.0,)),
        (decoupled_kd, ('labels',)),
        (decoupled_bernoulli, ('labels',)),
        (normalized_kd, ('labels',)),
        (plackett_luce, ('labels',)),
    ],
)
def test_the_temperature_is_one_where_none_is_given(divergence, others):
    student, target, labels = random_pair()
    arguments = [labels if other == 'labels' else other for other in others]
    torch.testing.assert_close(
        divergence(student, target, *arguments),
        divergence(student, target, *arguments, 1.0),
        rtol=0,
        atol=0,
    )


# -- gradients and numerics --------------------------------------------------


def test_gradcheck_through_both_sides():
    student, target, labels = random_pair(num_rows=3, num_classes=5, scale=1.0)
    sides = (student.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: kl_divergence(s, t, 3.0), sides)
    assert torch.autograd.gradcheck(lambda s, t: decoupled_kd(s, t, labels, 3.0), sides)
    assert torch.autograd.gradcheck(lambda s, t: normalized_kd(s, t, labels, 3.0), sides)
    assert torch.autograd.gradcheck(lambda s, t: transformed_kd(s, t, 0.4), sides)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0])
def test_logits_of_a_hundred_give_finite_values_and_gradients(temperature):
    signs = torch.tensor([[1.0, -1, -1, 1], [-1, 1, -1, -1], [1, 1, 1, -1], [-1, -1, -1, -1]])
    for student in (100 * signs, -100 * signs, 100 * signs.flip(1)):
        for label in range(4):
            leaf = student.clone().requires_grad_()
            labels = torch.full((4,), label)
            kd = kl_divergence(leaf, 100 * signs, temperature)
            tckd, nckd = decoupled_kd(leaf, 100 * signs, labels, temperature)
            own, others = normalized_kd(leaf, 100 * signs, labels, temperature)
            ttm, doubt = transformed_kd(leaf, 100 * signs, 1 / temperature)
            (kd + tckd + nckd + own + others + doubt * ttm).sum().backward()
            for values in (kd, tckd, nckd, own, others, ttm, doubt, leaf.grad):
                assert torch.isfinite(values).all()


def test_no_rows_give_no_losses():
    empty, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    assert kl_divergence(empty, empty).shape == (0,)
    for parts in (
        decoupled_kd(empty, empty, labels),
        normalized_kd(empty, empty, labels),
        transformed_kd(empty, empty, 0.25),
    ):
        assert [part.shape for part in parts] == [(0,), (0,)]
