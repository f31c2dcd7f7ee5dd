"""Files from strangers: read, or refused by name; none runs code, hangs or fills the memory.

What the tests of a room prove of its own loaders is not repeated here; docs/security.md lists all.

python -m pytest tests/test_hostile_files.py            the quick part
python -m pytest tests/test_hostile_files.py -m slow -s  1,000 mutations and more of each kind
"""

import collections
import contextlib
import copy
import io
import json
import pickle
import re
import struct
import tarfile
import threading
import time
import warnings
import zipfile
import zlib
from _codecs import encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import FUNCTIONS
from odd_checkpoints import Call, save, zip_and_legacy
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from sortkd_det.checkpoints import load_checkpoint
from sortkd_det.checkpoints import read as checkpoint
from sortkd_det.checkpoints.fit import find_weights
from sortkd_det.checkpoints.read import restore_history
from sortkd_det.classification.data import CIFAR, decode_image
from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner

REPO = Path(__file__).parents[1]
GIB = 2**30
DAMAGED = 'is not a PyTorch checkpoint, or is damaged: '


def repack(path, compression=zipfile.ZIP_STORED, **changed):
    """Write a checkpoint's records anew; ``changed``: contents by name, dots left out."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in records.items():
            archive.writestr(name, changed.get(Path(name).name.replace('.', ''), content))
    return path


def with_pickle(path, pickled):
    """A checkpoint of sound records whose pickle holds ``pickled``."""
    return repack(save({}, path), datapkl=b'\x80\x02' + pickled + b'.')


def edited(path, old, new, as_zip=True):
    """A checkpoint of one (2, 2) tensor with a place of its pickle changed."""
    save({'w': torch.arange(4.0).view(2, 2)}, path, as_zip)
    if as_zip:
        with zipfile.ZipFile(path) as archive:
            pickled = archive.read(f'{path.stem}/data.pkl')
        assert pickled.count(old) == 1
        return repack(path, datapkl=pickled.replace(old, new))
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


SIZE, STRIDE = b'K\x02K\x02\x86', b'K\x02K\x01\x86'  # of that tensor
BILLION = b'J' + struct.pack('<i', 10**9)


# -- checkpoints: bombs ---------------------------------------------------------------------------


def deflated(content, **changed):
    return lambda path: repack(save(content, path), zipfile.ZIP_DEFLATED, **changed)


def of_pickle(pickled):
    return lambda path: with_pickle(path, pickled)


def of(content):
    return lambda path: save({'x': content}, path)


def old_tensor(old, new):
    return lambda path: edited(path, old, new, as_zip=False)


def ten_of_each(levels):
    value = []
    for _ in range(levels):
        value = [value] * 10
    return value


def copies(number):
    """A text of 1 MiB, encoded that often by seven bytes each."""
    names = b'c_codecs\nencode\nq\x00' + text('a' * 2**20) + b'q\x01' + text('latin1') + b'q\x02'
    return b'](' + names + b'h\x00h\x01h\x02\x86R' * number + b'e'


#: Makers of small files that would take gigabytes or hours, and what the refusal says.
BOMBS = {
    'a compressed pickle': (deflated({}, datapkl=b'\x80\x02' + b'}' * 2**26 + b'.'), 'compressed'),
    'a compressed tensor': (deflated([torch.ones(4)], **{'0': bytes(2**27)}), 'is compressed'),
    'a compressed version': (deflated({}, version=b'3\n' + b' ' * 2**27), 'is compressed'),
    'two million dicts': (of_pickle(b'}' * 2**21), 'more than 1048576'),
    'an old tensor of 4 GB': (old_tensor(b'K\x04Nt', BILLION + b'Nt'), 'claim 4000000000 bytes'),
    'an old view of 8 GB': (old_tensor(SIZE, b'K\x02' + BILLION + b'\x86'), 'beyond the 16 bytes'),
    'a bytearray': (of(Call(bytearray, 64 * GIB)), r'builtins\.bytearray'),
    'a legacy tensor': (of(Call(torch.FloatTensor, 16 * GIB)), r'torch\.FloatTensor'),
    'a bare storage': (of(Call(torch.UntypedStorage, 64 * GIB)), 'a call of a type of storage'),
    'a text of 4 GB': (of_pickle(b'X\xff\xff\xff\xff'), 'cut off'),
    'a text ten thousand times': (of_pickle(copies(10**4)), 'copies more than it holds'),
    'hours of encoding': (of(Call(encode, 'é' * 10**6, 'punycode')), 'punycode'),
    'lists of lists': (of(ten_of_each(40)), 'far larger than'),
    'a deep list': (of_pickle(b']' * 10**5 + b'a' * (10**5 - 1)), 'nested more than 100 levels'),
    'a list in itself': (of_pickle(b']q\x00h\x00a'), 'or holds itself'),
    'a deep key': (of_pickle(b'})' + b'\x85' * 10**6 + b'Ns'), 'expected text'),
    'keys of one hash': (of({i * (2**61 - 1): 0 for i in range(1, 10**3)}), 'expected text'),
    'a NumPy type of 2 GB': (of(Call(type(np.dtype('V1')), 'V2147483647')), 'numpy'),
}


@pytest.mark.parametrize('name', BOMBS)
def test_a_bomb_is_refused_by_what_it_says_of_itself(tmp_path, monkeypatch, name):
    make, said = BOMBS[name]
    path = make(tmp_path / 'bomb.pth')
    assert path.stat().st_size < 4 * 2**20
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('loaded'))
    with pytest.raises(ValueError, match=rf'bomb\.pth (holds .*|{DAMAGED}.*){said}'):
        load_checkpoint(path)


def test_no_bomb_takes_half_a_gigabyte_or_seconds(tmp_path, run_python):
    for name, (make, _) in BOMBS.items():
        make(tmp_path / f'{name}.pth')
    # What a memo of 2³² places would take, if it were no dict.
    with_pickle(tmp_path / 'z.pth', b'}r\xff\xff\xff\xff')
    code = """
import resource, sys, time
from pathlib import Path
from sortkd_det.distill import load_checkpoint
taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29, taken + 2**29))
for path in sorted(Path(sys.argv[1]).glob('*.pth')):
    start = time.process_time()
    try:
        load_checkpoint(path)
        outcome = 'read'
    except ValueError as error:
        named = str(path) in str(error) and 'MemoryError' not in str(error)
        outcome = 'refused' if named else repr(error)
    print(path.stem, outcome, round(time.process_time() - start), sep=': ')
