"""Checkpoints of plain types, and back."""

import pickle
import warnings
from collections import Counter, OrderedDict, deque
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR
from odd_checkpoints import save, scalars_of, zip_and_legacy
from torch import nn

from sortkd_det.checkpoints import load_checkpoint, restore_history, to_plain


def full_checkpoint(hub):
    """What a Runner hands to ``before_save_checkpoint``, and then some."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    return {
        'meta': {
            'seed': np.int64(1),
            'dataset_meta': {'classes': ('a', 'b'), 'palette': np.arange(6).reshape(2, 3)},
            'cfg': ConfigDict(a=ConfigDict(b=[1])),
            np.str_('key'): np.bool_(True),
        },
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [OrderedDict(last_step=np.int32(3), milestones={8, 11})],
        'message_hub': hub.state_dict(),
    }


@zip_and_legacy
def test_a_plain_checkpoint_needs_no_allow_list(tmp_path, hub, as_zip):
    checkpoint = full_checkpoint(hub)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(save(checkpoint, tmp_path / 'x.pth', as_zip), weights_only=True)
    plain = to_plain(checkpoint)
    loaded = torch.load(save(plain, tmp_path / 'x.pth', as_zip), weights_only=True)
    assert loaded['meta'] == {
        'seed': 1,
        'dataset_meta': {'classes': ('a', 'b'), 'palette': [[0, 1, 2], [3, 4, 5]]},
        'cfg': {'a': {'b': [1]}},
        'key': True,
    }
    assert loaded['param_schedulers'] == [{'last_step': 3, 'milestones': {8, 11}}]
    assert loaded['optimizer']['param_groups'] == checkpoint['optimizer']['param_groups']
    for key, value in checkpoint['state_dict'].items():
        assert torch.equal(loaded['state_dict'][key], value)


def test_plain_types_are_plain_to_the_last(hub):
    def kinds(value):
        yield type(value)
        if isinstance(value, dict):
            for key, item in value.items():
                yield from kinds(key)
                yield from kinds(item)
        elif isinstance(value, list | tuple | set):
            for item in value:
                yield from kinds(item)

    plain = {dict, list, tuple, set, str, int, float, bool, type(None), OrderedDict, torch.Tensor}
    assert set(kinds(to_plain(full_checkpoint(hub)))) <= plain


def test_weights_keep_their_order_and_their_versions(hub):
    weights = full_checkpoint(hub)['state_dict']
    plain = to_plain(weights)
    assert list(plain) == list(weights)
    assert plain._metadata == weights._metadata
    assert all(plain[key] is weights[key] for key in weights)  # no copies of tensors


def test_to_plain_leaves_what_it_was_given_as_it_is(hub):
    state = hub.state_dict()
    before = scalars_of(state)
    to_plain(state)
    assert scalars_of(state) == before


def test_histories_come_back_as_they_were(hub):
    state = hub.state_dict()
    state['log_scalars']['train/short'] = HistoryBuffer([1.0, 2.0], [1, 3], max_length=2)
    state['log_scalars']['train/none'] = HistoryBuffer()
    plain = to_plain(state)
    short = plain['log_scalars']['train/short']
    assert short['log_history'].tolist() == [1.0, 2.0]
    assert short['count_history'].tolist() == [1, 3]
    assert short['max_length'] == 2
    restore_history(plain)
    assert scalars_of(plain) == scalars_of(state)
    for name, history in plain['log_scalars'].items():
        assert history.max_length == state['log_scalars'][name].max_length
    short = plain['log_scalars']['train/short']
    assert short.mean() == pytest.approx(3 / 4)  # sum of the values over sum of the counts
    short.update(3.0)
    assert short.data[0].tolist() == [2.0, 3.0]


def test_histories_in_lists_are_read_too():
    """As checkpoints held them at first."""
    history = {'log_history': [1.0, 2.0], 'count_history': [1, 3], 'max_length': 2}
    hub = {'log_scalars': {'loss': history}}
    restore_history(hub)
    assert hub['log_scalars']['loss'].data[0].tolist() == [1.0, 2.0]
    assert hub['log_scalars']['loss'].data[1].tolist() == [1, 3]


def test_functions_are_left_out_and_what_else_is_not_plain_is_named(tmp_path):
    scheduler = OneCycleLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1), 1.0, total_steps=9
    )
    state = scheduler.state_dict()
    assert any(callable(value) for value in state.values())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plain = to_plain({'param_schedulers': [state]})
    torch.save(plain, tmp_path / 'x.pth')
    (loaded,) = load_checkpoint(tmp_path / 'x.pth')['param_schedulers']
    assert loaded == {key: value for key, value in state.items() if not callable(value)}
    assert {'last_step', 'total_steps'} <= set(loaded)
    with pytest.warns(UserWarning, match=r'without an entry of .*Path'):
        assert to_plain({'a': [Path('a'), 1], 'b': Path('b')}) == {'a': [None, 1]}


def test_kinds_of_plain_types_become_those(tmp_path):
    class Colour(StrEnum):
        RED = 'red'

    class Number(int):
        pass

    odd = {
        'enum': Colour.RED,
        'number': Number(3),
        'deque': deque([1, 2], maxlen=2),
        'range': range(2),
        'frozen': frozenset({1}),
        'flag': np.bool_(True),
        'device': torch.device('cpu'),
        'size': torch.Size([2, 3]),
        'counts': Counter('aab'),
    }
    torch.save(to_plain(odd), tmp_path / 'x.pth')
    assert load_checkpoint(tmp_path / 'x.pth') == {
        'enum': 'red',
        'number': 3,
        'deque': [1, 2],
        'range': [0, 1],
        'frozen': [1],
        'flag': True,
        'device': torch.device('cpu'),
        'size': torch.Size([2, 3]),
        'counts': {'a': 2, 'b': 1},
    }


def test_restoring_leaves_alone_what_is_no_plain_history(hub):
    restore_history({})
    state = hub.state_dict()
    other = {'log_history': [1.0]}
    state['log_scalars']['odd'] = other
    before = dict(state['log_scalars'])
    restore_history(state)
    assert all(state['log_scalars'][name] is before[name] for name in before)


@pytest.mark.parametrize(
    'changes',
    [
        {'log_history': 'abc'},
        {'log_history': [[1.0]]},
        {'log_history': ['a']},
        {'log_history': [1.0, 2.0]},
        {'count_history': None},
        {'max_length': 0},
        {'max_length': 1.5},
        {'max_length': 'x'},
    ],
)
def test_a_damaged_history_is_named(changes):
    entry = {'log_history': [1.0], 'count_history': [1], 'max_length': 5}
    with pytest.raises(ValueError, match="the history of 'train/loss' is not two rows"):
        restore_history({'log_scalars': {'train/loss': entry | changes}})
