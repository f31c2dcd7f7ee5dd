"""Sizes of images are those that MMDetection will find."""

import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from sortkd_det.detection.formats.images import image_size

ORIENTATION = 0x0112


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_the_size_is_that_of_the_image_that_mmdetection_loads(tmp_path, suffix, orientation):
    path = tmp_path / f'x{suffix}'
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new('RGB', (40, 30)).save(path, exif=exif)
    height, width = LoadImageFromFile()({'img_path': str(path)})['img'].shape[:2]
    assert image_size(path) == (width, height)
    assert (height > width) == (orientation >= 5) or suffix != '.jpg'


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1', 'I;16'])
def test_of_any_kind_of_pixels(tmp_path, mode):
    Image.new(mode, (40, 30)).save(tmp_path / 'x.tif')
    assert image_size(tmp_path / 'x.tif') == (40, 30)