"""
    lines = run_python('-c', code, tmp_path).stdout.splitlines()
    outcomes = dict(line.split(': ', 1) for line in lines)
    assert set(outcomes) == {*BOMBS, 'z'}
    assert outcomes.pop('z').startswith('read')
    assert {name: said for name, said in outcomes.items() if not said.startswith('refused: ')} == {}
    assert max(int(said.rpartition(' ')[2]) for said in outcomes.values()) < 5


# -- checkpoints: claims that do not fit ----------------------------------------------------------


SIZE, STRIDE = b'K\x02K\x02\x86', b'K\x02K\x01\x86'
BILLION = b'J' + struct.pack('<i', 10**9)


@zip_and_legacy
@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        (SIZE, b'K\x02' + BILLION + b'\x86', 'goes beyond the 16 bytes'),
        (SIZE, BILLION + BILLION + b'\x86', 'goes beyond'),
        (STRIDE, BILLION + b'K\x01\x86', 'goes beyond'),
        (STRIDE, b'K\x02\x85', 'zip'),
        (STRIDE, b'J\xff\xff\xff\xffK\x01\x86', 'odd size'),
        (b'K\x00' + SIZE, b'K\x01' + SIZE, 'goes beyond'),
        (b'K\x00' + SIZE, b'G?\xf0\x00\x00\x00\x00\x00\x00' + SIZE, 'odd size'),
        (b'K\x00' + SIZE, b'\x8a\xff' + b'\x7f' * 255 + SIZE, 'odd size'),
        (b'torch\nFloatStorage', b'torch\nDoubleStorage', 'claim'),
        (b'torch\nFloatStorage', b'torch\nQUInt8Storage', 'QUInt8Storage'),
        (b'torch\nFloatStorage', b'torch\nSize', 'without a key or a type'),
        (b'_rebuild_tensor_v2', b'_rebuild_sparse_tensor', '_rebuild_sparse_tensor'),
        (b'storage', b'module_', 'without a key or a type'),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(tmp_path, as_zip, old, new, said):
    path = edited(tmp_path / 'x.pth', old, new, as_zip)
    with pytest.raises(ValueError, match=rf'x\.pth .*{said}'):
        load_checkpoint(path)


def test_a_tensor_that_repeats_its_storage_is_refused_if_it_is_large(tmp_path):
    small = load_checkpoint(save({'w': torch.ones(1).expand(1000)}, tmp_path / 'small.pth'))
    assert small['w'].sum() == 1000
    path = save({'w': torch.ones(1).expand(10**6, 10**6)}, tmp_path / 'large.pth')
    with pytest.raises(ValueError, match=r'\(1000000, 1000000\) repeats the 4 bytes'):
        load_checkpoint(path)


def record(archive, name, content):
    with warnings.catch_warnings():  # of two records of one name
        warnings.simplefilter('ignore')
        archive.writestr(name, content)


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        ('two names', 'two records of one name'),
        ('two cases', 'two records of one name'),
        ('another before', 'is not where it says'),
        ('bytes before', 'is not where it says'),
        ('bytes after', 'goes on after its end'),
        ('a comment', 'goes on after its end'),
        ('a size', 'records are larger than the file'),
        ('another method', 'is compressed'),
        ('no pickle', 'data.pkl'),
        ('a tensor lost', 'claims 16 bytes, its record has no'),
        ('a tensor cut', 'claims 16 bytes, its record has 12'),
    ],
)
@pytest.mark.parametrize('writer', ['torch', 'zipfile'])
def test_a_zip_that_two_readers_could_read_differently_is_refused(tmp_path, writer, damage, said):
    path = save({'w': torch.ones(4)}, tmp_path / 'x.pth')
    if writer == 'zipfile':
        repack(path)
        assert load_checkpoint(path)['w'].sum() == 4
    if damage == 'a comment':
        with zipfile.ZipFile(path, 'a') as archive:
            archive.comment = b'hello'
    elif damage in ('two names', 'two cases'):
        with zipfile.ZipFile(path, 'a') as archive:
            record(archive, 'x/DATA/0' if damage == 'two cases' else 'x/data/0', b'')
    elif damage in ('no pickle', 'a tensor lost', 'a tensor cut'):
        lost = 'x/data.pkl' if damage == 'no pickle' else 'x/data/0'
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        records[lost] = records[lost][:12]
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in records.items():
                if name != lost or damage == 'a tensor cut':
                    record(archive, name, content)
    else:
        whole = path.read_bytes()
        other = save({'w': torch.zeros(4)}, tmp_path / 'other.pth').read_bytes()
        entry = bytearray(whole)
        at = whole.index(b'PK\x01\x02')
        entry[at + 20 : at + 28] = struct.pack('<II', 2**31, 2**31)
        method = bytearray(whole)
        method[at + 10] = 8
        path.write_bytes(
            {
                'another before': other + whole,
                'bytes before': b'PK\x03\x04' + whole,
                'bytes after': whole + b'\0',
                'a size': bytes(entry),
                'another method': bytes(method),
            }[damage]
        )
    with pytest.raises(ValueError, match=rf'x\.pth {DAMAGED}.*{said}'):
        load_checkpoint(path)


# -- checkpoints: objects of odd contents ---------------------------------------------------------


def ordered_dict(items, state):
    return b'ccollections\nOrderedDict\n)R(' + items + b'u}(' + state + b'ub'


@pytest.mark.parametrize(
    'state',
    [
        text('pop') + b'ccollections\nCounter\n',  # would keep meta['config'] from being taken out
        text('get') + b'cbuiltins\nset\n',
        text('_metadata') + b'K\x05',
        text('_metadata') + b'}' + text('conv') + b'}' + text('version') + text('two') + b'ss',
    ],
)
def test_a_dict_with_odd_attributes_is_refused(tmp_path, state):
    meta = ordered_dict(text('config') + text('import os'), state)
    path = with_pickle(tmp_path / 'x.pth', b'}' + text('meta') + meta + b's')
    with pytest.raises(ValueError, match=r'x\.pth .*damaged'):
        load_checkpoint(path)


def buffers(tmp_path, **changes):
    """A checkpoint with a HistoryBuffer whose state is changed."""
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    for name, value in changes.items():
        setattr(buffer, name, value)
    return save({'x': buffer}, tmp_path / 'x.pth')


@pytest.mark.parametrize(
    'changes',
    [
        {'mean': 1},
        {'max_length': 'x'},
        {'max_length': -1},
        {'_log_history': np.zeros((2, 2))},
        {'_log_history': np.zeros(3)},
        {'_count_history': [1, 1]},
        {'_statistics_methods': {'mean': HistoryBuffer.min}},
        {'_statistics_methods': {'mean': 1}},
        {'_statistics_methods': {'mean': set}},
    ],
)
def test_a_history_buffer_of_odd_contents_is_refused_and_changes_no_other(tmp_path, changes):
    path = buffers(tmp_path, **changes)
    with pytest.raises(ValueError, match=r'x\.pth '):
        load_checkpoint(path)
    assert HistoryBuffer([1.0, 3.0], [1, 1]).statistics('mean') == 2


def test_a_sound_history_buffer_is_read(tmp_path):
    assert load_checkpoint(buffers(tmp_path))['x'].mean() == 1.5


def test_a_tensor_with_hooks_is_refused(tmp_path):
    storage = text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cpu') + b'K\x04'
    start = b'}' + text('w') + b'ctorch._utils\n_rebuild_tensor_v2\n((' + storage
    start += b'tQK\x00K\x04\x85K\x01\x85\x89'

    def load(hooks):
        path = save({'w': torch.zeros(4)}, tmp_path / 'x.pth')
        return load_checkpoint(repack(path, datapkl=b'\x80\x02' + start + hooks + b'tRs.'))

    assert load(b'}')['w'].shape == (4,)
    with pytest.raises(ValueError, match='hooks'):
        load(b'}K\x00cbuiltins\nset\ns')


@pytest.mark.parametrize(
    'pickled',
    [
        b'cbuiltins\nset\n}' + text('x') + b'K\x01sb',  # a state for a function
        b'ctorch\nSize\n)\x81',
        b'cnumpy\ndtype\n' + text('f8') + b'\x85\x81',
        b'cnumpy\nndarray\nK\x05\x85R',
        b'cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n' + text('f8') + b'\x85R\x85R',
        b'cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
        + BILLION + b'\x85' + text('b') + b'\x87R',
        b'ctorch\nload\n' + text('x') + b'\x85R',
        b'ctorch\nfloat32\n)R',
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n]]\x86R',
        b'(cos\nsystem\n' + text('true') + b'o',
        b"(S'true'\nios\nsystem\n",
        b'\x96\x00\x00\x00\x00\x10\x00\x00\x00',  # a bytearray of 64 GiB, of protocol 5
        b'h\x07',
        b'a',
        b'K',
    ],
)  # fmt: skip
def test_an_odd_pickle_is_refused(tmp_path, pickled):
    path = with_pickle(tmp_path / 'x.pth', b'}' + text('x') + pickled + b's')
    with pytest.raises(ValueError, match=r'x\.pth '):
        load_checkpoint(path)


def honest():
    """What checkpoints hold, all told."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    kinds = [torch.bfloat16, torch.half, torch.int8, torch.bool, torch.complex64, torch.float64]
    base = torch.arange(12.0).view(3, 4)
    contents = {
        'dtypes': {str(kind): torch.ones(3).to(kind) for kind in kinds},
        'views': [base, base.t(), base[1:, ::2], base.flatten()[5], torch.empty(0, 5), base],
        'parameters': collections.OrderedDict(model.named_parameters()),
        'plain': {1: (1, -2.5, None, True), 's': {1, 2}, 'c': 1 + 2j, 'big': 2**200, 'b': b'\xffa'},
        'torch': (torch.Size([1, 2]), torch.float16, torch.device('cpu')),
        'numpy': (np.float64(1), np.arange(3), np.ones((2, 2), np.float32)),
        'random': torch.get_rng_state(),
        'state_dict': model.state_dict(),
    }
    for kind in (torch.optim.SGD, torch.optim.AdamW):
        optimizer = kind(model.parameters(), 0.1)
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        schedulers = (
            torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]),
            torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10),
        )
        contents[kind.__name__] = [optimizer.state_dict(), [s.state_dict() for s in schedulers]]
    return contents


