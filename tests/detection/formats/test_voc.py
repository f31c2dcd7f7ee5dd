"""VOC's XML to COCO: numbers as MMDetection's own converter gives them, and what it refuses."""

import importlib.util
import json
import random
from pathlib import Path

import mmdet
import pytest
from PIL import Image

from sortkd_det.detection.formats import describe, read_voc, write_coco

OBJECT = """<object><name>{name}</name>{difficult}<bndbox>
<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""
SIZE = '<size><width>40</width><height>30</height><depth/></size>'


def voc_object(name='dog', box=(5, 6, 15, 26), difficult='<difficult>0</difficult>'):
    xmin, ymin, xmax, ymax = box
    return OBJECT.format(name=name, difficult=difficult, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


def annotation(*objects, size=SIZE):
    return f'<annotation><filename>x.jpg</filename>{size}{"".join(objects)}</annotation>'


class Devkit:
    """A data set in VOC's layout, in a folder."""

    def __init__(self, root):
        self.root = root
        for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
            (root / folder).mkdir(parents=True)

    def add(self, name, xml, split='train', suffix='.jpg', size=(40, 30)):
        with (self.root / f'ImageSets/Main/{split}.txt').open('a') as file:
            file.write(f'{name}\n')
        image = self.root / f'JPEGImages/{name}{suffix}'
        image.parent.mkdir(exist_ok=True)
        Image.new('RGB', size).save(image)
        path = self.root / f'Annotations/{name}.xml'
        path.parent.mkdir(exist_ok=True)
        path.write_text(xml)
        return path


@pytest.fixture
def devkit(tmp_path):
    return Devkit(tmp_path / 'voc')


def boxes_of(devkit, classes=('dog',), **settings):
    """The boxes of the training images, as COCO will have them."""
    images = read_voc(devkit.root, classes, **settings)['train']
    return [box.bbox for image in images for box in image.boxes]


# -- numbers -----------------------------------------------------------------


def test_whole_numbers_become_what_mmdetections_converter_makes_of_them(devkit, tmp_path):
    """With VOC's own twenty classes, as its script knows no others."""
    path = Path(mmdet.__file__).parent / '.mim/tools/dataset_converters/pascal_voc.py'
    spec = importlib.util.spec_from_file_location('mmdet_pascal_voc', path)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    classes = theirs.voc_classes()
    rng = random.Random(0)
    xmls = []
    for index in range(12):
        objects = []
        for _ in range(index % 5):
            x, y = rng.randint(0, 30), rng.randint(0, 20)
            box = (x, y, x + rng.randint(0, 10), y + rng.randint(0, 10))
            flag = f'<difficult>{rng.randint(0, 1)}</difficult>'
            objects.append(voc_object(rng.choice(classes), box, flag))
        xmls.append(devkit.add(f'{index:03}', annotation(*objects)))
    expected = theirs.cvt_to_coco_json(
        [theirs.parse_xml((str(xml), f'{xml.stem}.jpg')) for xml in xmls]
    )
    splits = read_voc(devkit.root, classes, first_pixel=1)
    with pytest.warns(UserWarning, match='2 of 21 boxes have no width or no height'):
        (written,) = write_coco(splits, classes, tmp_path / 'out')
    ours = json.loads(written.read_text())
    assert len(ours['annotations']) == 21
    assert ours['images'] == expected['images']
    assert ours['categories'] == [
        {key: category[key] for key in ('id', 'name')} for category in expected['categories']
    ]
    for entry in expected['annotations']:
        del entry['segmentation']  # of rectangles, which are no masks
        entry['id'] += 1  # pycocotools takes the id 0 for no match
    assert ours['annotations'] == expected['annotations']


def test_voc_counts_pixels_from_1(devkit, tmp_path):
    devkit.add('a', annotation(voc_object(box=(1, 2, 3, 9))))
    assert boxes_of(devkit) == [(0, 1, 2, 7)]
    assert boxes_of(devkit, first_pixel=0) == [(1, 2, 2, 7)]
    (written,) = write_coco(read_voc(devkit.root, ['dog']), ['dog'], tmp_path / 'out')
    assert '"bbox": [0, 1, 2, 7], "area": 14' in written.read_text()  # and not 0.0, 1.0


def test_numbers_that_are_not_whole_are_kept(devkit):
    devkit.add('a', annotation(voc_object(box=('42.6389', ' 7.5\n', '1e2', '20.0'))))
    assert boxes_of(devkit, first_pixel=0) == [(42.6389, 7.5, 100 - 42.6389, 12.5)]
    with pytest.warns(UserWarning, match=r'1 of 1 boxes .* object 1 \(dog\) of .*a\.xml'):
        assert boxes_of(devkit) == [(42.6389 - 1, 6.5, 100 - 42.6389, 12.5)]


