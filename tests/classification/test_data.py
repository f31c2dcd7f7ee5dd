"""Data sets on archives and folders made here: hostile, damaged and odd files included."""

import io
import os
import pickle
import random
import struct
import tarfile
import warnings
import zlib

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from sortkd_det.checkpoints.pickles import read_plain_pickle
from sortkd_det.classification.data import (
    CIFAR,
    ImageFolder,
    ImageNet,
    TinyImageNet,
    cifar,
    collate,
    decode_image,
    images,
)
from sortkd_det.classification.data.images import random_resized_crop, resize_centre_crop
from sortkd_det.registry import DATASETS
from sortkd_det.training import SeededBatch, SeededBatchSampler

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


# --- tiny archives ------------------------------------------------------------------------------


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


# --- CIFAR --------------------------------------------------------------------------------------


@pytest.mark.parametrize('archived', [False, True], ids=['folder', 'archive'])
@pytest.mark.parametrize('split', ['train', 'test'])
@every_layout
def test_cifar_is_read_from_each_published_form(tmp_path, name, form, split, archived):
    files, truth = make_files(name, form)
    write(tmp_path, name, form, files, archived)
    before = sorted(tmp_path.rglob('*'))
    dataset = CIFAR(tmp_path, name, split, check=False)
    pixels, labels = truth[split]
    assert torch.equal(dataset.images, torch.from_numpy(pixels))
    assert torch.equal(dataset.labels, torch.from_numpy(labels))
    assert dataset.labels.dtype == torch.int64
    assert dataset.metainfo == {'classes': tuple(class_names(name))}
    assert sorted(tmp_path.rglob('*')) == before  # nothing unpacked


@pytest.mark.parametrize('protocol', [3, 4])
def test_pickles_that_python_3_wrote_are_read(tmp_path, protocol):
    files, truth = make_files('cifar100', 'python', lambda v: pickle.dumps(v, protocol))
    write(tmp_path, 'cifar100', 'python', files)
    dataset = CIFAR(tmp_path, split='test', check=False)
    assert torch.equal(dataset.images, torch.from_numpy(truth['test'][0]))


def test_the_reader_of_pickles_gives_what_pickle_gives():
    content = {
        'array': np.arange(12, dtype=np.uint8).reshape(3, 4),
        'column order': np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4)),
        'nested': [1, -5, 2**40, (1, 2, 3, 4), (), ('a',), b'bytes', None, True, {'k': []}],
        'long': 'x' * 1000,
    }
    for protocol in (3, 4):
        read = read_plain_pickle(pickle.dumps(content, protocol), 'file')
        assert set(read) == set(content)
        assert read['nested'] == content['nested']
        assert read['long'] == content['long']
        for key in ('array', 'column order'):
            assert np.array_equal(read[key], content[key])
    old = {'array': content['array'], 'list': [0, 255, 70000, 'é'], 'long': 'x' * 1000}
    theirs = pickle.loads(python2_pickle(old), encoding='latin1')
    ours = read_plain_pickle(python2_pickle(old), 'file')
    assert np.array_equal(theirs['array'], old['array'])
    assert np.array_equal(ours['array'], old['array'])
    assert ours['list'] == theirs['list'] == old['list']


