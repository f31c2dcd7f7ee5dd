"""PASCAL VOC annotations with classes of one's own, by MMDetection's converter."""

import importlib.util
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

import mmdet
import numpy as np

_MAX_XML_BYTES = 2**24
_MAX_COORDINATE = 2**31


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
        ValueError: an object of a class that is not among ``classes``, a class named twice, a
            list that is empty, names an image twice or leads out of its folder, or an annotation
            that is not VOC's.
    """
    if len(set(classes)) < len(classes):
        raise ValueError(f'--classes must differ, got {" ".join(classes)}')
    source, out = Path(source), Path(out)
    converter = _converter(classes)
    written = []
    for split in splits:
        names = _listed(source / 'ImageSets/Main' / f'{split}.txt')
        images = [source / 'JPEGImages' / f'{name}.jpg' for name in names]
        xmls = [source / 'Annotations' / f'{name}.xml' for name in names]
        for path in (*images, *xmls):
            if not path.is_file():
                raise FileNotFoundError(f'{path}, listed in {split}.txt, does not exist')
        annotations = []
        for xml, image in zip(xmls, images, strict=True):
            try:
                _refuse_entities(xml)
                annotation = converter.parse_xml((str(xml), image.name))
                _check_boxes(annotation['ann'])
            except KeyError as error:
                raise ValueError(
                    f'{xml} has an object of class {error}, which is not among --classes '
                    f'{list(classes)}'
                ) from error
            except (
                AttributeError,
                LookupError,
                ParseError,
                TypeError,
                ValueError,
                expat.ExpatError,
            ) as error:
                raise ValueError(
                    f"{xml} is no annotation of VOC's ({error}); expected a size with width and "
                    'height, and objects with name, difficult and bndbox, in whole pixels'
                ) from error
            annotations.append(annotation)
        path = out / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        (out / 'images').mkdir(exist_ok=True)
        for image in images:
            shutil.copyfile(image, out / 'images' / image.name)
        path.write_text(json.dumps(converter.cvt_to_coco_json(annotations)))
        written.append(path)
    return written


def _listed(path: Path) -> list[str]:
    """The names in a list of images."""
    if not path.is_file():
        there = ', '.join(sorted(file.stem for file in path.parent.glob('*.txt'))) or 'none'
        raise FileNotFoundError(f'{path} does not exist; lists for --splits there: {there}')
    names = path.read_text(encoding='utf-8', errors='replace').split()
    if not names:
        raise ValueError(f'{path} lists no images')
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f'{path} lists {name} {times} times')
        if Path(name).name != name:
            raise ValueError(f'{path} lists {name}, which leads out of JPEGImages and Annotations')
    return names


def _refuse_entities(xml: Path) -> None:
    """Raise for a document type: VOC has none, and its entities can expand without end."""

    def refuse(name: str, *_: Any) -> None:
        raise ValueError(f'it declares the document type {name}')

    if xml.stat().st_size > _MAX_XML_BYTES:
        raise ValueError(f'it has more than {_MAX_XML_BYTES} bytes')
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    with xml.open('rb') as file:
        parser.ParseFile(file)


def _check_boxes(annotation: dict[str, np.ndarray]) -> None:
    for key in ('bboxes', 'bboxes_ignore'):
        if not (np.abs(annotation[key]) < _MAX_COORDINATE).all():
            raise ValueError(f'it has a coordinate beyond {_MAX_COORDINATE}')


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
