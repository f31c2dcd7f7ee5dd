import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sortkd_det.detection.voc import voc_to_coco

XML = """<annotation><size><width>40</width><height>30</height></size>
<object><name>{name}</name><difficult>0</difficult><bndbox>
<xmin>5</xmin><ymin>6</ymin><xmax>15</xmax><ymax>26</ymax></bndbox></object></annotation>"""


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / 'voc'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for split, names in (('train', ['a', 'b']), ('val', ['c'])):
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(names))
        for name in names:
            Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(root / f'JPEGImages/{name}.jpg')
            (root / f'Annotations/{name}.xml').write_text(XML.format(name='WBC'))
    return root


def test_boxes_classes_and_images_arrive(devkit, tmp_path, capsys):
    written = voc_to_coco(devkit, tmp_path / 'out', ['RBC', 'WBC'], ['train', 'val'])
    assert [path.name for path in written] == ['train.json', 'val.json']
    coco = COCO(str(written[0]))
    assert [c['name'] for c in coco.cats.values()] == ['RBC', 'WBC']
    assert len(coco.imgs) == 2
    for annotation in coco.anns.values():
        assert annotation['bbox'] == [4, 5, 10, 20]  # VOC counts pixels from 1
        assert coco.cats[annotation['category_id']]['name'] == 'WBC'
    for image in coco.imgs.values():
        assert (tmp_path / 'out/images' / image['file_name']).is_file()


def test_an_unknown_class_is_named(devkit, tmp_path):
    with pytest.raises(ValueError, match=r"class 'WBC'.*--classes \['RBC'\]"):
        voc_to_coco(devkit, tmp_path / 'out', ['RBC'], ['train'])


def test_a_missing_image_is_named(devkit, tmp_path):
    (devkit / 'JPEGImages/b.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'b\.jpg, listed in train\.txt'):
        voc_to_coco(devkit, tmp_path / 'out', ['WBC'], ['train'])
    assert not (tmp_path / 'out/annotations/train.json').exists()
