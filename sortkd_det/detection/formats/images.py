"""Files of images: found in folders, and their sizes."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
from PIL import Image

#: What names of images end in, in lower case; OpenCV reads them all.
IMAGE_SUFFIXES = (
    *('.avif', '.bmp', '.dib', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm'),
    *('.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp'),
)
_FORMATS = ('AVIF', 'BMP', 'DIB', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
_ORIENTATION = 0x0112  # of EXIF; from 5 on the image is turned by a quarter


def index_files(folder: Path, suffixes: Iterable[str]) -> dict[str, list[Path]]:
    """Files of a folder and those within it, by their path there without its suffix.

    Args:
        folder: one that is not there has none.
        suffixes: in lower case: ``('.xml',)``.
    """
    index: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() in suffixes:
            index.setdefault(path.relative_to(folder).with_suffix('').as_posix(), []).append(path)
    return index


def index_images(folder: Path) -> dict[str, list[Path]]:
    """The images of a folder; as :func:`index_files`."""
    return index_files(folder, IMAGE_SUFFIXES)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as MMDetection loads the image: turned where EXIF data says so.

    Only the beginning of the file is read, unless it is turned by a quarter.

    Raises:
        ValueError: it is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of sizes that would be dangerous to decode
            with Image.open(path, formats=_FORMATS) as image:
                is_turned = 'exif' in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
                width, height = image.size
        if is_turned:  # which formats it turns, OpenCV knows
            height, width = cv2.imread(str(path)).shape[:2]
    except Exception as error:  # readers of images raise many kinds
        raise ValueError(f'{path} is no image that can be read ({error})') from error
    return width, height