@zip_and_legacy
def test_honest_checkpoints_are_read_as_torch_reads_them(tmp_path, as_zip):
    path = save(honest(), tmp_path / 'x.pth', as_zip)
    ours, theirs = load_checkpoint(path), torch.load(path, weights_only=False)
    assert repr(ours) == repr(theirs)
    assert ours['state_dict']._metadata == theirs['state_dict']._metadata
    first, *_, last = ours['views']
    assert first.untyped_storage().data_ptr() == last.untyped_storage().data_ptr()


# -- checkpoints: what a run reads from them ------------------------------------------------------


HUB = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({'meta': 'text'}, "'text' under meta, expected a dict"),
        ({'meta': {1: 'x'}}, 'under meta, expected names as its keys'),
        ({'meta': {'epoch': 'x'}}, "'x' under meta.epoch, expected a whole number"),
        ({'meta': {'epoch': -1}}, 'meta.epoch'),
        ({'meta': {'iter': 2**40}}, 'meta.iter'),
        ({'meta': {'iter': float('nan')}}, 'meta.iter'),
        ({'meta': {'seed': 2**32}}, 'meta.seed'),
        ({'meta': {'dataset_meta': [1]}}, 'meta.dataset_meta, expected a dict'),
        ({'meta': {'dataset_meta': {'classes': 5}}}, 'meta.dataset_meta.classes, expected a list'),
        ({'meta': {'CLASSES': [1, 2]}}, r'meta\.CLASSES, expected a list of names'),
        ({'state_dict': [torch.ones(1)]}, 'under state_dict, expected a dict'),
        ({'message_hub': [1]}, 'under message_hub, expected a dict'),
        ({'message_hub': {'log_scalars': {}}}, 'message_hub.runtime_info, expected a dict'),
        (
            {'message_hub': {**HUB, 'runtime_info': {'keep_ckpt_ids': ['../../x']}}},
            'keep_ckpt_ids, expected a list of steps',
        ),
    ],
)
def test_an_entry_of_another_kind_is_named(tmp_path, content, said):
    path = save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=rf'x\.pth has .*{said}'):
        load_checkpoint(path)


@pytest.mark.parametrize('weights', [{3: torch.ones(2)}, {'w': [1.0]}])
def test_weights_without_names_or_values_are_refused(weights):
    with pytest.raises(ValueError, match=r'x\.pth holds no weights'):
        find_weights({'state_dict': weights}, 'x.pth')


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


@pytest.fixture
def student(tmp_path, pictures):
    """One epoch of a small classifier, as a config."""
    cfg = run_config(REPO / 'configs/clothing/student.py')
    cfg.model.num_classes = 3
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=6, num_workers=0, persistent_workers=False)
        loader.dataset.update(root=str(pictures), split=split, size=20)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, save_best='accuracy/top1', max_keep_ckpts=1)

    def run(name, **changes):
        changed = copy.deepcopy(cfg)
        changed.merge_from_dict(changes)
        changed.work_dir = str(tmp_path / name)
        changed.experiment_name = f'{tmp_path.name}-{name}'
        runner = build_runner(changed)
        runner.train()
        return runner

    return run


def test_a_resumed_checkpoint_runs_nothing_and_deletes_nothing(tmp_path, student):
    student('first')
    canary, victim = tmp_path / 'canary', tmp_path / 'best_thesis.pth'
    victim.write_text('years of work')
    content = torch.load(tmp_path / 'first/epoch_1.pth', weights_only=True)
    content['meta']['config'] = f'open({str(canary)!r}, "w")'
    info = content['message_hub']['runtime_info']
    info.update(stopped_ckpt=str(victim), last_ckpt=str(victim), best_ckpt=str(victim))
    info.update(best_score=-1.0, cfg=content['meta']['config'])
    (tmp_path / 'from').mkdir()
    path = save(content, tmp_path / 'from/x.pth')
    runner = student('second', resume=True, load_from=str(path), **{'train_cfg.max_epochs': 2})
    assert runner.epoch == 2
    assert not canary.exists()
    assert victim.read_text() == 'years of work'
    # Its own files it may delete: the record of a run is kept.
    own = load_checkpoint(tmp_path / 'first/epoch_1.pth')['message_hub']['runtime_info']
    assert Path(own['best_ckpt']).parent == tmp_path / 'first'


# -- checkpoints: addresses -----------------------------------------------------------------------


class Stranger(BaseHTTPRequestHandler):
    """Answers each path in a way of its own."""

    content = b''

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.rpartition('/')[2]
        if name.startswith('to_'):
            target = {'to_file.pth': Path('/etc/hostname').as_uri(), 'to_self.pth': self.path}
            self.send_response(302)
            self.send_header('Location', target[name])
            self.end_headers()
            return
        if name == 'garbage.pth':
            self.wfile.write(b'\xff\xfe no http at all\r\n\r\n')
            return
        if name == 'silent.pth':
            time.sleep(3)
            return
        self.send_response(200)
        if name == 'chunks.pth':
            self.send_header('Transfer-Encoding', 'chunked')
        elif name != 'endless.pth':
            odd = {'cut.pth': 10**6, 'odd_length.pth': 'many'}
            self.send_header('Content-Length', odd.get(name, len(self.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b'zz\r\n' if name == 'chunks.pth' else self.content)
            while name == 'endless.pth':
                self.wfile.write(bytes(2**16))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Address of a server one should not trust; torch's hub folder is a fresh one."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(checkpoint, '_TIMEOUT', 0.5)
    monkeypatch.setattr(checkpoint, '_MAX_DOWNLOAD', 2**22)
    monkeypatch.setattr(Stranger, 'content', save({'epoch': 1}, tmp_path / 'x.pth').read_bytes())
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / 'hub'))
    with ThreadingHTTPServer(('127.0.0.1', 0), Stranger) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        server.block_on_close = False
    torch.hub.set_dir(before)