def test_a_data_set_that_seems_to_count_from_0_is_named(devkit, recwarn):
    devkit.add('a', annotation(voc_object(), voc_object(box=(0, 6, 15, 26))))
    with pytest.warns(UserWarning, match=r'object 2 \(dog\) of .* give --first-pixel 0'):
        assert boxes_of(devkit) == [(4, 5, 10, 20), (-1, 5, 15, 20)]
    recwarn.clear()
    boxes_of(devkit, first_pixel=1)
    assert not recwarn.list


def test_difficult_objects_become_crowds_and_come_last(devkit):
    flags = ('<difficult>1</difficult>', '<difficult/>', '', '<difficult>Unspecified</difficult>')
    devkit.add('a', annotation(*(voc_object(difficult=flag) for flag in flags)))
    (image,) = read_voc(devkit.root, ['dog'])['train']
    assert [box.is_crowd for box in image.boxes] == [False, False, False, True]


def test_a_split_is_described_in_a_line(devkit):
    crowd = voc_object('cat', difficult='<difficult>1</difficult>')
    devkit.add('a', annotation(voc_object(), voc_object(), crowd))
    devkit.add('b', annotation())
    images = read_voc(devkit.root, ['dog', 'cat', 'owl'])['train']
    assert describe(images, ['dog', 'cat', 'owl']) == (
        '2 images, 1 of them without a box; 3 boxes: 2 dog, 1 cat, 0 owl; '
        '1 of them crowds, which are not trained on'
    )


# -- sizes and images --------------------------------------------------------


@pytest.mark.parametrize(
    'size',
    ['', '<size/>', '<size><width/><height/></size>', SIZE.replace('40', '0')],
    ids=['none', 'empty', 'empty parts', 'zero'],
)
def test_a_size_that_is_not_given_is_read_from_the_image(devkit, recwarn, size):
    devkit.add('a', annotation(voc_object(), size=size), size=(64, 48))
    (image,) = read_voc(devkit.root, ['dog'])['train']
    assert image.size == (64, 48)
    assert not recwarn.list


def test_a_size_that_is_not_the_images_is_said(devkit):
    devkit.add('a', annotation(voc_object()), size=(30, 40))
    with pytest.warns(UserWarning, match=r'in 1 of 1 .*a\.xml with 40 × 30, its image has 30 × 40'):
        (image,) = read_voc(devkit.root, ['dog'])['train']
    assert image.size == (30, 40)


@pytest.mark.parametrize('suffix', ['.png', '.JPG', '.bmp', '.jpeg', '.webp', '.tif'])
def test_images_may_end_in_anything_that_images_end_in(devkit, tmp_path, suffix):
    devkit.add('sub/a b.c', annotation(voc_object()), suffix=suffix)
    (written,) = write_coco(read_voc(devkit.root, ['dog']), ['dog'], tmp_path / 'out')
    (image,) = json.loads(written.read_text())['images']
    assert image == {'id': 0, 'file_name': f'sub/a b.c{suffix}', 'width': 40, 'height': 30}
    assert (tmp_path / 'out/images' / image['file_name']).is_file()


def test_an_image_without_objects_is_background(devkit, tmp_path):
    devkit.add('a', annotation())
    devkit.add('b', '<annotation/>')
    assert [image.boxes for image in read_voc(devkit.root, ['dog'])['train']] == [[], []]


def test_folders_of_images_with_xml_beside_them_are_splits(tmp_path):
    """As Roboflow exports them."""
    for split in ('train', 'valid'):
        (tmp_path / f'in/{split}').mkdir(parents=True)
        Image.new('RGB', (40, 30)).save(tmp_path / f'in/{split}/a_jpg.rf.0.jpg')
        (tmp_path / f'in/{split}/a_jpg.rf.0.xml').write_text(annotation(voc_object()))
    splits = read_voc(tmp_path / 'in', ['dog'])
    written = write_coco(splits, ['dog'], tmp_path / 'out')
    assert [path.name for path in written] == ['train.json', 'valid.json']
    for path, split in zip(written, splits, strict=True):
        (image,) = json.loads(path.read_text())['images']
        assert image['file_name'] == f'{split}/a_jpg.rf.0.jpg'
        assert (tmp_path / 'out/images' / image['file_name']).is_file()


