"""Image files to arrays: decoded within bounds, cropped and resized."""

import math
import struct
from pathlib import Path

import cv2
import numpy as np

#: Endings that a data set takes for images, in any case.
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')
MAX_PIXELS = 2**27  # ImageNet's largest image has half of that
_MAX_FILE_BYTES = 2**28
_MAX_DECODED = 2**32  # pixels, those of each scan of a JPEG counted: about 4 s
_MAX_ASPECT = 4  # of what is resized before a centre crop
_NUM_TRIES = 10


def decode_image(path: str | Path) -> np.ndarray:
    """Decode a JPEG, PNG, BMP or WebP file, recognised by content.

    Turned as its EXIF orientation says. Grey, palette, 16-bit and CMYK images
    become 8-bit RGB; an alpha channel is dropped.

    Args:
        path: the file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file has none of these formats, is damaged or cut off, has more
            than 2²⁷ pixels or 256 MiB, or so many scans (of a JPEG) that decoding
            it would take minutes; the message names it.
    """
    with open(path, 'rb') as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f'{path} has more than {_MAX_FILE_BYTES} bytes')
    size = _declared_size(content)
    if size is None:
        raise ValueError(f'{path} is no JPEG, PNG, BMP or WebP image, or is cut off')
    width, height = size
    if width * height > MAX_PIXELS:
        raise ValueError(f'{path} has {width} × {height} pixels, more than {MAX_PIXELS} in all')
    # A scan takes ten bytes at least: most files are too short for a count to matter.
    if width * height * len(content) > 10 * _MAX_DECODED and content.startswith(b'\xff\xd8'):
        scans = content.count(b'\xff\xda')
        if width * height * scans > _MAX_DECODED:
            raise ValueError(f'{path} has {scans} scans of {width} × {height} pixels')
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'{path} does not decode: {error}') from error
    if image is None:
        raise ValueError(f'{path} does not decode: it is damaged or cut off')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _declared_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as the header says, before anything is allocated for them."""
    try:
        if content.startswith(b'\xff\xd8\xff'):
            return _jpeg_size(content)
        if content.startswith(b'\x89PNG\r\n\x1a\n'):
            return struct.unpack_from('>II', content, 16)
        if content.startswith(b'BM'):
            return _bmp_size(content)
        if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
            return _webp_size(content)
    except (IndexError, struct.error):
        pass
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    place = 2
    while True:
        place = content.find(b'\xff', place)
        if place < 0:
            return None
        marker = content[place + 1]
        if marker in (0x00, 0xFF):  # stuffing
            place += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no length
            place += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame
            height, width = struct.unpack_from('>HH', content, place + 5)
            return width, height
        elif marker in (0xD9, 0xDA):  # the end, or pixels without a frame
            return None
        else:
            place += 2 + struct.unpack_from('>H', content, place + 2)[0]


def _bmp_size(content: bytes) -> tuple[int, int]:
    if struct.unpack_from('<I', content, 14)[0] == 12:
        return struct.unpack_from('<HH', content, 18)
    width, height = struct.unpack_from('<ii', content, 18)
    return abs(width), abs(height)  # a negative height: rows from the top


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b'VP8X':
        low = [int.from_bytes(content[start : start + 3], 'little') for start in (24, 27)]
        return low[0] + 1, low[1] + 1
    if kind == b'VP8L':
        bits = struct.unpack_from('<I', content, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', content, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, 3) uint8: by area where it shrinks both ways, bicubic otherwise."""
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def centre_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle (height, width) of an image that has at least that."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def resize_centre_crop(image: np.ndarray, shorter_side: int, size: int) -> np.ndarray:
    """Resize the shorter side, then cut out the middle square.

    Args:
        image: (H, W, 3) uint8.
        shorter_side: in pixels, at least ``size``.
        size: of the square, in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    # A long strip, which the crop drops anyway, could take gigabytes when enlarged.
    longest = _MAX_ASPECT * min(image.shape[:2])
    image = centre_crop(image, min(image.shape[0], longest), min(image.shape[1], longest))
    height, width = image.shape[:2]
    scale = shorter_side / min(height, width)
    image = resize(
        image, max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
    )
    return centre_crop(image, size, size)


def random_resized_crop(
    image: np.ndarray,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """Cut out a random rectangle and resize it to a square (Szegedy et al. 2015, section 6).

    Ten tries to find one within the image, then the largest in the middle whose
    ratio is allowed.

    Args:
        image: (H, W, 3) uint8.
        size: of the square, in pixels.
        rng: where the random numbers come from.
        scale: of the rectangle's area to that of the image, uniform between these.
        ratio: of its width to its height, log-uniform between these.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = image.shape[:2]
    for _ in range(_NUM_TRIES):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return resize(image[top : top + crop_height, left : left + crop_width], size, size)
    crop_width = min(width, max(1, round(height * ratio[1])))
    crop_height = min(height, max(1, round(width / ratio[0])))
    return resize(centre_crop(image, crop_height, crop_width), size, size)