class Call:
    """Calls ``function(*arguments)`` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def many_arrays() -> bytes:
    """A thousand arrays that share one megabyte of content."""
    text = b'T\x00\x00\x10\x00' + bytes(2**20) + b'q\x00'
    dtype = b'cnumpy\ndtype\nU\x02u1\x85R'
    array = (
        b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01J\x00\x00\x10\x00\x85'
        + dtype
        + b'\x89'
    )
    entries = [
        b'U\x05%05d' % i + array + (text if i == 0 else b'h\x00') + b'tb' for i in range(1000)
    ]
    return b'\x80\x02}(' + b''.join(entries) + b'u.'


def hostile_pickles(canary) -> dict[str, tuple[bytes, str]]:
    """Pickles that would write ``canary`` or take gigabytes, and what an error names."""
    command = f'touch {canary}'
    call = b'(U' + bytes([len(command)]) + command.encode() + b't'
    return {
        'os.system': (pickle.dumps({'data': Call(os.system, command)}, 2), 'system'),
        'os.system, new protocol': (pickle.dumps({'data': Call(os.system, command)}, 4), 'system'),
        'eval': (pickle.dumps([Call(eval, f'open({str(canary)!r}, "w")')], 4), 'builtins.eval'),
        'torch.load': (pickle.dumps({'data': Call(torch.load, str(canary))}, 2), 'torch'),
        'getattr': (pickle.dumps(Call(getattr, 'a', 'upper'), 2), 'getattr'),
        'text opcode': (b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.", 'os.system'),
        'INST': (b"(S'" + command.encode() + b"'\nios\nsystem\n.", 'instruction'),
        'NEWOBJ': (b'\x80\x02csubprocess\nPopen\n' + call + b'\x81.', 'subprocess.Popen'),
        'extension registry': (b'\x80\x02\x82\x01.', 'EXT1'),
        'persistent id': (b'\x80\x02U\x01aQ.', 'BINPERSID'),
        'numpy beyond arrays': (b'\x80\x02cnumpy\nload\n' + call + b'R.', 'numpy.load'),
        'objects in an array': (
            pickle.dumps({'data': np.array([Call(os.system, command)], object)}, 4),
            'dtype',
        ),
        'another dtype': (pickle.dumps({'data': np.zeros(3)}, 4), "'f8'"),
        'dtype called on state': (b'\x80\x02cnumpy\ndtype\n}b.', 'state'),
        'reconstruct of a string': (
            b'\x80\x02cnumpy.core.multiarray\n_reconstruct\nU\x01aR.',
            'damaged',
        ),
        'memo of 32 GB': (b'\x80\x02Nr\xff\xff\xff\xff.', 'expected a dict'),
        'string of 2 GB': (b'\x80\x02T\xff\xff\xff\x7fabc.', 'damaged'),
        'frame of an exabyte': (b'\x80\x04\x95' + b'\xff' * 8 + b'N.', 'frame size'),
        'bytes of an exabyte': (b'\x80\x04\x8e' + b'\xff' * 7 + b'\x0f' + b'N.', 'damaged'),
        'array of an exabyte': (
            python2_pickle({'data': np.zeros((2, 3), np.uint8)}).replace(
                b'K\x02K\x03\x86', b'\x8a\x07' + b'\x00' * 6 + b'\x10K\x03\x86'
            ),
            'shape',
        ),
        'one string for many arrays': (many_arrays(), 'copies more than it holds'),
        'list in itself': (b'\x80\x02]q\x00h\x00a.', 'holds itself'),
        'key that is no text': (b'\x80\x02}](U\x01as.', 'damaged'),
        'deep list': (
            b'\x80\x02' + b']' * 10**5 + b'a' * (10**5 - 1) + b'.',
            'more than 100 levels',
        ),
    }


@pytest.mark.parametrize('case', hostile_pickles('canary'))
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, case):
    canary = tmp_path / 'canary'
    content, named = hostile_pickles(canary)[case]
    files, _ = make_files('cifar100', 'python')
    write(tmp_path, 'cifar100', 'python', files | {'test': content})
    with pytest.raises(ValueError, match=named) as refused:
        CIFAR(tmp_path, split='test', check=False)
    assert str(tmp_path / 'cifar-100-python' / 'test') in str(refused.value)
    assert not canary.exists()


def test_the_hostile_pickle_would_have_run(tmp_path):
    canary = tmp_path / 'canary'
    pickle.loads(hostile_pickles(canary)['os.system'][0])
    assert canary.exists()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut off, or with a few bits flipped, bytes dropped or repeated; most near the start."""
    if rng.random() < 0.2:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(min(len(changed), rng.choice([60, 600, len(changed)])))
        action = rng.random()
        if action < 0.7:
            changed[place] ^= 1 << rng.randrange(8)
        elif action < 0.85:
            del changed[place : place + rng.randint(1, 4)]
        else:
            changed[place:place] = changed[place : place + rng.randint(1, 4)]
    return bytes(changed)


def read_or_refused(read):
    """What ``read()`` gives, or what our error says; any other exception is a failure."""
    try:
        return read(), ''
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)


@pytest.mark.parametrize('archived', [False, True], ids=['folder', 'archive'])
@pytest.mark.parametrize('form', ['python', 'binary'])
def test_100_mutations_are_read_or_refused(tmp_path, form, archived):
    rng = random.Random(5)
    files, _ = make_files('cifar100', form)
    place = write(tmp_path, 'cifar100', form, files, archived)
    path = place if archived else place / ('train' if form == 'python' else 'train.bin')
    whole, refused = path.read_bytes(), 0
    for _ in range(100):
        path.write_bytes(mutated(whole, rng))
        dataset, refusal = read_or_refused(lambda: CIFAR(tmp_path, check=False))
        if dataset is None:
            assert str(place) in refusal
            refused += 1
        else:
            assert dataset.images.shape[1:] == (3, 32, 32)
            assert 0 <= dataset.labels.min() <= dataset.labels.max() < 100
    assert refused > 20


def test_100_mutations_within_an_archive_are_read_or_refused(tmp_path):
    """The tar itself is damaged: its gzip would otherwise notice first."""
    rng = random.Random(6)
    files, _ = make_files('cifar100', 'binary')
    path = write(tmp_path, 'cifar100', 'binary', files, archived=True)
    whole = zlib.decompress(path.read_bytes(), wbits=31)
    for _ in range(100):
        compressor = zlib.compressobj(level=1, wbits=31)
        path.write_bytes(compressor.compress(mutated(whole, rng)) + compressor.flush())
        _, refusal = read_or_refused(lambda: CIFAR(tmp_path, split='test', check=False))
        assert str(path) in refusal or not refusal


@every_layout
def test_a_missing_set_says_where_to_get_it_and_where_to_put_it(tmp_path, name, form):
    archive = ARCHIVES[LAYOUTS[name, form]]
    with pytest.raises(FileNotFoundError, match=archive) as missing:
        CIFAR(tmp_path, name)
    assert 'https://www.cs.toronto.edu/~kriz/cifar-' in str(missing.value)
    assert str(tmp_path / ARCHIVES[LAYOUTS[name, 'python']]) in str(missing.value)