@pytest.mark.parametrize(
    ('name', 'error', 'said'),
    [
        ('cut.pth', FileNotFoundError, 'of 1000000 bytes came'),
        ('endless.pth', FileNotFoundError, 'more than 4194304 bytes'),
        ('silent.pth', FileNotFoundError, 'timed out'),
        ('garbage.pth', FileNotFoundError, 'could not be downloaded'),
        ('chunks.pth', FileNotFoundError, 'could not be downloaded'),
        ('to_file.pth', FileNotFoundError, 'Redirection to url .file:'),
        ('to_self.pth', FileNotFoundError, 'redirect'),
        ('r50-0123abcd.pth', ValueError, 'SHA-256 sum is .*, its name says 0123abcd'),
        ('', ValueError, 'names no file'),
        ('..', ValueError, 'names no file'),
        ('folder/', ValueError, 'names no file'),
    ],
)
def test_a_download_is_whole_or_leaves_nothing(tmp_path, stranger, name, error, said):
    with pytest.raises(error, match=said) as refused:
        load_checkpoint(f'{stranger}/{name}')
    assert stranger in str(refused.value)
    assert not [path for path in (tmp_path / 'hub').rglob('*') if path.is_file()]


@pytest.mark.parametrize(
    'name', ['../../up.pth', '%2e%2e/%2e%2e%2fup.pth', 'a/../up.pth?x=../../y']
)
def test_a_name_does_not_climb_out_of_the_hub_folder(tmp_path, stranger, name):
    assert load_checkpoint(f'{stranger}/{name}') == {'epoch': 1}
    (found,) = [path for path in tmp_path.rglob('*up.pth*') if path.is_file()]
    assert found.parent == tmp_path / 'hub/checkpoints'


def test_an_odd_length_is_no_length(stranger):
    assert load_checkpoint(f'{stranger}/odd_length.pth') == {'epoch': 1}


def test_a_damaged_download_says_how_to_get_it_again(stranger, monkeypatch):
    monkeypatch.setattr(Stranger, 'content', b'<html>Please log in')
    with pytest.raises(ValueError, match=r'login\.pth is not .*; delete it to have it downloaded'):
        load_checkpoint(f'{stranger}/login.pth')


@pytest.mark.parametrize('address', ['file:///etc/hostname', 'ftp://127.0.0.1/x.pth', 's3:/x.pth'])
def test_other_addresses_are_paths_that_do_not_exist(address):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_checkpoint(address)


@pytest.mark.parametrize('host', ['127.0.0.1:port', 'a' * 70, 'a b', '', '[::1'])
def test_an_address_without_a_host_is_named(tmp_path, monkeypatch, host):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=r'x\.pth'):
        load_checkpoint(f'http://{host}/x.pth')


# -- mutations ------------------------------------------------------------------------------------


flips = st.tuples(st.integers(0, 2**16), st.integers(0, 7))
splices = st.tuples(st.integers(0, 2**16), st.integers(0, 4), st.binary(max_size=4))
mutations = st.tuples(
    st.lists(flips | splices, max_size=6), st.none() | st.none() | st.integers(0, 2**16)
)


def mutate(content, mutation):
    """Flip bits, replace, drop and insert bytes, perhaps cut off; places wrap around."""
    edits, cut = mutation
    changed = bytearray(content)
    for place, *change in edits:
        place %= len(changed) or 1
        if len(change) == 2:
            changed[place : place + change[0]] = change[1]
        elif changed:
            changed[place] ^= 1 << change[0]
    return bytes(changed if cut is None else changed[: cut % len(content)])


