"""Data sets of five images."""

import json

import cv2
import numpy as np
import pytest
from coco_files import CLASSES, coco


@pytest.fixture
def root(tmp_path):
    """A folder of five images."""
    (tmp_path / 'images').mkdir()
    for i in range(5):
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), np.zeros((60, 80, 3), np.uint8))
    return tmp_path


@pytest.fixture
def part(root):
    """Write a file, and return the config of a data set of it."""

    def make(content=None, name='data.json', **settings):
        (root / name).write_text(json.dumps(coco() if content is None else content))
        return dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file=name,
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=CLASSES),
            **settings,
        )

    return make
