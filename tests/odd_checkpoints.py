"""Checkpoints that are not what they should be, for the tests of what reads them."""

import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hostile import Call

zip_and_legacy = pytest.mark.parametrize('as_zip', [True, False], ids=['zip', 'legacy'])


DAMAGED = 'is not a PyTorch checkpoint, or is damaged: '


BILLION = b'J' + struct.pack('<i', 10**9)


HUB = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}


def save(content, path, as_zip=True):
    """Write a checkpoint in torch's present format, or in the old one; returns its path."""
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


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


def scalars_of(state):
    return {
        name: [values.tolist() for values in history.data]
        for name, history in state['log_scalars'].items()
    }
