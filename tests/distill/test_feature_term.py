"""Terms about the features of two necks."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from torch import nn

from sortkd_det.distill import FeatureBatch, FeatureTerm, Method, Term
from sortkd_det.functional import set_debug
from sortkd_det.losses import FitNetLoss, PKDLoss


def maps(channels=(4, 4, 4), sizes=(8, 4, 2), seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, width, size, size + 1, generator=generator).requires_grad_(grad)
        for width, size in zip(channels, sizes, strict=True)
    ]


def make_batch(channels=(4, 4, 4), **student):
    return FeatureBatch(maps(grad=True, **student), maps(channels, seed=1))


class Neck(nn.Module):
    """What FPN and its kin tell of themselves."""

    def __init__(self, **told):
        super().__init__()
        for name, value in told.items():
            setattr(self, name, value)


# -- the loss ----------------------------------------------------------------


def test_the_loss_is_summed_over_the_levels():
    batch = make_batch()
    expected = sum(map(PKDLoss(6), batch.student, batch.teacher))
    assert torch.allclose(FeatureTerm(dict(type='PKDLoss', loss_weight=6))(batch, 1), expected)
    assert torch.allclose(FeatureTerm('PKDLoss', weight=6)(batch, 1), expected)


def test_a_loss_with_a_schedule_of_its_own_is_told_the_epoch():
    class Scheduled(FitNetLoss):
        def set_epoch(self, now):
            self.loss_weight = now

    batch, term = make_batch(), FeatureTerm(Scheduled(), begin=2)
    plain = FeatureTerm('FitNetLoss')(batch, 1)
    for now, factor in ((5, 5), (2, 2), (1, 0)):  # 1 is outside of its own schedule
        assert torch.allclose(term(batch, now), factor * plain)
        assert term.loss.loss_weight == now


@pytest.mark.parametrize('side', ['student', 'teacher'])
def test_a_loss_that_changes_the_features_is_refused(side):
    class Changes(FitNetLoss):
        def map_loss(self, student, target):
            loss = super().map_loss(student, target)
            with torch.no_grad():
                (student if side == 'student' else target).relu_()
            return loss

    with pytest.raises(RuntimeError, match=f'term Changes changed level 0 of the {side} of the'):
        FeatureTerm(Changes())(make_batch(), 1)


@pytest.mark.parametrize(('num_levels', 'counted'), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_the_first_levels_count_or_all_if_there_are_fewer(num_levels, counted):
    batch = make_batch()
    loss = FeatureTerm('FitNetLoss', num_levels=num_levels)(batch, 1)
    pairs = list(zip(batch.student, batch.teacher, strict=True))
    assert torch.allclose(loss, sum(FitNetLoss()(*pair) for pair in pairs[:counted]))
    loss.backward()
    reached = [level.grad is not None for level in batch.student]
    assert reached == [True] * counted + [False] * (3 - counted)


def test_necks_with_other_numbers_of_levels_need_to_be_told_how_many_are_pairs():
    batch = make_batch()
    batch = FeatureBatch(batch.student[:2], batch.teacher)
    message = 'student has 2 levels and that of the teacher 3; give the term FitNetLoss num_levels'
    with pytest.raises(ValueError, match=message):
        FeatureTerm('FitNetLoss')(batch, 1)
    assert FeatureTerm('FitNetLoss', num_levels=4)(batch, 1) > 0


def test_the_teachers_maps_take_the_students_size():
    batch = make_batch(sizes=(4, 2, 2))
    loss = FeatureTerm('FitNetLoss')(batch, 1)
    expected = sum(
        FitNetLoss()(own, F.interpolate(other, own.shape[2:], mode='bilinear'))
        for own, other in zip(batch.student, batch.teacher, strict=True)
    )
    assert torch.allclose(loss, expected)


def test_maps_of_other_strides_are_told_of_once(caplog):
    """As of a neck from P2 on, whose levels are pairs with one from P3 on."""
    term = FeatureTerm('FitNetLoss')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    for sizes in ((8, 4, 2), (8, 2, 2), (4, 2, 2)):
        term(make_batch(sizes=sizes), 1)
    logger.removeHandler(caplog.handler)
    (text,) = caplog.messages
    assert 'its level 1 is (4, 5) (height, width) and that of the student (2, 3)' in text


def test_the_schedule_is_that_of_all_terms():
    batch = make_batch()
    full = float(FeatureTerm('FitNetLoss')(batch, 1).detach())
    term = FeatureTerm('FitNetLoss', weight=2, begin=2, end=7, warmup=2, decay=2)
    found = [float(term(batch, epoch).detach()) / full for epoch in range(1, 9)]
    assert found == pytest.approx([0, 1, 2, 2, 2, 2, 1, 0])


@pytest.mark.parametrize('num_levels', [None, 2])
def test_a_silent_term_is_zero_with_the_students_graph(num_levels):
    batch = make_batch()
    loss = FeatureTerm('FitNetLoss', begin=2, num_levels=num_levels)(batch, 1)
    assert float(loss.detach()) == 0
    loss.backward()
    assert not batch.student[0].grad.any()


def test_in_debug_mode_a_teachers_features_must_be_finite():
    batch = make_batch()
    batch.teacher[1][1, 0, 0, 0] = torch.inf
    set_debug(True)
    try:
        with pytest.raises(ValueError, match=r'level 1 of the features .* FitNetLoss, by image'):
            FeatureTerm('FitNetLoss')(batch, 1)
    finally:
        set_debug(False)


# -- channels ----------------------------------------------------------------

OF_16 = dict(type='FPN', in_channels=[8, 16, 32], out_channels=16, num_outs=5)


@pytest.mark.parametrize(
    ('settings', 'student', 'teacher', 'expected'),
    [
        pytest.param({}, Neck(out_channels=4, num_outs=3), OF_16, [(4, 16)] * 3, id='module, dict'),
        pytest.param(
            {}, Neck(in_channels=[8, 16], out_channels=4), OF_16, [(4, 16)] * 2, id='by inputs'
        ),
        pytest.param(
            {},
            nn.Sequential(Neck(out_channels=4, num_outs=5), Neck(in_channels=4, out_channels=8)),
            [OF_16, dict(type='DyHead', in_channels=16, out_channels=24)],
            [(8, 24)] * 5,
            id='several parts',
        ),
        pytest.param(
            {}, Neck(out_channels=[4, 8]), Neck(out_channels=(8, 8)), [(4, 8), (8, 8)], id='lists'
        ),
        pytest.param(
            dict(num_levels=4), Neck(out_channels=4), OF_16, [(4, 16)] * 4, id='levels given'
        ),
        pytest.param(
            dict(student_channels=2, teacher_channels=[3, 5]), None, None, [(2, 3), (2, 5)],
            id='all given',
        ),
        pytest.param({}, Neck(out_channels=16, num_outs=3), OF_16, [], id='equal'),
        pytest.param({}, Neck(out_channels=[16, 16]), OF_16, [], id='equal, a list'),
        pytest.param(
            dict(num_levels=1), Neck(out_channels=[16, 4]), OF_16, [], id='equal where it counts'
        ),
        pytest.param(
            {}, [dict(OF_16, out_channels=4), Neck()], OF_16, [(4, 16)] * 5, id='by its config'
        ),
        pytest.param(
            {}, [dict(out_channels=9), Neck(out_channels=4)], OF_16, [(4, 16)] * 5, id='by itself'
        ),
        pytest.param({}, [None, Neck()], OF_16, [], id='not told'),
        pytest.param({}, None, OF_16, [], id='no neck'),
    ],
)  # fmt: skip
def test_convolutions_are_made_where_channels_differ(settings, student, teacher, expected):
    term = FeatureTerm('PKDLoss', **settings)
    before = torch.get_rng_state()
    term.adapt(student, teacher)
    assert torch.equal(torch.get_rng_state(), before)  # the student sees what it would see alone
    found = [(each.in_channels, each.out_channels) for each in term.adaptation]
    assert found == expected
    assert all(each.kernel_size == (1, 1) for each in term.adaptation)


def test_the_convolutions_bring_the_student_to_the_teachers_channels():
    batch = make_batch(channels=(6, 6, 6))
    term = FeatureTerm('FitNetLoss')
    term.adapt(Neck(out_channels=4, num_outs=3), dict(out_channels=6))
    with torch.no_grad():
        adapted = [part(own) for part, own in zip(term.adaptation, batch.student, strict=True)]
    expected = sum(map(FitNetLoss(), adapted, batch.teacher))
    loss = term(batch, 1)
    assert torch.allclose(loss, expected)
    loss.backward()
    assert all(parameter.grad.any() for parameter in term.parameters())


def test_channels_without_a_number_of_levels_are_not_enough():
    with pytest.raises(ValueError, match='bring 4 channels to 16, and neither neck tells how many'):
        FeatureTerm('PKDLoss').adapt(Neck(out_channels=4), dict(out_channels=16))


def test_channels_that_nobody_told_are_named():
    message = 'level 0 has 4 channels for the student and 6 for the teacher, and the term FitNet'
    with pytest.raises(ValueError, match=message):
        FeatureTerm('FitNetLoss')(make_batch(channels=(6, 6, 6)), 1)
    term = FeatureTerm('FitNetLoss', student_channels=5, num_levels=2)
    term.adapt(None, dict(out_channels=6))
    with pytest.raises(ValueError, match='student has 4 channels and the term FitNetLoss expected'):
        term(make_batch(channels=(6, 6, 6)), 1)


# -- in a method -------------------------------------------------------------


def test_a_loss_of_features_makes_a_term_of_features():
    method = Method(
        [
            dict(loss='KDLoss', processors=['SortLogits']),
            dict(of='boxes', loss='KDLoss'),
            dict(loss=dict(type='PKDLoss'), num_levels=4),
            dict(type='FeatureTerm', loss='CWDLoss', name='channels'),
        ]
    )
    assert [type(term) for term in method.terms] == [Term, Term, FeatureTerm, FeatureTerm]
    assert method.needs == {'classes', 'boxes', 'features'}
    assert [term.name for term in method.feature_terms] == ['PKDLoss', 'channels']
    assert method.reads_logits
    assert Method(dict(loss='PKDLoss')).needs == {'features'}
    assert not Method(dict(loss='PKDLoss')).reads_logits


def test_a_method_of_features_alone_needs_no_logits():
    batch = make_batch()
    losses = Method([dict(loss='PKDLoss'), dict(loss='CWDLoss')])(None, 1, batch)
    assert list(losses) == ['loss_distill_0', 'loss_distill_1']
    assert torch.equal(losses['loss_distill_0'], FeatureTerm('PKDLoss')(batch, 1))


@pytest.mark.parametrize(
    ('config', 'error', 'message'),
    [
        (dict(type='FeatureTerm', loss='KDLoss'), TypeError, 'KDLoss is no loss of features'),
        (dict(type='Term', loss='PKDLoss'), TypeError, 'PKDLoss is a loss of features; expected'),
        (dict(type='Terms', loss='PKDLoss'), ValueError, "type of a term must be .*'Terms'"),
        (dict(loss='PKDLoss', processors=['SortLogits']), TypeError, "argument 'processors'"),
        (dict(loss='PKDLoss', num_levels=0), ValueError, 'num_levels must be'),
        (dict(loss='PKDLoss', student_channels=[0]), ValueError, 'student_channels must be'),
        (dict(loss='PKDLoss', teacher_channels='256'), TypeError, 'teacher_channels must be'),
    ],
)
def test_unfit_arguments_are_refused(config, error, message):
    with pytest.raises(error, match=message):
        Method([config])