@pytest.mark.parametrize('archived', [False, True], ids=['folder', 'archive'])
@every_layout
def test_a_missing_file_is_named(tmp_path, name, form, archived):
    files, _ = make_files(name, form)
    last = sorted(files)[-1]  # a file of the test split, or the names of the classes
    split = 'train' if 'train' in last else 'test'
    del files[last]
    write(tmp_path, name, form, files, archived)
    with pytest.raises(FileNotFoundError, match=last):
        CIFAR(tmp_path, name, split, check=False)


@every_layout
def test_a_file_cut_off_is_named(tmp_path, name, form):
    files, _ = make_files(name, form)
    file = next(key for key in files if 'test' in key)
    folder = write(tmp_path, name, form, files | {file: files[file][:-7]})
    with pytest.raises(ValueError, match=file) as cut:
        CIFAR(tmp_path, name, 'test', check=False)
    assert str(folder / file) in str(cut.value)


@every_layout
def test_an_archive_cut_off_is_named(tmp_path, name, form):
    path = write(tmp_path, name, form, make_files(name, form)[0], archived=True)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=path.name):
        CIFAR(tmp_path, name, 'train', check=False)


@every_layout
@pytest.mark.parametrize('archived', [False, True], ids=['folder', 'archive'])
def test_what_is_not_published_is_refused_unless_told(tmp_path, name, form, archived):
    place = write(tmp_path, name, form, make_files(name, form)[0], archived)
    with pytest.raises(ValueError, match='check=False') as refused:
        CIFAR(tmp_path, name, 'test')
    assert str(place) in str(refused.value)
    assert ('MD5' in str(refused.value)) == (archived or form == 'python')


def test_the_published_archive_is_recognised_by_its_sum(tmp_path, monkeypatch):
    import hashlib

    path = write(tmp_path, 'cifar100', 'binary', make_files('cifar100', 'binary')[0], archived=True)
    layout = cifar._LAYOUTS['cifar100'][1]
    monkeypatch.setitem(layout.md5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(layout.num_images, 'test', PER_FILE)
    assert len(CIFAR(tmp_path, split='test')) == PER_FILE


@every_layout
def test_labels_out_of_range_are_counted(tmp_path, name, form):
    files, _ = make_files(name, form)
    file = next(key for key in files if 'test' in key)
    if form == 'python':
        key = 'labels' if name == 'cifar10' else 'fine_labels'
        content = {'data': np.zeros((3, 3072), np.uint8), key: [0, 200, -1]}
        files[file] = python2_pickle(content)
    else:
        before = b'\x00' if name == 'cifar100' else b''
        labels = [b'\x00', b'\xc8', b'\xff']
        files[file] = b''.join(before + label + bytes(3072) for label in labels)
    write(tmp_path, name, form, files)
    with pytest.raises(ValueError, match=rf'{file} has 2 labels outside .* 200 of image 1'):
        CIFAR(tmp_path, name, 'test', check=False)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'data': np.zeros((2, 3072), np.uint8), 'fine_labels': [0]}, '2 images and 1 labels'),
        ({'data': np.zeros((0, 3072), np.uint8), 'fine_labels': []}, '0 images'),
        ({'data': np.zeros((2, 30), np.uint8), 'fine_labels': [0, 0]}, r'\(2, 30\)'),
        ({'data': np.zeros(3072, np.uint8), 'fine_labels': [0]}, r'\(3072,\)'),
        ({'data': [1, 2], 'fine_labels': [0, 0]}, 'got list'),
        ({'fine_labels': [0, 0]}, "under 'data'"),
        ({'data': np.zeros((1, 3072), np.uint8)}, "under 'fine_labels'"),
        ({'data': np.zeros((1, 3072), np.uint8), 'fine_labels': ['a']}, 'list of integers'),
        ({'data': np.zeros((1, 3072), np.uint8), 'fine_labels': [10**30]}, 'beyond any class'),
        ({'data': np.zeros((1, 3072), np.uint8), 'labels': [1]}, "under 'fine_labels'"),
    ],
)
def test_a_pickle_of_another_content_is_refused(tmp_path, content, message):
    files, _ = make_files('cifar100', 'python')
    write(tmp_path, 'cifar100', 'python', files | {'test': pickle.dumps(content, 4)})
    with pytest.raises(ValueError, match=message):
        CIFAR(tmp_path, split='test', check=False)


@pytest.mark.parametrize('names', [['a', 'b'], ['same'] * 100, [3] * 100, 'text'])
def test_names_of_classes_that_do_not_fit_are_refused(tmp_path, names):
    files, _ = make_files('cifar100', 'python')
    files['meta'] = python2_pickle({'fine_label_names': names})
    write(tmp_path, 'cifar100', 'python', files)
    with pytest.raises(ValueError, match='meta must'):
        CIFAR(tmp_path, check=False)


def test_members_that_climb_out_of_an_archive_write_nothing(tmp_path):
    root = tmp_path / 'data' / 'here'
    root.mkdir(parents=True)
    files, truth = make_files('cifar100', 'binary')
    members = {f'cifar-100-binary/{key}': value for key, value in files.items()}
    climbing = {'../../evil': b'x', f'{tmp_path}/evil': b'x', 'cifar-100-binary/../test.bin': b'x'}
    write_tar(root / 'cifar-100-binary.tar.gz', climbing | members)
    dataset = CIFAR(root, split='test', check=False)
    assert torch.equal(dataset.images, torch.from_numpy(truth['test'][0]))
    assert not list(tmp_path.rglob('evil'))
    assert [p.name for p in root.iterdir()] == ['cifar-100-binary.tar.gz']


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_a_link_is_refused(tmp_path, kind):
    secret = tmp_path / 'secret'
    secret.write_bytes(bytes(3074))
    with tarfile.open(tmp_path / 'cifar-100-binary.tar.gz', 'w:gz') as tar:
        member = tarfile.TarInfo('cifar-100-binary/test.bin')
        member.type, member.linkname = kind, str(secret)
        tar.addfile(member)
    with pytest.raises(ValueError, match='no regular file'):
        CIFAR(tmp_path, split='test', check=False)


