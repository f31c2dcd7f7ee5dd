"""Checkpoints are read as data: nothing in a file is executed, odd entries are named."""

import os
import pickle
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Call
from mmengine.logging import HistoryBuffer, MessageHub
from odd_checkpoints import GADGETS, HUB, gadgets, save, scalars_of, zip_and_legacy
from torch import nn

from sortkd_det.checkpoints import CheckpointRefused, load_checkpoint


@zip_and_legacy
@GADGETS
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, canary, as_zip, name):
    content = {'state_dict': {'weight': torch.ones(2)}, 'meta': gadgets(canary)[name]}
    path = save(content, tmp_path / 'bad.pth', as_zip)
    with pytest.raises(CheckpointRefused) as error:
        load_checkpoint(path)
    assert not canary.exists()
    for part in (path, {'Path.touch': 'pathlib.Path'}.get(name, name), 'could run code'):
        assert str(part) in str(error.value)
    # The gadget is a real one.
    torch.load(path, weights_only=False)
    assert canary.exists()


@GADGETS
def test_a_bare_pickle_runs_no_code(tmp_path, canary, name):
    (tmp_path / 'bad.pth').write_bytes(pickle.dumps(gadgets(canary)[name]))
    with pytest.raises(ValueError, match=r'bad\.pth'):
        load_checkpoint(str(tmp_path / 'bad.pth'))
    assert not canary.exists()


@zip_and_legacy
@pytest.mark.parametrize(
    ('content', 'name'),
    [
        (nn.Linear(2, 2), 'torch.nn.modules.linear.Linear'),
        (defaultdict(int), 'collections.defaultdict'),
        (Path('x'), 'pathlib.PosixPath'),
        (os.path.join, 'posixpath.join'),
        (np.random.RandomState, 'numpy.random'),
    ],
)
def test_the_object_that_is_not_let_through_is_named(tmp_path, as_zip, content, name):
    path = save({'state_dict': {}, 'extra': content}, tmp_path / 'odd.pth', as_zip)
    with pytest.raises(CheckpointRefused, match=name.replace('.', r'\.')):
        load_checkpoint(path)


@pytest.mark.parametrize('content', [np.bool_(True), np.array(['a']), np.complex64(1)])
def test_a_numpy_type_that_is_not_let_through_is_named(tmp_path, content):
    path = save({'state_dict': {}, 'extra': content}, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointRefused, match='a NumPy array of dtype'):
        load_checkpoint(path)


@zip_and_legacy
@pytest.mark.parametrize(
    'arguments',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '__class__'),
        (HistoryBuffer, '__subclasshook__'),
        (HistoryBuffer, 'statistics'),
        (HistoryBuffer, 'register_statistics'),
        (np.ndarray, 'tofile'),
        (np.ndarray, 'min'),
        (Call(getattr, HistoryBuffer, 'min'), '__globals__'),
        (HistoryBuffer, 'min', 0),
        ([], 'append'),
    ],
)
def test_getattr_yields_nothing_but_the_statistics_of_history_buffers(tmp_path, as_zip, arguments):
    path = save({'state_dict': {}, 'extra': Call(getattr, *arguments)}, tmp_path / 'x.pth', as_zip)
    with pytest.raises(ValueError, match=r'getattr|_history_statistic'):
        load_checkpoint(path)


def test_a_history_buffers_statistics_cannot_be_called(tmp_path):
    call = Call(HistoryBuffer.min, HistoryBuffer([1.0], [1]))
    path = save({'state_dict': {}, 'extra': call}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointRefused):
        load_checkpoint(path)


