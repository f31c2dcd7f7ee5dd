"""PASCAL VOC annotations with classes of one's own, by MMDetection's converter."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import mmdet


def voc_to_coco(
    source: str | Path, out: str | Path, classes: Sequence[str], splits: Sequence[str]
) -> list[Path]:
    """Write ``out/annotations/<split>.json`` and copy the images to ``out/images``.

    Args:
        source: folder with ``Annotations/*.xml``, ``JPEGImages/*.jpg`` and
            ``ImageSets/Main/<split>.txt``.
        out: folder to make.
        classes: names of the classes; their ids are their places, from 0.
        splits: names of the lists to convert.

    Returns:
        The annotation files.

    Raises:
        FileNotFoundError: a list, an annotation or an image is missing.
        ValueError: an object of a class that is not among ``classes``.
    """
    source, out = Path(source), Path(out)
    converter = _converter(classes)
    written = []
    for split in splits:
        names = (source / 'ImageSets/Main' / f'{split}.txt').read_text().split()
        images = [source / 'JPEGImages' / f'{name}.jpg' for name in names]
        xmls = [source / 'Annotations' / f'{name}.xml' for name in names]
        for path in (*images, *xmls):
            if not path.is_file():
                raise FileNotFoundError(f'{path}, listed in {split}.txt, does not exist')
        annotations = []
        for xml, image in zip(xmls, images, strict=True):
            try:
                annotations.append(converter.parse_xml((str(xml), image.name)))
            except KeyError as error:
                raise ValueError(
                    f'{xml} has an object of class {error}, which is not among --classes '
                    f'{list(classes)}'
                ) from error
        path = out / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        (out / 'images').mkdir(exist_ok=True)
        for image in images:
            shutil.copyfile(image, out / 'images' / image.name)
        path.write_text(json.dumps(converter.cvt_to_coco_json(annotations)))
        written.append(path)
    return written


def _converter(classes: Sequence[str]) -> ModuleType:
    """A copy of MMDetection's converter of its own, which knows ``classes``."""
    path = Path(mmdet.__file__).parent / '.mim/tools/dataset_converters/pascal_voc.py'
    if not path.is_file():
        raise FileNotFoundError(f'this MMDetection has no converter at {path}')
    spec = importlib.util.spec_from_file_location('mmdet_pascal_voc', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.voc_classes = lambda: list(classes)
    module.label_ids = {name: index for index, name in enumerate(classes)}
    return module
