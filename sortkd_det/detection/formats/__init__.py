"""Labels in the formats that people have, turned into COCO's."""

from .coco import Box, LabelledImage, describe, write_coco
from .voc import read_voc
from .yolo import read_yolo

__all__ = ['Box', 'LabelledImage', 'describe', 'read_voc', 'read_yolo', 'write_coco']