def test_the_allow_list_holds_while_ours_loads_and_no_longer(tmp_path, hub):
    before = set(map(str, torch.serialization.get_safe_globals()))
    path = save({'message_hub': hub.state_dict()}, tmp_path / 'x.pth')
    load_checkpoint(path)
    assert set(map(str, torch.serialization.get_safe_globals())) == before  # in no fixed order
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@zip_and_legacy
def test_checkpoints_with_history_buffers_are_read(tmp_path, hub, as_zip):
    weights = {'weight': torch.randn(3)}
    content = {'state_dict': weights, 'message_hub': hub.state_dict(), 'meta': {'epoch': 3}}
    loaded = load_checkpoint(save(content, tmp_path / 'old.pth', as_zip))
    assert scalars_of(loaded['message_hub']) == scalars_of(hub.state_dict())
    assert loaded['message_hub']['runtime_info']['best_score'] == 0.25
    assert torch.equal(loaded['state_dict']['weight'], weights['weight'])
    other = MessageHub(f'{hub.instance_name}_resumed')
    other.load_state_dict(loaded['message_hub'])
    assert other.get_scalar('train/loss').mean(2) == hub.get_scalar('train/loss').mean(2)


@pytest.mark.parametrize('dtype', ['f8', 'f4', 'i8', 'i4'])
def test_numpy_arrays_and_scalars_of_numbers_are_read(tmp_path, dtype):
    array = np.arange(3, dtype=dtype)
    loaded = load_checkpoint(save({'array': array, 'scalar': array[1]}, tmp_path / 'x.pth'))
    np.testing.assert_array_equal(loaded['array'], array)
    assert loaded['array'].dtype == array.dtype
    assert loaded['scalar'] == 1


def test_the_config_in_meta_is_left_out_and_nothing_else(tmp_path):
    meta = {'config': 'import os', 'epoch': 3, 'dataset_meta': {'classes': ('a', 'b')}}
    content = {'state_dict': {'config': torch.ones(1)}, 'meta': meta, 'optimizer': {'config': 1}}
    loaded = load_checkpoint(save(content, tmp_path / 'x.pth'))
    assert loaded['meta'] == {'epoch': 3, 'dataset_meta': {'classes': ('a', 'b')}}
    assert loaded['optimizer'] == {'config': 1}
    assert 'config' in loaded['state_dict']