def read_mutations(read, whole, number, path, capsys, record_property):
    """Let ``read`` have that many mutations at least; count those read and refused, print it."""
    counts, slowest = collections.Counter(), 0.0

    @settings(
        max_examples=number * 5 // 4, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutations)
    def attempt(mutation):
        nonlocal slowest
        content = mutate(whole, mutation)
        counts['same' if content == whole else 'mutated'] += 1
        start = time.process_time()
        try:
            read(content)
            counts['read'] += 1
        except (ValueError, FileNotFoundError) as error:
            counts['refused' if str(path) in str(error) else f'not named: {error}'] += 1
        slowest = max(slowest, time.process_time() - start)

    attempt()
    assert set(counts) <= {'same', 'mutated', 'read', 'refused'}
    assert counts['mutated'] >= number
    assert counts['refused'] >= 0.2 * number
    assert slowest < 5
    record_property('mutations', counts['mutated'])
    with capsys.disabled():
        print(f'\n{path.name}: {dict(counts)}, the slowest in {slowest:.2f} s')


def touch(value):
    """Read every number of a checkpoint."""
    if isinstance(value, torch.Tensor):
        value.clone()
    elif isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            touch(item)


few_or_many = pytest.mark.parametrize(
    'number', [100, pytest.param(1000, marks=pytest.mark.slow)], ids=['few', 'many']
)


def small_checkpoint(as_zip):
    buffer = io.BytesIO()
    weights = {'w': torch.arange(6.0).view(2, 3), 'b': torch.ones(2, dtype=torch.int64)}
    content = {
        'state_dict': collections.OrderedDict(weights),
        'meta': {'epoch': 1, 'dataset_meta': {'classes': ('a', 'b')}},
        'history': HistoryBuffer([1.0], [1]),
        'scalar': np.float64(0.5),
    }
    torch.save(content, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()


@few_or_many
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
def test_mutations_of_a_checkpoint(tmp_path, kind, number, capsys, record_property):
    """``pickle``: of the pickle within a sound zip, whose check sums would notice otherwise."""
    path = tmp_path / f'{kind}.pth'
    whole = small_checkpoint(as_zip=kind != 'legacy')

    def read(content):
        path.write_bytes(content)
        touch(load_checkpoint(path))

    def read_pickle(content):
        path.write_bytes(whole)
        repack(path, datapkl=content)
        touch(load_checkpoint(path))

    with zipfile.ZipFile(io.BytesIO(whole)) if kind == 'pickle' else contextlib.nullcontext() as z:
        start = z.read('archive/data.pkl') if z else whole
    reader = read_pickle if kind == 'pickle' else read
    read_mutations(reader, start, number, path, capsys, record_property)


@few_or_many
def test_mutations_of_a_safetensors_file(tmp_path, number, capsys, record_property):
    path = tmp_path / 'x.safetensors'
    save_file({'w': torch.arange(6.0).view(2, 3), 'b': torch.ones(2, dtype=torch.int64)}, path)

    def read(content):
        path.write_bytes(content)
        touch(load_checkpoint(path))

    read_mutations(read, path.read_bytes(), number, path, capsys, record_property)


def cifar_files():
    """A tiny CIFAR-100 as Python 3 pickles it."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    batch = {'data': pixels, 'fine_labels': [3, 99], 'filenames': ['a.png', 'b.png']}
    names = {'fine_label_names': [f'class_{i}' for i in range(100)]}
    return {'test': pickle.dumps(batch, 3), 'meta': pickle.dumps(names, 3)}


def write_cifar(root, files):
    (root / 'cifar-100-python').mkdir(exist_ok=True)
    for name, content in files.items():
        (root / 'cifar-100-python' / name).write_bytes(content)


@few_or_many
def test_mutations_of_a_cifar_batch(tmp_path, number, capsys, record_property):
    """Its pixels are put in last, so that all mutations hit the pickle."""
    files = cifar_files()
    pixels = pickle.loads(files['test'])['data'].tobytes()
    path = tmp_path / 'cifar-100-python'
    write_cifar(tmp_path, files)

    def read(content):
        (path / 'test').write_bytes(content.replace(b'<pixels>', pixels))
        dataset = CIFAR(tmp_path, split='test', check=False)
        assert dataset.images.shape[1:] == (3, 32, 32)
        assert 0 <= dataset.labels.min() <= dataset.labels.max() < 100

    whole = files['test'].replace(pixels, b'<pixels>')
    read(whole)
    read_mutations(read, whole, number, path, capsys, record_property)


# -- CIFAR and images of classifiers --------------------------------------------------------------


def test_a_pickle_of_millions_of_lists_is_refused_early(tmp_path):
    write_cifar(tmp_path, cifar_files() | {'test': b'\x80\x02' + b']' * 2**22 + b'.'})
    with pytest.raises(ValueError, match=r'test is .*damaged: it has more than 2097152 instruct'):
        CIFAR(tmp_path, split='test', check=False)


def write_tar(path, *members):
    with tarfile.open(path, 'w:gz', format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            tar.addfile(member, io.BytesIO(content))


def test_extended_headers_of_an_archive_are_not_interpreted(tmp_path):
    """``tarfile`` needs days for these digits; and names and sizes in such headers do not count."""
    files = {f'cifar-100-python/{name}': content for name, content in cifar_files().items()}
    path = tmp_path / 'cifar-100-python.tar.gz'
    headers = [('h', kind, b'1' * 2**22) for kind in (b'x', b'g', b'L', b'K', b'S')]
    write_tar(path, *headers, *((name, b'0', content) for name, content in files.items()))
    start = time.process_time()
    assert len(CIFAR(tmp_path, split='test', check=False)) == 2
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ('kind', 'size', 'said'),
    [(b'S', b'00000000012 ', 'no regular file'), (b'0', b'\xff' * 12, 'a member of -'),
     (b'0', b'77777777777 ', 'more than'), (b'0', b'00004000000 ', 'cut off')],
)  # fmt: skip
def test_an_odd_member_of_an_archive_is_refused(tmp_path, kind, size, said):
    header = bytearray(tarfile.TarInfo('cifar-100-python/test').tobuf(tarfile.USTAR_FORMAT))
    header[124:136], header[156:157], header[148:156] = size, kind, b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    path = tmp_path / 'cifar-100-python.tar.gz'
    compressor = zlib.compressobj(wbits=31)
    path.write_bytes(compressor.compress(bytes(header) + bytes(1024)) + compressor.flush())
    with pytest.raises(ValueError, match=said) as refused:
        CIFAR(tmp_path, split='test', check=False)
    assert str(path) in str(refused.value)


def progressive_jpeg(path, side, scans):
    """A grey JPEG whose last scan, of a few bytes, comes that often."""
    Image.fromarray(np.zeros((side, side), np.uint8)).save(path, progressive=True, quality=1)
    whole = path.read_bytes()
    last = whole[whole.rindex(b'\xff\xda') : -2]
    path.write_bytes(whole[:-2] + last * scans + b'\xff\xd9')
    return path


def test_a_jpeg_of_endless_scans_is_refused(tmp_path, monkeypatch):
    assert decode_image(progressive_jpeg(tmp_path / 'x.jpg', 64, 50)).shape == (64, 64, 3)
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(ValueError, match=r'y\.jpg has \d{4} scans of 2500 × 2500 pixels'):
        decode_image(progressive_jpeg(tmp_path / 'y.jpg', 2500, 2000))


# -- annotations ----------------------------------------------------------------------------------


NAN, INFINITY = float('nan'), float('inf')


def coco(**changes):
    """Annotations of two images; ``changes`` replace lists."""
    images = [{'id': i, 'file_name': f'{i}.png', 'width': 8, 'height': 6} for i in (1, 2)]
    box = {'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [1, 1, 3, 4], 'area': 12}
    categories = [{'id': 7, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]
    return {'images': images, 'annotations': [box], 'categories': categories} | changes


def boxes(*changes):
    (box,) = coco()['annotations']
    return {'annotations': [{**box, 'id': i, **change} for i, change in enumerate([{}, *changes])]}


def images(**change):
    first, second = coco()['images']
    return {'images': [first, {**second, **change}]}


@pytest.fixture
def check(tmp_path):
    """``check(content, **settings)``: check a data set with that file; returns its warnings."""
    from sortkd_det.detection.data_checks import check_data

    (tmp_path / 'root/images').mkdir(parents=True)
    for name in ('1.png', '2.png'):
        cv2.imwrite(str(tmp_path / 'root/images' / name), np.zeros((6, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'secret.png'), np.zeros((6, 8, 3), np.uint8))

    def run(content, loader='train_dataloader', evaluator=None, **changes):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'root/train.json').write_text(text)
        dataset = dict(
            type='CocoDataset',
            data_root=str(tmp_path / 'root'),
            ann_file='train.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=('cat', 'dog')),
        )
        cfg = {loader: dict(dataset=dataset | changes)}
        if evaluator is not None:
            cfg[loader.replace('dataloader', 'evaluator')] = evaluator
        report = check_data(Config(cfg), (loader,))
        report.raise_errors()
        run.counts = report.counts
        return [finding.message for finding in report.findings]

    run.root = str(tmp_path / 'root')
    return run


def test_files_that_mmdetection_reads_otherwise_are_left_to_it(check):
    from mmdet.datasets import CocoDataset

    panoptic = [{'image_id': 1, 'file_name': '1.png', 'segments_info': [{'id': 3}]}]
    assert check(coco(annotations=panoptic), type='CocoPanopticDataset') == []
    unannotated = coco()
    del unannotated['annotations']  # as COCO's image_info_test-dev2017.json
    assert check(unannotated, loader='test_dataloader') == []
    with pytest.raises(ValueError, match='no list under annotations'):
        check(unannotated)
    # A data set whose own classes are those of its file; a class in place of its name.
    assert check(coco(), loader='test_dataloader', type='V3DetDataset', metainfo=None) == []
    with pytest.raises(ValueError, match='78 of the 80 classes of the config are not in'):
        check(coco(), type=CocoDataset, metainfo=None)
    with pytest.raises(ValueError, match='is not JSON'):
        check('{', backend_args=dict(backend='local'))
    check('{', backend_args=dict(backend='petrel'))


def test_one_part_of_the_training_data_may_be_unlabelled(check):
    """As in MMDetection's semi-supervised configs."""
    from sortkd_det.detection.data_checks import check_annotations

    assert check(coco()) == []  # writes the file
    labelled = dict(
        type='CocoDataset',
        data_root=check.root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('cat', 'dog')),
    )
    rest = coco()
    del rest['annotations']
    Path(check.root, 'rest.json').write_text(json.dumps(rest))
    unlabelled = {**labelled, 'ann_file': 'rest.json', 'filter_cfg': dict(filter_empty_gt=False)}

    def checked(*parts):
        dataset = dict(type='ConcatDataset', datasets=list(parts))
        check_annotations(Config(dict(train_dataloader=dict(dataset=dataset))), LOADER)

    checked(labelled, unlabelled)
    with pytest.raises(ValueError, match='empty training set'):
        checked(unlabelled, unlabelled)
    del unlabelled['filter_cfg']
    with pytest.raises(ValueError, match='no list under annotations'):
        checked(labelled, unlabelled)


LOADER = ('train_dataloader',)


def test_sound_annotations_pass_without_a_warning(check):
    assert check(coco()) == []
    crowd = {'iscrowd': 1, 'bbox': [0.0, 0.0, 8.0, 6.0], 'area': 48.0, 'segmentation': []}
    content = coco(**boxes(crowd, {'category_id': 9}, {'ignore': 1, 'bbox': [0, 0, 2, 2]}))
    assert check(content, 'val_dataloader') == []
    # What is left out of training, as it is meant, is counted.
    ignored, crowds = check(content)
    assert 'train.json: 1 of the 4 boxes have "ignore" set' in ignored
    assert 'train.json: 1 of the 4 boxes are crowds (iscrowd 1), which MMDetection' in crowds


INCOMPLETE = 'train.json: 1 of the {} have no id'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        *(
            (coco(**boxes(change)), INCOMPLETE.format('2 annotations'))
            for change in (
                {'bbox': [NAN, 1, 3, 4]},
                {'bbox': [1, 1, INFINITY, 4]},
                {'bbox': [1, 1, -INFINITY, 4]},
                {'bbox': [1, 1, 10**400, 4]},
                {'bbox': [1, 1, 3]},
                {'bbox': [1, 1, 3, 4, 5]},
                {'bbox': ['1', '1', '3', '4']},
                {'bbox': [1, 1, 3, None]},
                {'bbox': [1, 1, True, 4]},
                {'bbox': [[1], 1, 3, 4]},
                {'bbox': {'x': 1}},
                {'bbox': None},
                {'area': NAN},
                {'area': None},
                {'area': '12'},
                {'id': None},
                {'id': [1]},
                {'id': 1.5},
                {'image_id': None},
                {'image_id': {}},
                {'category_id': None},
                {'category_id': [7]},
            )
        ),
        *(
            (coco(**images(**change)), INCOMPLETE.format('2 images'))
            for change in (
                {'id': None},
                {'file_name': None},
                {'file_name': 5},
                {'width': 0},
                {'width': -8},
                {'height': NAN},
                {'height': '6'},
                {'height': 10**12},
                {'height': None},
            )
        ),
        (coco(images=[5]), INCOMPLETE.format('1 images')),
        (coco(annotations=['x']), INCOMPLETE.format('1 annotations')),
        (coco(categories=[{'id': 7}, {'id': 9, 'name': 'dog'}]), INCOMPLETE.format('2 categories')),
        (coco(categories=[{'id': 7, 'name': ['cat']}]), INCOMPLETE.format('1 categories')),
        (coco(**boxes({'category_id': 8})), '1 of the 2 annotations are of a category it does not'),
        (coco(**boxes({'category_id': '7'})), 'are of a category it does not have'),
        (coco(**boxes({'id': 0})), '2 of the 2 annotations share their id with another'),
        (coco(**images(id=1)), '2 of the 2 images share their id'),
        (
            coco(categories=[{'id': 7, 'name': 'cat'}, {'id': 7, 'name': 'dog'}]),
            '2 of the 2 categories share their id',
        ),
        (
            coco(categories=[{'id': i, 'name': n} for i, n in enumerate(('cat', 'dog', 'cat'))]),
            '2 of the 3 categories share their name',
        ),
        ('[' * 10**5, 'train.json is not JSON'),
        ('{"images": ' * 10**5, 'train.json is not JSON'),
        ('{"images": [' + '1' * 10**5 + ']}', 'train.json is not JSON'),
        ('\0', 'train.json is not JSON'),
        ('', 'train.json is not JSON'),
        ('null', 'not a COCO annotation file'),
    ],
)
def test_what_cannot_be_meant_is_refused(check, content, said):
    for loader in ('train_dataloader', 'val_dataloader'):
        with pytest.raises(ValueError, match=said):
            check(content, loader)


