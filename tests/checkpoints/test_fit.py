"""Weights are found wherever programs put them, and one prefix is taken off where all then fit."""

from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from sortkd_det.checkpoints import fit_weights, starting_weights
from sortkd_det.checkpoints.fit import find_weights, fit_names


class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, num_classes)


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return Net().state_dict()


def prefixed(prefix, weights):
    return OrderedDict((f'{prefix}{name}', value) for name, value in weights.items())


@pytest.fixture
def said(tmp_path):
    """What the log says; call it."""
    path = tmp_path / 'run.log'
    MMLogger.get_instance(f'test_weights_{tmp_path.name}', log_file=str(path))
    return path.read_text


def loads(checkpoint, weights):
    """Whether a fresh net then has these weights, to the bit."""
    net = Net()
    fit_weights(net, checkpoint, 'x.pth')
    return all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


# -- places ------------------------------------------------------------------


@pytest.mark.parametrize(
    'place',
    ['', 'state_dict', 'model', 'net', 'model_state_dict', 'ema', 'model_ema', 'ema.module']
    + ['model.state_dict', 'state_dict_ema', 'params_ema'],
)
def test_weights_are_found_under_the_usual_keys(weights, place):
    checkpoint = weights
    for key in reversed(place.split('.') if place else []):
        checkpoint = {key: checkpoint, 'epoch': 3, 'optimizer': {'state': {}}}
    assert find_weights(checkpoint, 'x.pth') == (place, weights)
    assert loads(checkpoint, weights)


def test_plain_weights_come_before_averages_and_the_log_says_which(weights, said):
    averages = {name: torch.zeros_like(value) for name, value in weights.items()}
    checkpoint = {'ema': {'module': averages, 'updates': 3}, 'model': weights}
    assert loads(checkpoint, weights)
    assert "x.pth: the weights under its key 'model' are taken; it has others under ema.module" in (
        said()
    )


def test_the_averages_of_mmengine_lie_in_state_dict_and_nothing_is_said(weights, said):
    other = {**prefixed('module.', weights), 'steps': torch.tensor(3)}
    assert loads({'state_dict': weights, 'ema_state_dict': other}, weights)
    assert 'x.pth' not in said()


@pytest.mark.parametrize(
    'checkpoint',
    [{}, {'state_dict': {}}, {'meta': {}}, {'ema': 1}, {'net': {3: torch.ones(1)}}]
    + [{'model': {'w': [1.0]}}, {'a': {'b': torch.ones(1)}}],
)
def test_a_checkpoint_without_weights_is_refused(checkpoint):
    with pytest.raises(ValueError, match=r'x\.pth holds no weights: expected a dict of tensors'):
        find_weights(checkpoint, 'x.pth')


# -- prefixes ----------------------------------------------------------------


@pytest.mark.parametrize(
    'prefix', ['module.', 'module.student.', '_orig_mod.', 'model.', 'module._orig_mod.net.']
)
def test_one_prefix_is_taken_off_where_all_names_then_fit(weights, said, prefix):
    assert loads({'net': prefixed(prefix, weights)}, weights)
    assert f"x.pth: the prefix '{prefix}' is taken off all 9 names" in said()


def test_names_that_fit_are_left_alone(weights, said):
    fit = fit_names(weights, weights)
    assert (fit.prefix, fit.all_fit, fit.weights) == ('', True, weights)
    assert loads({'state_dict': weights}, weights)
    assert 'x.pth' not in said()


def test_a_part_that_the_model_calls_module_keeps_its_name():
    wanted = {'module.weight': 0, 'module.bias': 0}
    assert fit_names({'module.weight': torch.ones(1)}, wanted).prefix == ''


def test_versions_of_modules_keep_to_their_modules(weights):
    """Modules that renamed their weights ask for the version that saved them."""
    given = prefixed('module.student.', weights)
    given._metadata = OrderedDict(
        (f'module.student.{name}'.rstrip('.'), version)
        for name, version in weights._metadata.items()
    )
    given._metadata['module'] = {'version': 9}
    fit = fit_names(given, weights)
    assert {key: fit.weights._metadata[key] for key in weights._metadata} == weights._metadata
    assert weights._metadata['backbone.1'] == {'version': 2}


def test_counters_of_averages_are_no_weights(weights):
    given = {**prefixed('module.', weights), 'steps': torch.tensor(7)}
    assert loads({'ema_state_dict': given}, weights)
    assert loads({**given, 'n_averaged': torch.tensor(7)}, weights)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_the_second_set_of_weights_of_mmdetection_2_is_not_unexpected(weights, prefix):
    copies = {f'ema_{name.replace(".", "_")}': value * 0 for name, value in weights.items()}
    assert 'ema_backbone_0_weight' in copies
    assert loads({'state_dict': prefixed(prefix, {**weights, **copies})}, weights)
    with pytest.raises(ValueError, match='1 unexpected: ema_backbone_7_weight'):
        loads({**weights, **copies, 'ema_backbone_7_weight': torch.ones(1)}, weights)


def test_a_prefix_that_leaves_a_name_over_is_not_taken_off_in_silence(weights, said):
    given = prefixed('model.', {**weights, 'loss.weight': torch.ones(1)})
    with pytest.raises(ValueError, match='do not fit this Net') as error:
        loads({'state_dict': given}, weights)
    assert '1 unexpected: loss.weight | compared without the prefix ' in str(error.value)
    assert "'model.' that all names there have" in str(error.value)
    assert 'missing' not in str(error.value)
    assert 'prefix' not in said()


# -- a run that begins with weights ------------------------------------------


def test_a_run_may_begin_with_weights_under_another_key_and_prefix(weights):
    given = prefixed('module.student.', Net(7).state_dict())  # another number of classes
    assert list(starting_weights(Net(), {'net': given}, 'x.pth')) == list(weights)


def test_of_weights_that_fit_in_part_the_prefix_of_ddp_is_taken_off(weights):
    given = {**prefixed('module.', weights), 'module.aux.weight': torch.ones(1)}
    assert set(starting_weights(Net(), given, 'x.pth')) == {*weights, 'aux.weight'}


def test_another_prefix_is_named_where_some_would_fit_without_it(weights):
    given = prefixed('model.', {**weights, 'aux.weight': torch.ones(1)})
    with pytest.raises(ValueError, match=r"x\.pth is nothing .*: none of its 10 .*'model\.', wi"):
        starting_weights(Net(), given, 'x.pth')


@pytest.mark.parametrize('weights', [{3: torch.ones(2)}, {'w': [1.0]}])
def test_weights_without_names_or_values_are_refused(weights):
    with pytest.raises(ValueError, match=r'x\.pth holds no weights'):
        find_weights({'state_dict': weights}, 'x.pth')


@pytest.mark.parametrize('same', [True, False])
def test_weights_under_a_second_name_are_not_unexpected(same):
    """MMDetection gives parts of DDQ's head to its decoder too, while it trains."""
    model = nn.ModuleDict({'head': nn.ModuleDict({'branches': nn.Linear(2, 2)})})
    weights = model.state_dict()
    for name in ('weight', 'bias'):
        weights[f'decoder.branches.{name}'] = weights[f'head.branches.{name}'].clone()
    if same:
        fit_weights(model, weights, 'x.pth')
        return
    weights['decoder.branches.weight'] += 1
    with pytest.raises(ValueError, match=r'2 unexpected: decoder\.branches\.weight'):
        fit_weights(model, weights, 'x.pth')
