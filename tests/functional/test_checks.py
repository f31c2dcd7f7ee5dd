import importlib.util

import numpy as np
import pytest
import torch

from sortkd_det.functional import (
    check_choice,
    check_finite,
    check_labels,
    check_pair,
    check_positive,
    check_quantile,
    check_weight,
    check_whole,
    is_debug,
    set_debug,
)


@pytest.fixture
def restore_debug():
    """Leave debug mode as it was found."""
    before = is_debug()
    yield
    set_debug(before)


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


# -- choices, quantiles, whole numbers ---------------------------------------


def test_one_of_the_choices_comes_back_and_others_are_refused_by_all_names():
    assert check_choice('views', 'all', ('first', 'all')) == 'all'
    for value in ('second', '', None, 0):
        with pytest.raises(ValueError, match="views must be one of 'first', 'all', got") as error:
            check_choice('views', value, ('first', 'all'))
        assert repr(value) in str(error.value)


@pytest.mark.parametrize('value', [None, 0, 0.5, 1, np.float64(0.25)])
def test_quantiles_and_none_come_back(value):
    assert check_quantile('confidence_quantile', value) is value


@pytest.mark.parametrize('value', [1.01, -0.01, float('nan'), float('inf')])
def test_quantiles_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match='confidence_quantile must'):
        check_quantile('confidence_quantile', value)


@pytest.mark.parametrize('value', ['0.5', True, [0.5]])
def test_quantiles_that_are_no_number_are_refused(value):
    with pytest.raises(TypeError, match='confidence_quantile must be a number'):
        check_quantile('confidence_quantile', value)


def test_whole_numbers_come_back_from_their_minimum_on():
    assert check_whole('begin', 1) == 1
    assert check_whole('warmup', 0, minimum=0) == 0
    for value, minimum in ((0, 1), (-1, 0)):
        with pytest.raises(ValueError, match=f'begin must be at least {minimum}, got {value}'):
            check_whole('begin', value, minimum)


@pytest.mark.parametrize('value', [1.0, 1.5, True, False, '1', None])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match='begin must be a whole number, got'):
        check_whole('begin', value)


# -- debug mode --------------------------------------------------------------


def bad_logits():
    logits = torch.zeros(5, 3)
    logits[1, 2], logits[4, 0] = float('nan'), float('-inf')
    return logits


def test_in_debug_mode_rows_that_are_not_finite_are_counted_and_the_first_is_named(restore_debug):
    set_debug(True)
    assert is_debug()
    with pytest.raises(ValueError, match=r'the target must be finite; 2 of 5 rows .* is row 1'):
        check_finite(bad_logits(), 'the target')
    for fine in (torch.zeros(5, 3), torch.zeros(0, 3), torch.full((2, 3), 1e38)):
        check_finite(fine, 'the target')


def test_outside_debug_mode_no_number_is_looked_at(restore_debug):
    set_debug(False)
    assert not is_debug()
    check_finite(bad_logits(), 'the target')


@pytest.mark.parametrize('enabled', [True, False])
def test_labels_on_the_cpu_are_looked_at_in_either_mode(restore_debug, enabled):
    set_debug(enabled)
    with pytest.raises(ValueError, match='row 1 has 3'):
        check_labels(torch.zeros(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize('enabled', [True, False])
@pytest.mark.parametrize('bad', [-1.0, float('nan'), float('inf')])
def test_weights_on_the_cpu_are_looked_at_in_either_mode(restore_debug, enabled, bad):
    set_debug(enabled)
    check_weight(torch.tensor([0.0, 0.5, 3e38]), 3)
    with pytest.raises(ValueError, match=rf'numbers ≥ 0; row 1 has {bad} \(2 of 4 rows are out'):
        check_weight(torch.tensor([1.0, bad, 0.0, bad]), 4)


def test_numbers_on_other_devices_are_looked_at_where_the_host_may_wait(restore_debug):
    set_debug(False)
    logits, labels, weight = (torch.zeros(s, device='meta') for s in ((2, 3), 2, 2))
    check_labels(logits, labels.long())
    check_weight(weight, 2)
    # A tensor without numbers says so when it is asked for them.
    for check in (
        lambda: check_labels(logits, labels.long(), may_wait=True),
        lambda: check_weight(weight, 2, may_wait=True),
    ):
        with pytest.raises((RuntimeError, NotImplementedError), match='meta'):
            check()


@pytest.mark.parametrize(('value', 'expected'), [('1', True), ('0', False), ('', False)])
def test_the_environment_switches_debug_mode_on(monkeypatch, value, expected):
    monkeypatch.setenv('SORTKD_DEBUG', value)
    spec = importlib.util.find_spec('sortkd_det.functional.checks')
    anew = importlib.util.module_from_spec(spec)  # as a fresh process would import it
    spec.loader.exec_module(anew)
    assert anew.is_debug() is expected