def test_boxes_that_mmdetection_leaves_out_are_counted(check):
    odd = [
        {'bbox': [1, 1, 0, 4]},
        {'bbox': [1, 1, -3, 4]},
        {'bbox': [1, 1, 0.5, 4]},
        {'area': 0},
        {'bbox': [8, 1, 3, 4]},
        {'bbox': [1, -9, 3, 4]},
        {'image_id': 3},
    ]
    partly = [{'bbox': [-1, -1, 3, 4]}, {'bbox': [7, 5, 100, 100]}]
    lost, small, outside, beyond = check(coco(**boxes(*odd, *partly)))
    assert re.search(r'4 of the 10 boxes are less than one pixel wide or high.* id 1,', small)
    assert re.search(r'train.json: 2 of the 10 boxes are outside of their image.* id 5,', outside)
    assert re.search(r'1 of the 10 boxes are of an image that the file does not.* id 7,', lost)
    assert re.search(r'1 of the 10 boxes reach beyond their image.* id 9, bbox', beyond)


def test_mmdetection_leaves_out_those_boxes_and_no_others(check, tmp_path):
    from mmdet.datasets import CocoDataset

    rng = np.random.default_rng(0)
    changes = [
        {'bbox': rng.integers(-4, 10, 4).tolist(), 'area': int(rng.integers(-1, 5)), 'image_id': 1}
        for _ in range(300)
    ]
    content = coco(annotations=boxes(*changes)['annotations'][1:])
    check(content)
    dataset = CocoDataset(
        data_root=str(tmp_path / 'root'),
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('cat', 'dog')),
    )
    kept = sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert check.counts[0].used_boxes == kept
    assert 20 < kept < 280


def test_a_training_set_whose_boxes_are_all_left_out_is_empty(check):
    nothing = coco(annotations=boxes({'bbox': [9, 9, 1, 1]})['annotations'][1:])
    with pytest.raises(ValueError, match=r'empty training set: .* has 2 images and 1 boxes, and'):
        check(nothing)
    assert 'outside of their image' in check(nothing, 'val_dataloader')[0]


@pytest.mark.parametrize(
    'name', ['../../secret.png', '/etc/hostname', 'a/../../../secret.png', 'file:///etc/hostname',
             'http://127.0.0.1/x.png', 's3://bucket/x.png', '1.png\0.txt', '/', '../..'],
)  # fmt: skip
def test_an_image_outside_of_the_data_root_is_refused_by_name(check, name):
    with pytest.raises(ValueError, match='names 1 images outside of the data set') as refused:
        check(coco(**images(file_name=name)))
    assert repr(name) in str(refused.value)


def test_names_that_stay_within_the_data_root_pass(check, tmp_path):
    (tmp_path / 'root/images/a').mkdir()
    cv2.imwrite(str(tmp_path / 'root/images/a..b.png'), np.zeros((6, 8, 3), np.uint8))
    for name in ('../images/2.png', 'a/../2.png', 'a..b.png', str(tmp_path / 'root/images/2.png')):
        assert check(coco(**images(file_name=name))) == []
    with pytest.raises(ValueError, match='may not leave it'):
        check(coco(**images(file_name='../2.png')), data_root=None,
              ann_file=str(tmp_path / 'root/train.json'),
              data_prefix=dict(img=str(tmp_path / 'root/images')))  # fmt: skip


def test_images_without_a_byte_are_named(check, tmp_path):
    (tmp_path / 'root/images/2.png').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r'1 of the 2 images have no bytes; the first is .*/2\.png'
    ):
        check(coco())


