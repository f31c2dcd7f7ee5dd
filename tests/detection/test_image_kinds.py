"""What becomes of odd images, for detectors and classifiers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sortkd_det.classification.data import decode_image

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
