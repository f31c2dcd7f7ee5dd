import pytest
import torch
from mmdet.models.losses.utils import weight_reduce_loss

from sortkd_det.functional import reduce_rows

losses = torch.tensor([1.0, 2.0, 4.0, 8.0])
some_weight = torch.tensor([0.5, 0.0, 1.0, 2.0])


@pytest.mark.parametrize('weight', [None, some_weight, torch.zeros(4)])
@pytest.mark.parametrize('avg_factor', [None, 3, 2.5, 0, torch.tensor(3.0)])
def test_equals_mmdetections_reduction(weight, avg_factor):
    expected = weight_reduce_loss(losses, weight, avg_factor=avg_factor)
    torch.testing.assert_close(reduce_rows(losses, weight, avg_factor), expected, rtol=0, atol=0)


@pytest.mark.parametrize(('weight', 'expected'), [(None, 3.0), (torch.tensor([0.5]), 1.5)])
def test_a_single_row_is_its_own_average(weight, expected):
    assert reduce_rows(torch.tensor([3.0]), weight) == expected


@pytest.mark.parametrize('avg_factor', [None, 0.0, 2.0])
@pytest.mark.parametrize('weight', [None, torch.zeros(0)])
def test_no_rows_give_a_zero_that_keeps_its_graph(weight, avg_factor):
    none = torch.zeros(0, requires_grad=True)
    total = reduce_rows(none * 2, weight, avg_factor)
    assert total.shape == ()
    assert float(total.detach()) == 0
    total.backward()
    assert none.grad.shape == (0,)


@pytest.mark.parametrize('shape', [(4, 4), (4, 1), (1, 4), ()])
@pytest.mark.parametrize('weight', [None, some_weight])
def test_losses_that_are_not_one_number_a_row_are_refused(shape, weight):
    with pytest.raises(ValueError, match='must give one number per row'):
        reduce_rows(torch.ones(shape), weight)


@pytest.mark.parametrize('shape', [(3,), (5,), (4, 1), (1,), ()])
def test_a_weight_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r'shape \(4,\), got'):
        reduce_rows(losses, torch.ones(shape))
