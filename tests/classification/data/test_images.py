"""Images decoded and resized; what is hostile, damaged or odd is named."""

import io
import random
import struct
import zlib

import cv2
import numpy as np
import pytest
from image_folders import RGB, mutated, plain, read_or_refused, save
from PIL import Image

from sortkd_det.classification.data import decode_image, images
from sortkd_det.classification.data.images import random_resized_crop, resize_centre_crop


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
def test_the_size_is_read_from_every_header(tmp_path, monkeypatch, suffix, options):
    path = save(tmp_path / f'image{suffix}', plain(37, 53), **options)
    monkeypatch.setattr(images, 'MAX_PIXELS', 53 * 37 - 1)
    with pytest.raises(ValueError, match='has 53 × 37 pixels, more than'):
        decode_image(path)


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
