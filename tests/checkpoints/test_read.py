import functools
import os
import pickle
import threading
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from enum import StrEnum
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mmengine.runner.checkpoint
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR
from mmengine.runner import CheckpointLoader
from odd_checkpoints import Call, save, zip_and_legacy
from torch import nn

from sortkd_det.checkpoints import CheckpointRefused, load_checkpoint, restore_history, to_plain


@pytest.fixture
def canary(tmp_path):
    """A file that must not appear."""
    return tmp_path / 'canary'


@pytest.fixture
def hub():
    """MMEngine's own record of a run: scalars as HistoryBuffer, numbers beside them."""
    hub = MessageHub(f'test_checkpoint_{os.urandom(4).hex()}')
    for step in range(5):
        hub.update_scalar('train/loss', 3.0 / (step + 1), count=2)
    hub.update_scalar('val/coco/bbox_mAP', 0.25)
    hub.update_info('epoch', 3)
    hub.update_info('best_score', np.float64(0.25))
    return hub


def scalars_of(state):
    return {
        name: [values.tolist() for values in history.data]
        for name, history in state['log_scalars'].items()
    }


# -- nothing in a file is executed -------------------------------------------


def gadgets(canary):
    command = f'touch {canary}'
    code = f'open({str(canary)!r}, "w")'
    return {
        'system': Call(os.system, command),
        'eval': Call(eval, code),
        'exec': Call(exec, code),
        'open': Call(open, str(canary), 'w'),
        'Path.touch': Call(Path.touch, canary),
    }


GADGETS = pytest.mark.parametrize('name', ['system', 'eval', 'exec', 'open', 'Path.touch'])


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


# -- what is let through -----------------------------------------------------


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


# -- files that are no checkpoints -------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth does not exist'):
        load_checkpoint(str(tmp_path / 'nowhere.pth'))


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


# -- plain types and back ----------------------------------------------------


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


# -- MMEngine's loaders are ours ---------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a folder, served over http; torch's hub folder is a fresh one."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    folder, hub_folder = tmp_path / 'served', tmp_path / 'hub'
    folder.mkdir()
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(hub_folder))
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
    torch.hub.set_dir(before)


def load_with_mmengine(address):
    return CheckpointLoader.load_checkpoint(str(address), map_location='cpu')


@GADGETS
def test_mmengine_reads_local_files_through_ours(tmp_path, canary, hub, name):
    good = save({'message_hub': hub.state_dict()}, tmp_path / 'good.pth')
    assert scalars_of(load_with_mmengine(good)['message_hub']) == scalars_of(hub.state_dict())
    bad = save({'state_dict': {}, 'meta': gadgets(canary)[name]}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointRefused):
        load_with_mmengine(bad)
    assert not canary.exists()


@zip_and_legacy
def test_mmengine_reads_http_addresses_through_ours(server, canary, hub, as_zip):
    folder, address = server
    save({'message_hub': hub.state_dict()}, folder / 'good.pth')
    loaded = load_with_mmengine(f'{address}/good.pth')
    assert scalars_of(loaded['message_hub']) == scalars_of(hub.state_dict())
    save({'state_dict': {}, 'meta': gadgets(canary)['system']}, folder / 'bad.pth', as_zip)
    with pytest.raises(CheckpointRefused, match='system'):
        load_with_mmengine(f'{address}/bad.pth')
    assert not canary.exists()


def test_an_address_is_downloaded_once_into_torchs_hub_folder(server):
    folder, address = server
    save({'epoch': 1}, folder / 'x.pth')
    assert load_checkpoint(f'{address}/x.pth') == {'epoch': 1}
    (folder / 'x.pth').unlink()
    assert load_checkpoint(f'{address}/x.pth') == {'epoch': 1}
    assert os.listdir(Path(torch.hub.get_dir()) / 'checkpoints') == ['x.pth']


def test_a_failed_download_says_where_to_place_the_file(server):
    _, address = server
    place = Path(torch.hub.get_dir()) / 'checkpoints' / 'nowhere.pth'
    with pytest.raises(FileNotFoundError, match='could not be downloaded') as error:
        load_checkpoint(f'{address}/nowhere.pth')
    assert str(place) in str(error.value)
    assert not place.exists()


def test_a_download_that_does_not_fit_the_digest_in_its_name_is_refused(server):
    folder, address = server
    save({'epoch': 1}, folder / 'r50-0123abcd.pth')
    with pytest.raises((ValueError, FileNotFoundError), match=r'r50-0123abcd\.pth'):
        load_checkpoint(f'{address}/r50-0123abcd.pth')
    assert not (Path(torch.hub.get_dir()) / 'checkpoints' / 'r50-0123abcd.pth').exists()


def serve_as(monkeypatch, names, address):
    """Let MMEngine's lists of named weights give ``address`` for the name ``net``."""
    monkeypatch.setattr(mmengine.runner.checkpoint, names, lambda: {'net': address})


def test_mmengine_reads_named_backbones_through_ours(server, canary, monkeypatch):
    folder, address = server
    names = {'good': f'{address}/good.pth', 'bad': f'{address}/bad.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: names)
    save({'epoch': 1}, folder / 'good.pth')
    save(gadgets(canary), folder / 'bad.pth')
    for scheme in ('open-mmlab', 'openmmlab'):
        assert load_with_mmengine(f'{scheme}://good') == {'epoch': 1}
        with pytest.raises(CheckpointRefused):
            load_with_mmengine(f'{scheme}://bad')
        with pytest.raises(ValueError, match=f'unknown backbone {scheme}://nowhere.*bad, good'):
            load_with_mmengine(f'{scheme}://nowhere')
    assert not canary.exists()


@pytest.mark.parametrize(
    ('scheme', 'names'),
    [
        ('torchvision', 'get_torchvision_models'),
        ('modelzoo', 'get_torchvision_models'),
        ('mmcls', 'get_mmcls_models'),
    ],
)
def test_no_other_scheme_of_mmengine_runs_code(server, canary, monkeypatch, scheme, names):
    folder, address = server
    save({'state_dict': {}, 'meta': gadgets(canary)['system']}, folder / 'bad.pth')
    serve_as(monkeypatch, names, f'{address}/bad.pth')
    with pytest.raises(CheckpointRefused):
        load_with_mmengine(f'{scheme}://net')
    assert not canary.exists()


def test_weights_of_mmclassification_are_those_of_the_backbone(server, monkeypatch):
    folder, address = server
    weights = {'backbone.conv.weight': torch.ones(2), 'head.fc.weight': torch.zeros(3)}
    save({'state_dict': weights}, folder / 'net.pth')
    serve_as(monkeypatch, 'get_mmcls_models', f'{address}/net.pth')
    loaded = load_with_mmengine('mmcls://net')['state_dict']
    assert set(loaded) == {'conv.weight'}
    assert torch.equal(loaded['conv.weight'], torch.ones(2))


def test_names_that_mmengine_replaced_still_find_their_weights(server, monkeypatch):
    folder, address = server
    save({'epoch': 2}, folder / 'new.pth')
    renamed = {'resnet50_caffe': 'detectron/resnet50_caffe'}
    monkeypatch.setattr(mmengine.runner.checkpoint, 'get_deprecated_model_names', lambda: renamed)
    names = {'detectron/resnet50_caffe': f'{address}/new.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: names)
    assert load_with_mmengine('open-mmlab://resnet50_caffe') == {'epoch': 2}
