"""What a file of torch.save may claim: bombs, tensors without storage, odd objects."""

import collections
import contextlib
import io
import struct
import warnings
import zipfile
from _codecs import encode

import numpy as np
import pytest
import torch
from hostile import Call, few_or_many, read_mutations, touch
from mmengine.logging import HistoryBuffer
from odd_checkpoints import (
    BILLION,
    DAMAGED,
    edited,
    repack,
    save,
    text,
    with_pickle,
    zip_and_legacy,
)
from torch import nn

from sortkd_det.checkpoints import load_checkpoint

GIB = 2**30


SIZE, STRIDE = b'K\x02K\x02\x86', b'K\x02K\x01\x86'  # of that tensor


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
    with pytest.raises(ValueError, match=rf'bomb\.pth(, at byte .*, holds .*| {DAMAGED}.*){said}'):
        load_checkpoint(path)


def test_no_bomb_takes_half_a_gigabyte_or_seconds(tmp_path, run_python):
    for name, (make, _) in BOMBS.items():
        make(tmp_path / f'{name}.pth')
    # What a memo of 2³² places would take, if it were no dict.
    with_pickle(tmp_path / 'z.pth', b'}r\xff\xff\xff\xff')
    code = """
import resource, sys, time
from pathlib import Path
from sortkd_det.checkpoints import load_checkpoint
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
    with pytest.raises(ValueError, match=rf'x\.pth.*{said}'):
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
    with pytest.raises(ValueError, match=r'x\.pth[ ,]'):
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
    with pytest.raises(ValueError, match=r'x\.pth[ ,]'):
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
