"""The size of an image, without decoding it."""

import os
import warnings
from collections.abc import Sequence

import cv2
from PIL import Image

_ORIENTATION = 0x0112  # of EXIF; from 5 on the image is turned by a quarter


def image_sizes(
    path: str | os.PathLike, formats: Sequence[str] | None = None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height in pixels, as MMDetection loads an image and as they are stored.

    The two differ where EXIF data says that the image is to be turned. Only the
    beginning of the file is read, unless it is.

    Args:
        path: the file.
        formats: Pillow's names of those that are taken; None: all that it knows.

    Raises:
        ValueError: the file is not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of sizes that would be dangerous to decode
            with Image.open(path, formats=formats) as image:
                stored = loaded = image.size
                # To look for EXIF data that may follow the pixels, Pillow would decode a PNG.
                has_exif = image.format != 'PNG' or 'exif' in image.info
                is_turned = has_exif and image.getexif().get(_ORIENTATION, 1) >= 5
        if is_turned:  # which formats it turns, OpenCV knows
            height, width = cv2.imread(os.fspath(path)).shape[:2]
            loaded = width, height
    except Exception as error:  # readers of images raise many kinds
        raise ValueError(f'{path} is no image that can be read ({error})') from error
    return loaded, stored