def test_a_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    save({'epoch': 1}, tmp_path / 'x.pth')
    assert load_checkpoint('~/x.pth') == {'epoch': 1}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth does not exist'):
        load_checkpoint(str(tmp_path / 'nowhere.pth'))
    with pytest.raises(FileNotFoundError, match=r'is a folder, expected a file in it'):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'hello world, this is no checkpoint\n',
        b'<!DOCTYPE html><html><title>404 Not Found</title></html>',
        b'{"state_dict": {}}',
        b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n',
        b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR',
        b'PK\x03\x04 no zip after all',
        pickle.dumps({'state_dict': {}}),
    ],
    ids=['empty', 'text', 'html', 'json', 'git-lfs', 'png', 'zip-head', 'pickle'],
)
def test_a_file_that_is_no_checkpoint_is_called_so(tmp_path, content):
    (tmp_path / 'odd.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'odd\.pth is not a PyTorch checkpoint') as error:
        load_checkpoint(str(tmp_path / 'odd.pth'))
    assert 'weights_only' not in str(error.value)


@pytest.mark.parametrize(
    'content',
    [
        b'.',
        b'<!DOCTYPE html><html><title>404 Not Found</title></html>',
        b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n',
    ],
    ids=['an empty stack', 'html', 'git-lfs'],
)
def test_a_file_of_another_kind_is_known_by_its_beginning(tmp_path, content):
    (tmp_path / 'odd.pth').write_bytes(content)
    with pytest.raises(
        ValueError, match=f'damaged: it begins with {re.escape(repr(content[:40]))}'
    ):
        load_checkpoint(str(tmp_path / 'odd.pth'))


@zip_and_legacy
def test_a_truncated_checkpoint_is_called_damaged_wherever_it_was_cut(tmp_path, as_zip):
    save({'state_dict': {'weight': torch.randn(20)}}, tmp_path / 'full.pth', as_zip)
    content = (tmp_path / 'full.pth').read_bytes()
    surprises = {}
    for cut in range(1, len(content) - 1, 7):
        (tmp_path / 'cut.pth').write_bytes(content[:cut])
        try:
            load_checkpoint(str(tmp_path / 'cut.pth'))
        except Exception as error:
            told = 'is not a PyTorch checkpoint, or is damaged' in str(error)
            if not (isinstance(error, ValueError) and told):
                surprises[cut] = repr(error)[:120]
        else:
            surprises[cut] = 'loaded'
    assert surprises == {}


@pytest.mark.parametrize(
    ('content', 'kind'), [([1, 2], 'list'), (torch.ones(2), 'Tensor'), (None, 'NoneType')]
)
def test_a_file_that_holds_no_dict_is_told_what_it_holds(tmp_path, content, kind):
    path = save(content, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=f'holds a {kind}, expected a dict with a state_dict'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({'meta': 'text'}, "meta, has 'text', expected a dict"),
        ({'meta': {1: 'x'}}, 'meta, has 1, expected names as its keys'),
        ({'meta': {'epoch': 'x'}}, "meta.epoch, has 'x', expected a whole number"),
        ({'meta': {'epoch': -1}}, 'meta.epoch'),
        ({'meta': {'iter': 2**40}}, 'meta.iter'),
        ({'meta': {'iter': float('nan')}}, 'meta.iter'),
        ({'meta': {'seed': 2**32}}, 'meta.seed'),
        ({'meta': {'dataset_meta': [1]}}, r'meta.dataset_meta, has \[1\], expected a dict'),
        (
            {'meta': {'dataset_meta': {'classes': 5}}},
            'meta.dataset_meta.classes, has 5, expected a list',
        ),
        ({'meta': {'CLASSES': [1, 2]}}, r'meta\.CLASSES, has \[1, 2\], expected a list of names'),
        ({'state_dict': [torch.ones(1)]}, 'state_dict, has .*, expected a dict'),
        ({'message_hub': [1]}, 'message_hub, has .*, expected a dict'),
        (
            {'message_hub': {'log_scalars': {}}},
            'message_hub.runtime_info, has None, expected a dict',
        ),
        (
            {'message_hub': {**HUB, 'runtime_info': {'keep_ckpt_ids': ['../../x']}}},
            'message_hub.runtime_info.keep_ckpt_ids, has .*, expected a list of steps',
        ),
    ],
)
def test_an_entry_of_another_kind_is_named(tmp_path, content, said):
    path = save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=rf'x\.pth, at {said}'):
        load_checkpoint(path)


def test_a_resumed_checkpoint_runs_nothing_and_deletes_nothing(tmp_path, classifier, start):
    classifier.custom_hooks = []
    classifier.train_cfg.max_epochs = 1
    classifier.default_hooks.checkpoint.max_keep_ckpts = 1
    start(classifier).train()
    canary, victim = tmp_path / 'canary', tmp_path / 'best_thesis.pth'
    victim.write_text('years of work')
    first = tmp_path / 'classifier/epoch_1.pth'
    content = torch.load(first, weights_only=True)
    content['meta']['config'] = f'open({str(canary)!r}, "w")'
    info = content['message_hub']['runtime_info']
    info.update(stopped_ckpt=str(victim), last_ckpt=str(victim), best_ckpt=str(victim))
    info.update(best_score=-1.0, cfg=content['meta']['config'])
    (tmp_path / 'from').mkdir()
    classifier.load_from = str(save(content, tmp_path / 'from/x.pth'))
    classifier.train_cfg.max_epochs = 2
    runner = start(classifier, work_dir=str(tmp_path / 'second'), resume=True)
    runner.train()
    assert runner.epoch == 2
    assert not canary.exists()
    assert victim.read_text() == 'years of work'
    # Its own files it may delete: the record of a run is kept.
    own = load_checkpoint(first)['message_hub']['runtime_info']
    assert Path(own['best_ckpt']).parent == tmp_path / 'classifier'
