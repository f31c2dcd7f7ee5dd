"""Losses of heads with a sigmoid for each class: a Bernoulli is a softmax over (z, 0)."""

import pytest
import torch
import torch.nn.functional as F
from every_loss import REGISTERED, usual

from sortkd_det.functional import Sort, sort_logits
from sortkd_det.losses import DKDLoss, KDLoss, KendallLoss, LogitLoss, RankingLoss, TTMLoss

BACKGROUND = 7  # of seven classes: no column
LOSSES = usual(kind for kind in REGISTERED if 'sigmoid' in kind.activations) | {
    'KD at several temperatures': KDLoss(temperature=[1, 2, 6]),
    'KD with focus': KDLoss(focus=1.0),
    'KD with focus and temperature': KDLoss(focus=2.0, temperature=3),
    'DKD by halves': DKDLoss(alpha=2, beta=0.5, temperature=2),
    'WTTM': TTMLoss(weighted=True),
    'Spearman': RankingLoss('spearman'),
}
losses = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES.keys())


def random_batch(num_rows=6, num_classes=7, dtype=torch.float64):
    """Two sides, labels with some of background, and weights."""
    generator = torch.Generator().manual_seed(0)
    student, target = 3 * torch.randn(2, num_rows, num_classes, generator=generator, dtype=dtype)
    labels = torch.arange(num_rows) % (num_classes + 1)
    labels[-2:] = num_classes
    weight = torch.rand(num_rows, generator=generator, dtype=dtype)
    return student.requires_grad_(), target, labels, weight


def as_softmax(logits):
    """Each class as a row of its own, over the logits (z, 0)."""
    return F.pad(logits.reshape(-1, 1), (0, 1))


def assert_same(found, expected, student, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    gradients = [torch.autograd.grad(x, student, retain_graph=True)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    'loss',
    [
        pytest.param(KDLoss(temperature=1), id='KD'),
        pytest.param(KDLoss(temperature=[1, 4]), id='KD at several temperatures'),
        pytest.param(TTMLoss(), id='TTM'),
        pytest.param(TTMLoss(weighted=True), id='WTTM'),
    ],
)
def test_it_is_the_loss_of_a_softmax_over_each_class_and_nothing(loss):
    student, target, labels, weight = random_batch()
    found = loss(student, target, labels, weight, 3.0, activation='sigmoid')
    expected = loss(
        as_softmax(student),
        as_softmax(target),
        torch.zeros(student.numel()).long(),
        weight.repeat_interleave(7),
        3.0,
    )
    assert_same(found, expected, student)


def test_alpha_is_of_the_labels_class_and_beta_of_the_others():
    student, target, labels, _ = random_batch()
    loss = DKDLoss(alpha=2, beta=0.5, temperature=3)
    chances, own = ((x / 3).sigmoid() for x in (target, student))
    each = chances * (chances / own).log() + (1 - chances) * ((1 - chances) / (1 - own)).log()
    scale = torch.full((6, 7), 0.5, dtype=torch.float64)
    for row, label in enumerate(labels.tolist()):
        if label < 7:
            scale[row, label] = 2
    assert (scale[labels == BACKGROUND] == 0.5).all()
    expected = 9 * (scale * each).sum(1).mean()
    assert_same(loss(student, target, labels, activation='sigmoid'), expected, student, 1e-9)


def test_with_equal_halves_dkd_is_kd():
    student, target, labels, weight = random_batch()
    halves, whole = (
        loss(student, target, labels, weight, activation='sigmoid')
        for loss in (DKDLoss(1, 1, 2), KDLoss(2))
    )
    assert_same(halves, whole, student)


@pytest.mark.parametrize(('focus', 'temperature'), [(1, 1), (2, 1), (1.5, 2)])
def test_focus_weighs_the_cross_entropy_by_how_far_the_chances_are_apart(focus, temperature):
    student, target, labels, weight = random_batch()
    loss = KDLoss(focus=focus, temperature=temperature)
    total = 0.0
    for row in range(6):
        for column in range(7):
            p = 1 / (1 + (-student[row, column] / temperature).exp())
            t = 1 / (1 + (-target[row, column] / temperature).exp())
            entropy = -(t * p.log() + (1 - t) * (1 - p).log())
            total = total + weight[row] * (t - p).abs() ** focus * entropy
    expected = temperature**2 * total / 3
    found = loss(student, target, labels, weight, 3.0, activation='sigmoid')
    assert_same(found, expected, student, 1e-7)  # reduce_rows adds 1e-7 to the divisor


@pytest.mark.parametrize('loss', [RankingLoss(), RankingLoss('spearman'), KendallLoss()])
def test_orders_are_the_same_whatever_the_head_makes_of_its_logits(loss):
    student, target, labels, weight = random_batch()
    found = loss(student, target, labels, weight, activation='sigmoid')
    assert torch.equal(found, loss(student, target, labels.clamp(max=6), weight))


@losses
def test_rows_are_sorted_but_those_of_background(loss):
    student, target, labels, weight = random_batch()
    followed = sort_logits(target, labels, BACKGROUND)
    assert not torch.equal(followed, target)
    found = loss(student, target, labels, weight, 3.0, Sort(BACKGROUND), 'sigmoid')
    assert torch.equal(found, loss(student, followed, labels, weight, 3.0, activation='sigmoid'))


@losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_large_logits_give_finite_values(loss, dtype):
    student, target, labels, weight = random_batch(dtype=torch.float32)
    student = (30 * student.detach()).to(dtype).requires_grad_()
    value = loss(student, (30 * target).to(dtype), labels, weight, activation='sigmoid')
    assert value.dtype == torch.float32
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@losses
def test_gradcheck(loss):
    student, target, labels, weight = random_batch(3, 4)
    assert torch.autograd.gradcheck(
        lambda s: loss(s, target, labels, weight, 2.0, activation='sigmoid'), student
    )


@pytest.mark.parametrize('name', [name for name in LOSSES if name not in ('Ranking', 'Spearman')])
def test_compiled_whole_it_is_the_same(name):
    torch.compiler.reset()
    inputs = random_batch(dtype=torch.float32)
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend='aot_eager')
    for way in (LOSSES[name], compiled):
        value = way(*inputs, 3.0, Sort(BACKGROUND), 'sigmoid')
        (gradient,) = torch.autograd.grad(value, inputs[0])
        if way is LOSSES[name]:
            expected = value, gradient
    torch.testing.assert_close((value, gradient), expected, rtol=1e-4, atol=1e-6)
    torch.compiler.reset()