def test_images_without_xml_are_counted(tmp_path):
    (tmp_path / 'train').mkdir()
    for name in 'abc':
        Image.new('RGB', (40, 30)).save(tmp_path / f'train/{name}.jpg')
    (tmp_path / 'train/b.xml').write_text(annotation(voc_object()))
    with pytest.warns(
        UserWarning, match=r'2 of the 3 images in .*train have no XML file .* the first is .*a\.jpg'
    ):
        (image,) = read_voc(tmp_path, ['dog'])['train']
    assert image.name == 'train/b.jpg'
    (tmp_path / 'train/a.xml').write_text('<annotation/>')
    with pytest.warns(UserWarning, match=r'1 of the 3 images .*c\.jpg'):
        assert [len(each.boxes) for each in read_voc(tmp_path, ['dog'])['train']] == [0, 1]


def test_other_layouts_are_told_what_is_expected(devkit, tmp_path):
    expected = r'expected Annotations, JPEGImages and ImageSets/Main/<split>\.txt, or a folder'
    devkit.add('a', annotation(voc_object()))
    (devkit.root / 'ImageSets/Main/train.txt').unlink()
    (devkit.root / 'ImageSets/Main').rmdir()  # its Annotations are no split
    with pytest.raises(FileNotFoundError, match=f'has no list for .* there: none; {expected}'):
        read_voc(devkit.root, ['dog'])
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'flat/a.xml').write_text(annotation(voc_object()))
    with pytest.raises(FileNotFoundError, match=expected):
        read_voc(tmp_path / 'flat', ['dog'])


def test_by_default_train_val_and_test_are_read_as_far_as_they_are_there(devkit):
    for split in ('val', 'train', 'trainval'):
        devkit.add(split, annotation(voc_object()), split)
    assert list(read_voc(devkit.root, ['dog'])) == ['train', 'val']
    assert list(read_voc(devkit.root, ['dog'], ['trainval'])) == ['trainval']


# -- what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ('xml', 'said'),
    [
        (annotation(voc_object(box=('x', 6, 15, 26))), r"<xmin> of object 1 \(dog\) is 'x', expec"),
        (annotation(voc_object(), voc_object(box=(5, 6, '', 26))), r"<xmax> of object 2 .* is ''"),
        (annotation(voc_object(box=(5, 'nan', 15, 26))), "<ymin> of object 1 .* is 'nan'"),
        (annotation(voc_object().replace('ymax', 'y')), r'there is no <ymax> of object 1 \(dog\)'),
        (
            annotation(voc_object().replace('bndbox', 'polygon')),
            r'object 1 \(dog\) has no <bndbox>, but <name>, <difficult>, <polygon>',
        ),
        (annotation(voc_object('cat')), r"object 1 \(cat\) is of no class of --classes \['dog'\]"),
        (annotation(voc_object('')), r'object 1 \(without a <name>\) is of no class'),
        (annotation(voc_object(difficult='<difficult>no</difficult>')), '<difficult> of .*expecte'),
        (annotation(size=SIZE.replace('40', 'forty')), "<width> of <size> is 'forty'"),
        ('<annotations/>', 'its root is <annotations>, expected <annotation>'),
        (annotation()[:-9], 'it is no XML '),
        ('{}', 'it is no XML '),
    ],
)
def test_what_is_no_annotation_is_refused_by_file_and_element(devkit, tmp_path, xml, said):
    devkit.add('good', annotation(voc_object()))
    devkit.add('bad', xml)
    with pytest.raises(ValueError, match=rf"bad\.xml is no annotation of VOC's: {said}"):
        read_voc(devkit.root, ['dog'])


def test_missing_and_doubtful_images_are_named(devkit):
    devkit.add('a', annotation(voc_object()))
    (devkit.root / 'JPEGImages/a.jpg').rename(devkit.root / 'JPEGImages/b.jpg')
    with pytest.raises(FileNotFoundError, match=r'an image .*/a\.\*, which train\.txt asks for'):
        read_voc(devkit.root, ['dog'])
    for suffix in ('.jpg', '.png'):
        Image.new('RGB', (40, 30)).save(devkit.root / f'JPEGImages/a{suffix}')
    with pytest.raises(ValueError, match=r'is there twice: .*a\.jpg, .*a\.png'):
        read_voc(devkit.root, ['dog'])
    (devkit.root / 'JPEGImages/a.png').unlink()
    (devkit.root / 'JPEGImages/a.jpg').write_text('no image')
    with pytest.raises(ValueError, match=r'a\.jpg is no image that can be read'):
        read_voc(devkit.root, ['dog'])


def test_a_missing_annotation_is_named(devkit):
    devkit.add('a', annotation()).unlink()
    with pytest.raises(FileNotFoundError, match=r'Annotations/a\.xml, which train\.txt asks for'):
        read_voc(devkit.root, ['dog'])
