"""CIFAR and images of classifiers from strangers: read, or refused by name."""

import io
import pickle
import tarfile
import time
import zlib

import cv2
import numpy as np
import pytest
from hostile import few_or_many, read_mutations
from PIL import Image

from sortkd_det.classification.data import CIFAR, decode_image


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


def test_a_pickle_of_millions_of_lists_is_refused_early(tmp_path):
    write_cifar(tmp_path, cifar_files() | {'test': b'\x80\x02' + b']' * 2**22 + b'.'})
    with pytest.raises(ValueError, match=r'test is .*damaged: it has more than 1048576 dicts'):
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
