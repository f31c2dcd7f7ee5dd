"""Tiny archives of CIFAR in each of the published forms."""

import io
import struct
import tarfile

import numpy as np
import pytest

PER_FILE = 4  # images in each file of a tiny archive
LAYOUTS = {
    ('cifar10', 'python'): 'cifar-10-batches-py',
    ('cifar10', 'binary'): 'cifar-10-batches-bin',
    ('cifar100', 'python'): 'cifar-100-python',
    ('cifar100', 'binary'): 'cifar-100-binary',
}
ARCHIVES = {
    'cifar-10-batches-py': 'cifar-10-python.tar.gz',
    'cifar-10-batches-bin': 'cifar-10-binary.tar.gz',
    'cifar-100-python': 'cifar-100-python.tar.gz',
    'cifar-100-binary': 'cifar-100-binary.tar.gz',
}
every_layout = pytest.mark.parametrize(('name', 'form'), list(LAYOUTS))


def python2_pickle(value) -> bytes:
    """Pickle as Python 2 did (protocol 2), which wrote the published archives."""
    return b'\x80\x02' + _opcodes(value) + b'.'


def _opcodes(value) -> bytes:
    if isinstance(value, dict):
        items = b''.join(_opcodes(k) + _opcodes(v) for k, v in value.items())
        return b'}q\x01(' + items + b'u'
    if isinstance(value, list):
        return b']q\x02(' + b''.join(map(_opcodes, value)) + b'e'
    if isinstance(value, str):
        text = value.encode('latin-1')
        if len(text) < 256:
            return b'U' + bytes([len(text)]) + text + b'q\x03'
        return b'T' + struct.pack('<i', len(text)) + text + b'r\x00\x01\x00\x00'
    if isinstance(value, int):
        return b'K' + bytes([value]) if 0 <= value < 256 else b'J' + struct.pack('<i', value)
    assert value.dtype == np.uint8
    lengths = b''.join(map(_opcodes, value.shape))
    return (
        b'cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R'
        b'(K\x01' + lengths + (b'\x85' if value.ndim == 1 else b'\x86') + b'cnumpy\ndtype\n'
        b'(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
        + _opcodes(value.tobytes().decode('latin-1'))
        + b'tb'
    )


def class_names(name: str) -> list[str]:
    return [f'class_{i}' for i in range(10 if name == 'cifar10' else 100)]


def splits_of(name: str) -> dict[str, list[str]]:
    if name == 'cifar100':
        return {'train': ['train'], 'test': ['test']}
    return {'train': [f'data_batch_{i}' for i in range(1, 6)], 'test': ['test_batch']}


def make_files(name: str, form: str, dump=python2_pickle):
    """Files of a tiny set, and the (images, labels) of each split."""
    rng = np.random.default_rng(3)
    names = class_names(name)
    files, truth = {}, {}
    for split, file_names in splits_of(name).items():
        pixels = rng.integers(0, 256, (len(file_names), PER_FILE, 3072), dtype=np.uint8)
        labels = rng.integers(0, len(names), (len(file_names), PER_FILE))
        truth[split] = pixels.reshape(-1, 3, 32, 32), labels.reshape(-1)
        for file_name, some, these in zip(file_names, pixels, labels.tolist(), strict=True):
            if form == 'python':
                key = 'labels' if name == 'cifar10' else 'fine_labels'
                files[file_name] = dump(
                    {
                        'batch_label': 'some images',
                        'coarse_labels': [0] * PER_FILE,
                        key: these,
                        'data': some,
                        'filenames': [f'{i}.png' for i in range(PER_FILE)],
                    }
                )
            else:
                coarse = [[0]] * PER_FILE if name == 'cifar100' else [[]] * PER_FILE
                records = zip(coarse, these, some, strict=True)
                files[f'{file_name}.bin'] = b''.join(
                    bytes([*before, label]) + image.tobytes() for before, label, image in records
                )
    if form == 'python' and name == 'cifar10':
        files['batches.meta'] = dump({'label_names': names, 'num_vis': 3072})
    elif form == 'python':
        files['meta'] = dump({'fine_label_names': names, 'coarse_label_names': ['c']})
    else:
        text = 'batches.meta.txt' if name == 'cifar10' else 'fine_label_names.txt'
        files[text] = ('\n'.join(names) + '\n\n').encode()
    return files, truth


def write(root, name, form, files, archived=False):
    """The files as a folder, or as an archive; returns the folder or archive."""
    folder = LAYOUTS[name, form]
    if archived:
        path = root / ARCHIVES[folder]
        write_tar(path, {f'{folder}/{key}': value for key, value in files.items()})
        return path
    (root / folder).mkdir(exist_ok=True)
    for key, value in files.items():
        (root / folder / key).write_bytes(value)
    return root / folder


def write_tar(path, members):
    with tarfile.open(path, 'w:gz') as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
