"""CIFAR in its published forms: read as it is, refused where it is hostile or damaged."""

import os
import pickle
import random
import tarfile
import zlib

import numpy as np
import pytest
import torch
from image_folders import mutated, read_or_refused
from odd_checkpoints import Call
from tiny_cifar import (
    ARCHIVES,
    LAYOUTS,
    PER_FILE,
    class_names,
    every_layout,
    make_files,
    python2_pickle,
    write,
    write_tar,
)

from sortkd_det.checkpoints.pickles import read_plain_pickle
from sortkd_det.classification.data import CIFAR, cifar


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
    layout = cifar.LAYOUTS['cifar100'][1]
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
    monkeypatch.setattr(cifar, 'MAX_ARCHIVE_BYTES', 2**21)
    monkeypatch.setattr(cifar, 'MAX_FILE_BYTES', 2**20)
    write_tar(tmp_path / 'cifar-100-binary.tar.gz', {member: bytes(2**22)})
    with pytest.raises(ValueError, match='more than'):
        CIFAR(tmp_path, split='test', check=False)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    write(tmp_path, 'cifar100', 'binary', make_files('cifar100', 'binary')[0])
    monkeypatch.setattr(cifar, 'MAX_FILE_BYTES', 5000)
    with pytest.raises(ValueError, match=r'test\.bin has more than 5000 bytes'):
        CIFAR(tmp_path, split='test', check=False)


@pytest.mark.parametrize('arguments', [{'name': 'cifar20'}, {'split': 'val'}])
def test_cifar_names_what_it_knows(tmp_path, arguments):
    with pytest.raises(ValueError, match='must be'):
        CIFAR(tmp_path, **arguments)
