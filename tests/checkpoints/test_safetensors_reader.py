"""Files of the safetensors library are read as checkpoints are, and refused by name."""

import json
import struct

import pytest
import torch
from hostile import few_or_many, read_mutations, touch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from sortkd_det.checkpoints import load_checkpoint

WEIGHTS = {
    'a.weight': torch.arange(6.0).view(2, 3),
    'a.count': torch.tensor(3),
    'half': torch.ones(2, dtype=torch.bfloat16),
}


def of_header(header, content=b''):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(header)) + header + content


def entry(shape, begin, end, dtype='F32'):
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


@pytest.mark.parametrize('name', ['x.safetensors', 'X.SafeTensors', 'named_otherwise.pth'])
def test_its_weights_lie_under_state_dict(tmp_path, name):
    save_file(WEIGHTS, tmp_path / name, metadata={'format': 'pt'})
    for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
        loaded = load(str(tmp_path / name))
        assert list(loaded) == ['state_dict']
        assert loaded['state_dict'].keys() == WEIGHTS.keys()
        for key, value in WEIGHTS.items():
            torch.testing.assert_close(loaded['state_dict'][key], value, rtol=0, atol=0)


def test_changing_what_was_read_does_not_change_the_file(tmp_path):
    path = tmp_path / 'x.safetensors'
    save_file(WEIGHTS, path)
    before = path.read_bytes()
    load_checkpoint(path)['state_dict']['a.weight'].fill_(7.0)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'text',
        of_header({'a': entry([4], 0, 16)}, bytes(15)),
        of_header({'a': entry([4], 0, 16)}, bytes(17)),
        of_header({'a': entry([5], 0, 16)}, bytes(16)),
        of_header({'a': entry([2**40], 0, 16)}, bytes(16)),
        of_header({'a': entry([2**40, 2**40], 0, 16)}, bytes(16)),
        of_header({'a': entry([4], 0, 16), 'b': entry([4], 0, 16)}, bytes(16)),
        of_header({'a': entry([4], 0, 16, 'OBJECT')}, bytes(16)),
        of_header({'a': entry([-4], 0, 16)}, bytes(16)),
        of_header([1]),
        of_header(b'{' * 2**20),
        of_header(b'[' * 2**20),
        struct.pack('<Q', 2**63) + b'{}',
        struct.pack('<Q', 2**25) + b'{}' + b' ' * 2**25,
        b'PK\x03\x04 a zip after all',
    ],
    ids=[
        'empty',
        'text',
        'cut off',
        'too long',
        'larger than its place',
        'four terabytes',
        'beyond 64 bits',
        'one place twice',
        'odd type',
        'negative',
        'a list',
        'deep dicts',
        'deep lists',
        'a header of 2⁶³ bytes',
        'a header of 32 MiB',
        'zip',
    ],
)
def test_what_is_none_or_damaged_is_named(tmp_path, content):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.safetensors cannot be read: it is no safetensors f'):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.safetensors does not exist'):
        load_checkpoint(tmp_path / 'nowhere.safetensors')


@few_or_many
def test_mutations_of_a_safetensors_file(tmp_path, number, capsys, record_property):
    path = tmp_path / 'x.safetensors'
    save_file({'w': torch.arange(6.0).view(2, 3), 'b': torch.ones(2, dtype=torch.int64)}, path)

    def read(content):
        path.write_bytes(content)
        touch(load_checkpoint(path))

    read_mutations(read, path.read_bytes(), number, path, capsys, record_property)