@losses
def test_no_rows_give_zero_with_a_graph(loss):
    student, target, labels, weight = (x[:0] for x in random_batch())
    assert loss(student, target, labels, weight, activation='sigmoid').requires_grad


@pytest.mark.parametrize('loss', [KDLoss(2), KDLoss(focus=1), DKDLoss(), TTMLoss()])
def test_one_class_is_enough(loss):
    student, target, labels, weight = random_batch(6, 1)
    assert loss(student, target, labels, weight, activation='sigmoid') > 0


@pytest.mark.parametrize('loss', [RankingLoss(), KendallLoss()])
def test_one_class_has_no_order(loss):
    student, target, labels, weight = random_batch(6, 1)
    with pytest.raises(ValueError, match='must have at least 2 classes'):
        loss(student, target, labels, weight, activation='sigmoid')


def test_labels_beyond_background_are_refused():
    student, target, _, weight = random_batch()
    with pytest.raises(ValueError, match='row 0 has 8'):
        KDLoss()(student, target, torch.full((6,), 8), weight, activation='sigmoid')


# -- who is made for what ----------------------------------------------------


def test_losses_refuse_what_they_are_not_made_for():
    student, target, labels, weight = random_batch()
    others = [kind for kind in REGISTERED if 'sigmoid' not in kind.activations]
    assert len(others) >= 5
    for kind in others:
        with pytest.raises(ValueError, match=rf"{kind.__name__} is not made for .*'sigmoid'"):
            kind()(student, target, labels, weight, activation='sigmoid')
    with pytest.raises(ValueError, match=r"KDLoss is not made for activation='softmax'"):
        KDLoss(focus=1)(student, target, labels.clamp(max=6), weight)
    with pytest.raises(ValueError, match="activation must be one of 'softmax', 'sigmoid'"):
        KDLoss()(student, target, labels, weight, activation='tanh')


def test_a_formula_that_is_written_anew_is_about_a_softmax_unless_it_says_otherwise():
    class Anew(KDLoss):
        def tempered_row_losses(self, student, target, labels, temperature):
            return (student - target).square().sum(1)

    class Renamed(KDLoss):
        pass

    class Both(LogitLoss):
        activations = ('softmax', 'sigmoid')

        def row_losses(self, student, target, labels):
            return (student - target).square().sum(1)

        bernoulli_row_losses = row_losses

    assert Anew.activations == ('softmax',)
    assert Renamed.activations == ('softmax', 'sigmoid')
    student, target, labels, _ = random_batch()
    assert Both()(student, target, labels, activation='sigmoid') > 0


@pytest.mark.parametrize(
    ('focus', 'error', 'message'),
    [
        pytest.param(0.5, ValueError, 'focus must be at least 1, got 0.5'),
        pytest.param(-1, ValueError, 'focus must be a finite number > 0'),
        pytest.param('1', TypeError, 'focus must be a number'),
    ],
)
def test_an_unfit_focus_is_refused(focus, error, message):
    with pytest.raises(error, match=message):
        KDLoss(focus=focus)