@pytest.mark.parametrize('member', ['cifar-100-binary/other', 'cifar-100-binary/test.bin'])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, member):
    monkeypatch.setattr(cifar, '_MAX_ARCHIVE_BYTES', 2**21)
    monkeypatch.setattr(cifar, '_MAX_FILE_BYTES', 2**20)
    write_tar(tmp_path / 'cifar-100-binary.tar.gz', {member: bytes(2**22)})
    with pytest.raises(ValueError, match='more than'):
        CIFAR(tmp_path, split='test', check=False)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    write(tmp_path, 'cifar100', 'binary', make_files('cifar100', 'binary')[0])
    monkeypatch.setattr(cifar, '_MAX_FILE_BYTES', 5000)
    with pytest.raises(ValueError, match=r'test\.bin has more than 5000 bytes'):
        CIFAR(tmp_path, split='test', check=False)


@pytest.mark.parametrize('arguments', [{'name': 'cifar20'}, {'split': 'val'}])
def test_cifar_names_what_it_knows(tmp_path, arguments):
    with pytest.raises(ValueError, match='must be'):
        CIFAR(tmp_path, **arguments)


# --- decoding -----------------------------------------------------------------------------------


RGB = (200, 100, 50)


def plain(height=20, width=30) -> np.ndarray:
    return np.full((height, width, 3), RGB, np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    if mode == 'P':
        image = image.quantize()
    elif mode:
        image = image.convert(mode)
    image.save(path, **options)
    return path


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that holds nothing but an orientation."""
    tiff = b'II*\x00\x08\x00\x00\x00\x01\x00' + struct.pack('<HHII', 0x112, 3, 1, orientation)
    segment = b'Exif\x00\x00' + tiff + bytes(4)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize(
    ('suffix', 'mode', 'expected'),
    [
        ('.png', None, RGB),
        ('.png', 'RGBA', RGB),
        ('.png', 'P', RGB),
        ('.png', 'L', (124, 124, 124)),
        ('.png', 'LA', (124, 124, 124)),
        ('.jpg', None, RGB),
        ('.jpg', 'L', (124, 124, 124)),
        ('.jpg', 'CMYK', RGB),
        ('.bmp', None, RGB),
        ('.bmp', 'P', RGB),
        ('.webp', None, RGB),
        ('.webp', 'RGBA', RGB),
    ],
)
def test_every_kind_of_image_becomes_8_bit_rgb(tmp_path, suffix, mode, expected):
    image = decode_image(save(tmp_path / f'image{suffix}', plain(), mode))
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= (0 if suffix in ('.png', '.bmp') else 4)


def test_transparent_pixels_keep_their_colour(tmp_path):
    transparent = np.dstack([plain(), np.zeros((20, 30), np.uint8)])
    assert (decode_image(save(tmp_path / 'image.png', transparent)) == RGB).all()


def test_16_bits_are_cut_to_their_upper_8(tmp_path):
    colour = np.zeros((4, 5, 3), np.uint16)
    colour[...] = [value * 256 for value in RGB[::-1]]  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / 'colour.png'), colour)
    assert (decode_image(tmp_path / 'colour.png') == RGB).all()
    save(tmp_path / 'grey.png', np.full((4, 5), 77 * 256, np.uint16))
    assert (decode_image(tmp_path / 'grey.png') == 77).all()


@pytest.mark.parametrize(
    ('orientation', 'turn'), [(1, 0), (3, 2), (6, 3), (8, 1)], ids=['0', '180', '90', '270']
)
def test_exif_orientation_is_honoured(tmp_path, orientation, turn):
    stored = plain(32, 48)
    stored[:8, :8] = 255  # a bright corner
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, 'JPEG', quality=95, subsampling=0)
    path = tmp_path / 'image.jpg'
    path.write_bytes(with_exif_orientation(buffer.getvalue(), orientation))
    difference = decode_image(path).astype(int) - np.rot90(stored, turn)
    assert np.abs(difference).max() < 40


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp'])
def test_an_image_cut_off_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = save(tmp_path / f'image{suffix}', noise)
    whole = path.read_bytes()
    for length in (0, 3, 20, 40, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=path.name):
            decode_image(path)


@pytest.mark.parametrize('content', [b'just some text' * 9, b'\xff\xd8\xff', b'\xff\xd8\xff\xda\0'])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / 'text.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'text\.jpg is no JPEG'):
        decode_image(path)


def declared_huge(path, suffix):
    """A small image that says it has 60,000 × 60,000 pixels."""
    content = bytearray(save(path, plain(8, 8)).read_bytes())
    if suffix == '.png':
        content[16:24] = struct.pack('>II', 60_000, 60_000)
        content[29:33] = struct.pack('>I', zlib.crc32(content[12:29]))
    elif suffix == '.jpg':
        start = content.index(b'\xff\xc0')
        content[start + 5 : start + 9] = struct.pack('>HH', 60_000, 60_000)
    elif suffix == '.bmp':
        content[18:26] = struct.pack('<ii', 60_000, -60_000)
    elif suffix == '.webp':
        start = content.index(b'VP8 ')
        content[start + 14 : start + 18] = struct.pack('<HH', 16_000, 16_000)
    path.write_bytes(content)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp'])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, suffix, monkeypatch):
    path = tmp_path / f'bomb{suffix}'
    declared_huge(path, suffix)
    monkeypatch.setattr(images.cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(ValueError, match=r'bomb.* pixels, more than'):
        decode_image(path)


@pytest.mark.parametrize(
    ('suffix', 'options'),
    [
        ('.png', {}),
        ('.jpg', {}),
        ('.jpg', {'progressive': True}),
        ('.bmp', {}),
        ('.webp', {}),
        ('.webp', {'lossless': True}),
        ('.webp', {'exif': b'Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00'}),
    ],
)
def test_the_size_is_read_from_every_header(tmp_path, suffix, options):
    path = save(tmp_path / f'image{suffix}', plain(37, 53), **options)
    assert images._declared_size(path.read_bytes()) == (53, 37)


def test_100_mutations_of_images_are_decoded_or_refused(tmp_path):
    rng = random.Random(7)
    noise = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    for suffix in ('.jpg', '.png', '.bmp', '.webp'):
        path = save(tmp_path / f'image{suffix}', noise)
        whole = path.read_bytes()
        for _ in range(25):
            path.write_bytes(mutated(whole, rng))
            image, refusal = read_or_refused(lambda path=path: decode_image(path))
            assert str(path) in refusal if image is None else image.ndim == 3


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (7, 1), (48, 48), (1, 40_000), (300, 200)])
def test_resizing_gives_squares_of_any_image(shape):
    image = plain(*shape)
    for shorter_side in (48, 55):
        square = resize_centre_crop(image, shorter_side, 48)
        assert square.shape == (48, 48, 3)
        assert (square == RGB).all()
    for seed in range(20):
        crop = random_resized_crop(image, 48, np.random.default_rng(seed))
        assert crop.shape == (48, 48, 3)
        assert (crop == RGB).all()


def test_the_middle_of_the_longer_side_is_kept():
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, 30:90] = 255
    assert (resize_centre_crop(image, 30, 30) == 255).all()
    assert (resize_centre_crop(image.transpose(1, 0, 2), 30, 30) == 255).all()
    same = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert np.array_equal(resize_centre_crop(same, 48, 48), same)


def test_random_crops_cover_the_areas_and_ratios_they_should(monkeypatch):
    shapes = []

    def note(image, width, height):
        shapes.append(image.shape[:2])
        return image

    monkeypatch.setattr(images, 'resize', note)
    for seed in range(500):
        random_resized_crop(plain(200, 200), 32, np.random.default_rng(seed))
    height, width = np.array(shapes, float).T
    areas, ratios = height * width / 200**2, width / height
    assert 0.078 < areas.min() < 0.1
    assert 0.95 < areas.max() <= 1
    assert 0.45 < areas.mean() < 0.58  # large crops of an extreme ratio are drawn again
    assert 0.74 < ratios.min() < 0.78
    assert 1.28 < ratios.max() < 1.35


# --- folders ------------------------------------------------------------------------------------


CLASSES = ('ant', 'bee', 'cat')


def noise_image(label: int, number: int, shape=(40, 50)) -> np.ndarray:
    rng = np.random.default_rng((label, number))
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)


def make_folder(root, splits=('train', 'val'), classes=CLASSES, per_class=3):
    for split in splits:
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(per_class):
                save(root / split / name / f'{number}.png', noise_image(label, number))
    return root


def make_tiny_imagenet(root, classes=('n02', 'n01'), per_class=2):
    (root / 'val' / 'images').mkdir(parents=True)
    (root / 'wnids.txt').write_text(''.join(f'{name}\n' for name in classes))
    lines = []
    for label, name in enumerate(sorted(classes)):
        (root / 'train' / name / 'images').mkdir(parents=True)
        (root / 'train' / name / f'{name}_boxes.txt').write_text('boxes')
        for number in range(per_class):
            image = noise_image(label, number, (64, 64))
            save(root / 'train' / name / 'images' / f'{name}_{number}.JPEG', image)
            save(root / 'val' / 'images' / f'val_{label}{number}.JPEG', image)
            lines.append(f'val_{label}{number}.JPEG\t{name}\t0\t0\t9\t9\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines[::-1]))
    return root


def test_an_image_folder_is_held_in_memory(tmp_path):
    dataset = ImageFolder(make_folder(tmp_path), size=20)
    assert dataset.metainfo == {'classes': CLASSES}
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.images.shape == (9, 3, 20, 20)
    assert dataset.images.dtype == torch.uint8
    expected = resize_centre_crop(noise_image(1, 2), 20, 20).transpose(2, 0, 1)
    assert np.array_equal(dataset.images[5].numpy(), expected)
    assert dataset.path(5) == tmp_path / 'train' / 'bee' / '2.png'


def test_sizes_by_default(tmp_path):
    make_folder(tmp_path, per_class=1)
    assert ImageFolder(tmp_path)[0]['inputs'].shape == (3, 48, 48)
    assert ImageFolder(tmp_path, in_memory=False)[0]['inputs'].shape == (3, 224, 224)
    assert ImageNet(tmp_path, 'val')[0]['inputs'].shape == (3, 224, 224)
    assert ImageNet(tmp_path, 'val').images is None
    tiny = TinyImageNet(make_tiny_imagenet(tmp_path / 'tiny'))
    assert tiny[0]['inputs'].shape == (3, 64, 64)
    assert tiny.images is not None


@pytest.mark.parametrize('split', ['train', 'val'])
def test_tiny_imagenet_is_read_as_published(tmp_path, split):
    dataset = TinyImageNet(make_tiny_imagenet(tmp_path), split)
    assert dataset.metainfo == {'classes': ('n01', 'n02')}  # sorted, whatever wnids.txt has
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    decoded = decode_image(dataset.path(2)).transpose(2, 0, 1)
    assert np.array_equal(dataset.images[2].numpy(), decoded)
    assert dataset.path(2).name == {'train': 'n02_0.JPEG', 'val': 'val_10.JPEG'}[split]


def test_files_that_are_no_images_and_hidden_ones_do_not_count(tmp_path):
    make_folder(tmp_path, per_class=1)
    (tmp_path / 'train' / 'ant' / 'notes.txt').write_text('notes')
    (tmp_path / 'train' / 'ant' / '.hidden.png').write_text('hidden')
    (tmp_path / 'train' / '.cache').mkdir()
    (tmp_path / 'train' / 'ant' / 'folder.png').mkdir()
    (tmp_path / 'train' / 'list.txt').write_text('list')
    assert len(ImageFolder(tmp_path)) == 3


def test_a_test_set_without_a_training_set_has_its_own_classes(tmp_path):
    make_folder(tmp_path, splits=('test',))
    assert ImageFolder(tmp_path, 'test').metainfo == {'classes': CLASSES}


def damage_folder(root, damage):
    """Damage a data set; returns what to do with it, and what the error is to say."""
    val = root / 'val'
    if damage == 'no split':
        return (
            lambda: ImageFolder(root, 'test'),
            FileNotFoundError,
            r'test does not exist.*train, val',
        )
    if damage == 'no root':
        return lambda: ImageFolder(root / 'no'), FileNotFoundError, 'does not exist'
    if damage == 'no class folders':
        (root / 'flat').mkdir()
        return lambda: ImageFolder(root, 'flat'), ValueError, 'flat has no folders'
    if damage == 'class missing':
        (val / 'bee').rename(root / 'bee')
        return lambda: ImageFolder(root, 'val'), ValueError, 'no folder for 1 of the 3 .*bee'
    if damage == 'class unknown':
        (val / 'dog').mkdir()
        return lambda: ImageFolder(root, 'val'), ValueError, '1 folders that are no class .*dog'
    if damage == 'class empty':
        for path in (root / 'train' / 'cat').iterdir():
            path.unlink()
        return lambda: ImageFolder(root), ValueError, 'no image of 1 of the 3 classes: cat'
    if damage == 'split of ImageNet':
        return lambda: ImageNet(root, 'test'), ValueError, "one of .'train', 'val'."
    if damage == 'size':
        return lambda: ImageFolder(root, size=0), ValueError, 'size must be at least 1'
    if damage == 'seed':
        return lambda: ImageFolder(root, seed=-1), ValueError, 'seed must be at least 0'
    assert damage == 'augment in memory'
    return lambda: ImageFolder(root, augment=True), ValueError, 'in_memory=False'


@pytest.mark.parametrize(
    'damage',
    [
        'no split',
        'no root',
        'no class folders',
        'class missing',
        'class unknown',
        'class empty',
        'split of ImageNet',
        'size',
        'seed',
        'augment in memory',
    ],
)
def test_a_folder_that_does_not_fit_is_named(tmp_path, damage):
    build, error, message = damage_folder(make_folder(tmp_path), damage)
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ('val_00.JPEG\tn99\t0\t0\t9\t9\n', ValueError, "entry 1: 'n99' is no class of wnids.txt"),
        ('val_00.JPEG\n', ValueError, "entry 1: '' is no class"),
        ('../secret.JPEG\tn01\n', FileNotFoundError, r'1 images of .*\.\./secret\.JPEG'),
        ('val_00.JPEG\tn01\nval_00.JPEG\tn01\n', ValueError, 'listed twice'),
        ('val_00.JPEG\tn01\n', ValueError, 'cut off: 3 images'),
        ('\n', ValueError, 'is empty'),
        (None, FileNotFoundError, 'val_annotations.txt does not exist'),
    ],
)
def test_annotations_of_tiny_imagenet_that_do_not_fit(tmp_path, line, error, message):
    make_tiny_imagenet(tmp_path / 'tiny')
    save(tmp_path / 'tiny' / 'val' / 'secret.JPEG', plain())
    path = tmp_path / 'tiny' / 'val' / 'val_annotations.txt'
    path.unlink()
    if line is not None:
        path.write_text(line)
    with pytest.raises(error, match=message):
        TinyImageNet(tmp_path / 'tiny', 'val')


def test_classes_of_tiny_imagenet_that_do_not_fit(tmp_path):
    make_tiny_imagenet(tmp_path)
    (tmp_path / 'wnids.txt').write_text('n01\nn02\nn03\n')
    with pytest.raises(ValueError, match='no folder for 1 of the 3 classes: n03'):
        TinyImageNet(tmp_path)
    with pytest.raises(ValueError, match='no image of 1 of the 3 classes: n03'):
        TinyImageNet(tmp_path, 'val')
    (tmp_path / 'wnids.txt').write_text('n01\n')
    with pytest.raises(ValueError, match='no class of the training split: n02'):
        TinyImageNet(tmp_path)
    (tmp_path / 'wnids.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'wnids\.txt'):
        TinyImageNet(tmp_path)


@pytest.fixture
def broken_folder(tmp_path):
    """A folder of 9 images two of which do not decode."""
    make_folder(tmp_path)
    (tmp_path / 'train' / 'ant' / '1.png').write_text('text')
    whole = (tmp_path / 'train' / 'cat' / '0.png').read_bytes()
    (tmp_path / 'train' / 'cat' / '0.png').write_bytes(whole[:400])
    return tmp_path


def test_images_that_do_not_decode_are_named_and_counted(broken_folder):
    with pytest.raises(ValueError, match='2 of 9 images do not decode') as broken:
        ImageFolder(broken_folder)
    assert str(broken_folder / 'train' / 'ant' / '1.png') in str(broken.value)
    assert str(broken_folder / 'train' / 'cat' / '0.png') in str(broken.value)
    assert 'skip_broken=True' in str(broken.value)


@pytest.mark.parametrize('in_memory', [True, False])
def test_broken_images_are_left_out_with_one_warning(broken_folder, in_memory):
    with pytest.warns(UserWarning, match='2 of 9 images do not decode and are left out') as warned:
        dataset = ImageFolder(broken_folder, in_memory=in_memory, size=20, skip_broken=True)
    assert len(warned) == 1
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert [dataset.path(i).name for i in range(7)] == [f'{n}.png' for n in (0, 2, 0, 1, 2, 1, 2)]
    batch = dataset.__getitems__(list(range(7)))
    assert batch['inputs'].shape == (7, 3, 20, 20)
    if in_memory:
        expected = resize_centre_crop(noise_image(0, 2), 20, 20).transpose(2, 0, 1)
        assert np.array_equal(batch['inputs'][1].numpy(), expected)
        assert dataset.images.is_shared()


def test_nothing_is_warned_of_where_all_images_decode(tmp_path):
    make_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(ImageFolder(tmp_path, skip_broken=True)) == 9


def test_a_class_of_broken_images_only_is_named(tmp_path):
    make_folder(tmp_path, per_class=1)
    (tmp_path / 'train' / 'bee' / '0.png').write_text('text')
    with (
        pytest.warns(UserWarning, match='1 of 3'),
        pytest.raises(ValueError, match='no image of 1 of the 3 classes: bee'),
    ):
        ImageFolder(tmp_path, skip_broken=True)


def test_a_file_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    """Skipping is for images that are broken, not for a disk that is."""
    make_folder(tmp_path, per_class=1)

    def fail(path):
        raise OSError(5, 'Input/output error', str(path))

    monkeypatch.setattr('sortkd_det.classification.data.folders.decode_image', fail)
    with pytest.raises(OSError, match='Input/output'):
        ImageFolder(tmp_path, skip_broken=True)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_broken_image_is_named_when_it_is_read_lazily(broken_folder, num_workers):
    dataset = ImageFolder(broken_folder, in_memory=False, size=20)
    assert dataset[0]['inputs'].shape == (3, 20, 20)
    loader = DataLoader(dataset, 9, num_workers=num_workers, collate_fn=collate)
    with pytest.raises(ValueError, match=r'ant/1\.png is no JPEG'):
        next(iter(loader))


def test_an_image_that_vanished_is_named(tmp_path):
    dataset = ImageFolder(make_folder(tmp_path), in_memory=False)
    dataset.path(3).unlink()
    with pytest.raises(FileNotFoundError, match=r'bee/0\.png'):
        dataset[3]


# --- items, batches, workers --------------------------------------------------------------------


@pytest.fixture
def in_memory(tmp_path):
    files, _ = make_files('cifar10', 'binary')
    write(tmp_path, 'cifar10', 'binary', files)
    return CIFAR(tmp_path, 'cifar10', check=False)


@pytest.fixture
def lazy(tmp_path):
    return ImageFolder(make_folder(tmp_path), in_memory=False, size=24, seed=3)


def test_an_item_is_an_index_or_an_epoch_and_an_index(in_memory):
    item = in_memory[(7, 5)]
    assert item == {**item, 'labels': int(in_memory.labels[5]), 'indices': 5, 'epoch': 7}
    assert torch.equal(item['inputs'], in_memory.images[5])
    assert in_memory[5]['epoch'] == 0
    assert in_memory[np.int64(5)]['indices'] == 5
    item['inputs'].zero_()
    assert in_memory.images[5].any()  # an item is a copy
    assert len(list(iter(in_memory[i] for i in range(len(in_memory))))) == 20


def test_a_batch_is_its_items(in_memory, lazy):
    for dataset in (in_memory, lazy):
        items = [(2, 8), (2, 0), (2, 3)]
        batch = dataset.__getitems__(items)
        assert batch['inputs'].dtype == torch.uint8
        assert batch['labels'].dtype == batch['indices'].dtype == torch.int64
        assert batch['indices'].tolist() == [8, 0, 3]
        assert batch['epoch'] == 2
        assert torch.equal(batch['labels'], dataset.labels[[8, 0, 3]])
        stacked = collate([dataset[item] for item in items])
        assert stacked.keys() == batch.keys()
        for key, value in stacked.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(batch[key]))
        assert collate(batch) == batch


def test_a_seeded_batch_says_its_epoch(in_memory, lazy):
    for dataset in (in_memory, lazy):
        batch = dataset.__getitems__(SeededBatch([8, 0, 3], 2, seed=1))
        for key, value in dataset.__getitems__([(2, 8), (2, 0), (2, 3)]).items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(batch[key]))


@pytest.mark.parametrize('index', [-1, 20, 10**30])
def test_an_index_out_of_range_is_refused(in_memory, index):
    with pytest.raises(IndexError, match='of a data set of 20 images'):
        in_memory[index]
    with pytest.raises(IndexError):
        in_memory.__getitems__([(0, 1), (0, index)])


def test_a_batch_is_of_one_epoch(in_memory):
    with pytest.raises(ValueError, match='one epoch'):
        in_memory.__getitems__([(0, 1), (1, 1)])
    with pytest.raises(ValueError, match='one epoch'):
        collate([in_memory[(0, 1)], in_memory[(1, 1)]])
    with pytest.raises(ValueError, match='one epoch'):
        in_memory.__getitems__([])


def test_configs_find_everything_by_name(tmp_path):
    for cls in (CIFAR, ImageFolder, ImageNet, TinyImageNet):
        assert DATASETS.get(cls.__name__) is cls
    assert FUNCTIONS.get('collate') is collate
    assert FUNCTIONS.get('sortkd_det.classification.data.collate') is collate


def test_mmengine_builds_a_loader_from_a_config(in_memory, tmp_path):
    config = {
        'dataset': {
            'type': 'sortkd_det.CIFAR',
            'root': str(tmp_path),
            'name': 'cifar10',
            'check': False,
        },
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'batch_sampler': {'type': 'sortkd_det.SeededBatchSampler'},
        'collate_fn': {'type': 'collate'},
        'batch_size': 8,
        'num_workers': 0,
    }
    batch = next(iter(Runner.build_dataloader(config, seed=3)))
    assert batch['indices'].tolist() == list(DefaultSampler(in_memory, seed=3))[:8]
    assert torch.equal(batch['inputs'], in_memory.images[batch['indices']])


def batches_of(dataset, epochs=2, **options):
    sampler = DefaultSampler(dataset, seed=11)
    batches = SeededBatchSampler(sampler, 4)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += list(loader)
    return found


@pytest.mark.parametrize('kind', ['in_memory', 'lazy'])
def test_batches_are_the_same_with_any_workers(request, kind):
    dataset = request.getfixturevalue(kind)
    expected = batches_of(dataset)
    assert [batch['epoch'] for batch in expected] == sorted(batch['epoch'] for batch in expected)
    assert expected[-1]['epoch'] == 1
    for options in ({'num_workers': 2}, {'num_workers': 2, 'persistent_workers': True}):
        found = batches_of(dataset, **options)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours['epoch'] == theirs['epoch']
            for key in ('inputs', 'labels', 'indices'):
                assert torch.equal(ours[key], theirs[key])


def test_random_crops_depend_on_seed_epoch_and_index_alone(lazy):
    torch.manual_seed(0)
    np.random.seed(0)
    first = lazy[(4, 2)]['inputs']
    lazy.__getitems__([(1, 7), (1, 2)])
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(lazy[(4, 2)]['inputs'], first)
    assert torch.equal(lazy.__getitems__([(4, 5), (4, 2)])['inputs'][1], first)
    assert not torch.equal(lazy[(5, 2)]['inputs'], first)
    other_seed = ImageFolder(lazy.root, in_memory=False, size=24, seed=4)
    assert not torch.equal(other_seed[(4, 2)]['inputs'], first)


def test_without_augmentation_epochs_are_alike(lazy):
    for dataset in (
        ImageFolder(lazy.root, 'val', in_memory=False, size=28),
        ImageFolder(lazy.root, 'train', in_memory=False, size=28, augment=False),
    ):
        assert torch.equal(dataset[(0, 4)]['inputs'], dataset[(9, 4)]['inputs'])
        expected = resize_centre_crop(noise_image(1, 1), 32, 28).transpose(2, 0, 1)
        assert np.array_equal(dataset[4]['inputs'].numpy(), expected)


class WritesInto(torch.utils.data.Dataset):
    """Writes into the images of a data set, to see who sees it."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.dataset.images[0].fill_(123)
        return 0


def test_workers_hold_the_same_memory(in_memory, tmp_path):
    assert in_memory.images.is_shared()
    assert in_memory.labels.is_shared()
    assert in_memory.images.is_contiguous()
    assert ImageFolder(make_folder(tmp_path / 'folder')).images.is_shared()
    assert not (in_memory.images[0] == 123).all()
    list(DataLoader(WritesInto(in_memory), num_workers=1))
    assert (in_memory.images[0] == 123).all()