def pickle_that_writes(canary, path):
    path.write_bytes(pickle.dumps(Call(open, str(canary), 'w')))
    return path


@pytest.mark.parametrize('name', ['train.pkl', 'train.PKL', 'train.pickle'])
@pytest.mark.parametrize(
    'settings',
    [
        {'type': 'BaseDetDataset', 'ann_file': '{}'},
        {'type': 'CocoDataset', 'ann_file': '{}'},
        {'proposal_file': '{}'},
        {'type': 'RepeatDataset', 'dataset': {'type': 'BaseDetDataset', 'ann_file': '{}'}},
        {'type': 'ConcatDataset', 'datasets': [{'type': 'BaseDetDataset', 'ann_file': '{}'}]},
        {'evaluator': {'type': 'CocoMetric', 'ann_file': '{}'}},
        {'evaluator': [{'type': 'CocoOccludedSeparatedMetric', 'occluded_ann': 'http://x.y/{}'}]},
    ],
)
def test_pickled_annotations_are_refused_before_they_are_read(check, tmp_path, settings, name):
    canary = tmp_path / 'canary'
    pickle_that_writes(canary, tmp_path / 'root' / name)
    filled = json.loads(json.dumps(settings).replace('{}', name))
    with pytest.raises(ValueError, match=rf'{name}: MMDetection would unpickle it.*run any code'):
        check(coco(), **filled)
    assert not canary.exists()


def test_files_that_are_written_may_be_pickles(check):
    assert check(coco(), evaluator=dict(type='DumpDetResults', out_file_path='x.pkl')) == []


def test_mmdetection_would_have_run_the_pickle(tmp_path):
    from mmdet.datasets import BaseDetDataset

    canary = tmp_path / 'canary'
    path = pickle_that_writes(canary, tmp_path / 'train.pkl')
    with pytest.raises((TypeError, ValueError)):
        BaseDetDataset(ann_file=str(path))
    assert canary.exists()


# -- images of detectors --------------------------------------------------------------------------


RGB = (200, 100, 50)


def picture(path, kind):
    """An image of one colour, 30 wide and 20 high, or of one pixel."""
    plain = np.full((20, 30, 3), RGB, np.uint8)
    options = {}
    if kind == '1x1':
        plain = plain[:1, :1]
    image = Image.fromarray(plain)
    if kind == 'palette':
        image = image.quantize()
    elif kind in ('L', 'LA', 'RGBA', 'CMYK', '1'):
        image = image.convert(kind)
    elif kind == '16-bit':
        image = Image.fromarray(np.full((20, 30), 77 * 256, np.uint16))
    elif kind == 'transparent':
        image = Image.fromarray(np.dstack([plain, np.zeros((20, 30), np.uint8)]))
    elif kind == 'turned':
        options['exif'] = Image.Exif()
        options['exif'][0x112] = 6  # to be turned by 90°
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ('name', 'kind', 'shape', 'colour'),
    [
        ('x.png', 'RGB', (20, 30), RGB),
        ('x.png', '1x1', (1, 1), RGB),
        ('x.jpg', '1x1', (1, 1), RGB),
        ('x.bmp', '1x1', (1, 1), RGB),
        ('x.webp', '1x1', (1, 1), RGB),
        ('x.png', '16-bit', (20, 30), (77, 77, 77)),
        ('x.png', 'palette', (20, 30), RGB),
        ('x.gif', 'palette', (20, 30), RGB),
        ('x.png', 'L', (20, 30), (124, 124, 124)),
        ('x.png', 'LA', (20, 30), (124, 124, 124)),
        ('x.png', '1', None, None),
        ('x.png', 'transparent', (20, 30), RGB),
        ('x.jpg', 'CMYK', (20, 30), RGB),
        ('x.tiff', 'CMYK', (20, 30), None),
        ('x.tiff', 'RGB', (20, 30), RGB),
        ('x.jpg', 'turned', (30, 20), RGB),
        ('x.png', 'turned', None, None),
    ],
)
def test_what_detectors_and_classifiers_make_of_an_image(tmp_path, name, kind, shape, colour):
    """MMDetection decodes with OpenCV: 8-bit colour, turned as EXIF says, alpha dropped."""
    from mmcv.transforms import LoadImageFromFile

    path = picture(tmp_path / name, kind)
    image = LoadImageFromFile()({'img_path': str(path)})['img'][..., ::-1]
    assert image.dtype == np.uint8
    if shape is not None:
        assert image.shape == (*shape, 3)
    if colour is not None:
        assert np.abs(image.astype(int) - colour).max() <= (0 if '.png' in name else 6)
    if Path(name).suffix in ('.png', '.jpg', '.bmp', '.webp'):
        assert np.array_equal(decode_image(path), image)
    else:
        with pytest.raises(ValueError, match='is no JPEG, PNG, BMP or WebP'):
            decode_image(path)


@pytest.mark.parametrize('content', [b'text', b'\x89PNG\r\n\x1a\n', b'GIF89a', b'\xff\xd8\xff\xda'])
def test_an_image_that_does_not_decode_is_named_by_both(tmp_path, content):
    from mmcv.transforms import LoadImageFromFile

    path = tmp_path / 'broken.png'
    path.write_bytes(content)
    with pytest.raises(AssertionError, match=r'failed to load image: .*broken\.png'):
        LoadImageFromFile()({'img_path': str(path)})
    with pytest.raises(ValueError, match=r'broken\.png'):
        decode_image(path)


# -- labels of detectors, to be converted ---------------------------------------------------------


VOC = """<annotation><size><width>30</width><height>20</height></size><object><name>cat</name>
<difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>6</ymin><xmax>15</xmax><ymax>16</ymax></bndbox>
</object></annotation>"""
ENTITIES = ''.join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha"}">' for i in range(12))


@pytest.fixture
def convert(tmp_path):
    """``convert(xml, names)``: convert one annotation of VOC's, listed under those names."""
    from sortkd_det.detection.formats import read_voc, write_coco

    root = tmp_path / 'voc'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    picture(root / 'JPEGImages/a.jpg', 'RGB')
    picture(tmp_path / 'secret.jpg', 'RGB')
    (tmp_path / 'secret.xml').write_text(VOC.format(5))

    def run(xml, names='a'):
        (root / 'Annotations/a.xml').write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        (root / 'ImageSets/Main/train.txt').write_bytes(names.encode('latin-1'))
        return write_coco(read_voc(root, ['cat']), ['cat'], tmp_path / 'out')

    return run


@pytest.mark.parametrize(
    'xml',
    [
        f'<?xml version="1.0"?><!DOCTYPE x [{ENTITIES}]><x>&e11;</x>',
        f'<!DOCTYPE annotation [{ENTITIES}]>' + VOC.format('&e11;'),
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>',
        '<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd">' + VOC.format(5),
        VOC.format('&e;'),
        '<a>' * 10**5,
        '<a>' * 10**5 + '</a>' * 10**5,
        '<a ' + ' '.join(f'b{i}=""' for i in range(10**5)) + '/>',
        VOC.format('1' * 10**4),
        VOC.format('1' * 30),
        VOC.format('nan'),
        VOC.format('-1e400'),
        VOC.format(''),
        VOC.format('<a/>' * 10**5),
        VOC.format('5').replace('<width>30', '<width>-1e400'),
        VOC.format('5').replace('<name>cat</name>', ''),
        VOC.format('5').replace('cat', 'dog'),
        VOC.format('5').replace('cat', 'dog' * 10**6),
        VOC.format('5').replace('difficult>0', 'difficult>' + '1' * 10**6),
        '',
        '\0',
        '<?xml version="1.0" encoding="x-unknown"?>' + VOC.format(5),
        '<a>' + ' ' * 2**24 + '</a>',
    ],
    ids=lambda xml: xml[:30],
)
def test_a_hostile_annotation_of_voc_is_refused_by_name(convert, tmp_path, xml):
    start = time.process_time()
    with pytest.raises(ValueError, match=r'a\.xml is no annotation of VOC') as error:
        convert(xml)
    assert len(str(error.value)) < 1000
    assert time.process_time() - start < 5
    assert not (tmp_path / 'out').exists()


