import numpy as np
import pytest
import torch

from sortkd_det.functional import check_pair, check_positive


@pytest.mark.parametrize('value', [1, 0.5, np.float32(2), np.int64(3)])
def test_positive_numbers_come_back(value):
    assert check_positive('temperature', value) is value


@pytest.mark.parametrize('value', ['4', None, True, [1], torch.tensor(1.0), 1j])
def test_what_is_no_number_is_refused_by_its_name(value):
    with pytest.raises(TypeError, match='temperature must be a number, got'):
        check_positive('temperature', value)


@pytest.mark.parametrize('value', [0, -1, float('inf'), float('-inf'), float('nan')])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match='temperature must be a finite number > 0, got'):
        check_positive('temperature', value)


def test_zero_passes_where_it_is_allowed_and_less_does_not():
    assert check_positive('weight', 0, allow_zero=True) == 0
    for value in (-1e-9, float('inf'), float('nan')):
        with pytest.raises(ValueError, match='weight must be a finite number ≥ 0, got'):
            check_positive('weight', value, allow_zero=True)


@pytest.mark.parametrize('shape', [(3, 5), (2, 4), (2, 1)])
def test_a_pair_of_differing_shapes_is_refused(shape):
    with pytest.raises(ValueError, match=r'^(student and )?target must'):
        check_pair(torch.zeros(2, 5), torch.zeros(shape))


def test_the_side_that_is_no_logits_is_named():
    logits = torch.zeros(2, 5)
    with pytest.raises(TypeError, match='student must be of a floating dtype'):
        check_pair(logits.long(), logits)
    with pytest.raises(TypeError, match='target must be a Tensor, got ndarray'):
        check_pair(logits, logits.numpy())
    with pytest.raises(ValueError, match=r'target must have shape \(N, C\), got \(5,\)'):
        check_pair(logits, logits[0])
