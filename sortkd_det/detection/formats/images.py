"""Files of images: found in folders, and their sizes."""

from collections.abc import Iterable
from pathlib import Path

from ..image_sizes import image_sizes

#: What names of images end in, in lower case; OpenCV reads them all.
IMAGE_SUFFIXES = (
    *('.avif', '.bmp', '.dib', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm'),
    *('.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp'),
)
_FORMATS = ('AVIF', 'BMP', 'DIB', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')


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
    """Width and height in pixels as MMDetection loads the image; as :func:`image_sizes`."""
    return image_sizes(path, _FORMATS)[0]