@few_or_many
def test_mutations_of_an_annotation_of_voc(tmp_path, convert, number, capsys, record_property):
    path = tmp_path / 'voc/Annotations/a.xml'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        read_mutations(convert, VOC.format(5).encode(), number, path, capsys, record_property)


@pytest.mark.parametrize(
    ('names', 'error', 'said'),
    [
        (
            '../../secret',
            FileNotFoundError,
            r'\.\./secret\.xml, which train\.txt asks for',
        ),
        ('a\n../JPEGImages/a', FileNotFoundError, 'does not exist'),
        ('/etc/hostname', FileNotFoundError, 'does not exist'),
        ('a\n a \n', ValueError, 'lists a 2 times'),
        ('a\0', FileNotFoundError, 'does not exist'),
        ('\xff\xfe', FileNotFoundError, 'does not exist'),
    ],
)
def test_a_hostile_list_of_voc_is_refused_by_name(convert, tmp_path, names, error, said):
    with pytest.raises(error, match=said):
        convert(VOC.format(5), names)
    assert not (tmp_path / 'out').exists()


@pytest.fixture
def convert_yolo(tmp_path):
    """``convert_yolo(**files)``: convert a set of one image, some of its texts replaced."""
    from sortkd_det.detection.formats import read_yolo, write_coco

    root = tmp_path / 'yolo'
    for folder in ('images/train', 'labels/train'):
        (root / folder).mkdir(parents=True)
    picture(root / 'images/train/a.jpg', 'RGB')
    picture(tmp_path / 'secret.jpg', 'RGB')

    def run(**files):
        texts = {
            'data': 'names: [cat]\ntrain: images/train\n',
            'labels/train/a': '0 0.5 0.5 0.5 0.5\n',
            **files,
        }
        for name, text in texts.items():
            path = root / (f'{name}.yaml' if name == 'data' else f'{name}.txt')
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return write_coco(*read_yolo(root)[::-1], tmp_path / 'out')

    return run


def yaml_bomb(merge):
    rows = ['a0: &a0 {x: y}' if merge else 'a0: &a0 [cat]']
    for i in range(1, 12):
        repeated = ', '.join([f'*a{i - 1}'] * 10)
        rows.append(f'a{i}: &a{i} ' + (f'{{<<: [{repeated}]}}' if merge else f'[{repeated}]'))
    return '\n'.join([*rows, 'names: *a11', 'train: images/train'])


@pytest.mark.parametrize(
    ('yaml', 'said'),
    [
        (yaml_bomb(merge=True), 'repeats parts by aliases'),
        (yaml_bomb(merge=False), 'repeats parts by aliases'),
        ('names: &a [*a]\n', 'repeats parts by aliases'),
        ('names: ' + '[' * 10**5, 'nested more than 10 levels'),
        ('names:\n  ' + '- ' * 10**5, 'nested more than 10 levels'),
        ('names: ' + 'a: ' * 10**4, 'cannot be read as YAML'),
        ('? ' * 10**5, 'nested more than 10 levels'),
        ('names: [' + 'a, ' * 10**5 + 'b]\n', 'has more than 262144 bytes'),
        ('x' * 2**19, 'has more than'),
        (b'\xff\xfe\0', 'cannot be read as YAML'),
        ('names: [cat]\ntrain: ..\n', 'outside of'),
        ('names: [cat]\ntrain: ../../..\n', 'outside of'),
        ('names: [cat]\ntrain: /etc\n', 'outside of'),
        ('path: /\nnames: [cat]\ntrain: etc\n', 'outside of'),
        ('names: [cat]\ntrain: "a\\0"\n', 'outside of'),
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_description_of_yolo_is_refused_by_name(tmp_path, convert_yolo, yaml, said):
    start = time.process_time()
    with pytest.raises(ValueError, match=rf'data\.yaml.*({said})'):
        convert_yolo(data=yaml)
    assert time.process_time() - start < 5
    assert not (tmp_path / 'out').exists()


def test_a_description_of_yolo_runs_nothing(tmp_path, convert_yolo):
    canary = tmp_path / 'canary'
    call = f'!!python/object/apply:os.system ["touch {canary}"]'
    convert_yolo(data=f'names: {call}\ntrain: images/train\n')
    assert not canary.exists()


@pytest.mark.parametrize('name', ['../../secret.jpg', '/etc/hostname', 'a\0'])
def test_a_hostile_list_of_yolo_leads_nowhere(tmp_path, convert_yolo, name):
    with pytest.raises(ValueError, match=r'list\.txt names .* outside of'):
        convert_yolo(data='names: [cat]\ntrain: list.txt\n', list=f'images/train/a.jpg\n{name}\n')
    assert not (tmp_path / 'out').exists()


@few_or_many
@pytest.mark.parametrize('name', ['data', 'labels/train/a'])
def test_mutations_of_a_set_of_yolo(tmp_path, convert_yolo, name, number, capsys, record_property):
    whole = {
        'data': b'path: .\nnames: {0: cat, 1: dog}\nnc: 2\ntrain: images/train\n',
        'labels/train/a': b'0 0.5 0.5 0.5 0.5\n0 0.1 0.2 0.3 0.4 0.5 0.6\n',
    }[name]

    def read(content):
        convert_yolo(**{name: content})

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = tmp_path / 'yolo'  # of a folder that is renamed, the folder is named
        read_mutations(read, whole, number, path, capsys, record_property)


@pytest.mark.parametrize(
    'content',
    [
        b'text',
        b'\x89PNG\r\n\x1a\n',
        b'\xff\xd8\xff\xe1\0\x08Exif\0\0',
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
    ],
)
def test_an_image_whose_size_cannot_be_read_is_named(tmp_path, convert_yolo, content):
    (tmp_path / 'yolo/images/train/a.jpg').write_bytes(content)
    with pytest.raises(ValueError, match=r'images/train/a\.jpg is no image that can be read'):
        convert_yolo()


# -- configs --------------------------------------------------------------------------------------


def config_that_writes(path, canary):
    """A config that makes ``canary``: where the file is read, or where what it says is built."""
    if path.suffix == '.py':
        path.write_text(f'open({str(canary)!r}, "w")\n')
    elif path.suffix == '.yaml':
        path.write_text(f'x: !!python/object/apply:os.system ["touch {canary}"]\n')
    else:
        path.write_text(json.dumps({'x': {'type': 'os.system', 'command': f'touch {canary}'}}))
    return path


@pytest.mark.parametrize('suffix', ['.py', '.yaml', '.json'])
def test_a_config_is_code_whatever_its_format(tmp_path, suffix):
    """Why docs/security.md says: read a stranger's config before it is used."""
    canary = tmp_path / 'canary'
    cfg = Config.fromfile(config_that_writes(tmp_path / f'config{suffix}', canary))
    if suffix == '.json':
        FUNCTIONS.build(cfg.x)
    assert canary.exists()
