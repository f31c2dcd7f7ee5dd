"""YOLO's text files to COCO: where rows are looked for, exact numbers, and what is refused."""

import json

import pytest
from PIL import Image

from sortkd_det.detection.formats import read_yolo, write_coco

YAML = 'names: [cat, dog]\ntrain: images/train\n'


@pytest.fixture
def data(tmp_path):
    """``data(files)``: a folder of text files, and of images of 64 × 48 where the text is None."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / 'in' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                Image.new('RGB', (64, 48)).save(path)
            else:
                path.write_text(text)
        return tmp_path / 'in'

    return make


def one_image(rows, yaml=YAML):
    return {'data.yaml': yaml, 'images/train/a.jpg': None, 'labels/train/a.txt': rows}


def boxes_of(root, **settings):
    _, splits = read_yolo(root, **settings)
    return {
        split: {image.name: [(box.label, *box.bbox) for box in image.boxes] for image in images}
        for split, images in splits.items()
    }


# -- numbers -----------------------------------------------------------------


def test_shares_of_the_image_become_pixels(data):
    root = data(one_image('0 0.5 0.5 0.25 0.5\n\n 1.0\t0.1 0.2 0.3 0.4\r\n'))
    x, y = (0.1 - 0.3 / 2) * 64, (0.2 - 0.4 / 2) * 48
    assert boxes_of(root)['train']['train/a.jpg'] == [
        (0, 24, 12, 16, 24),
        (1, x, y, 0.3 * 64, 0.4 * 48),
    ]


def test_polygons_become_the_boxes_around_them_and_are_counted(data):
    root = data(one_image('1 0.25 0.5 0.5 0.25 0.75 0.75\n0 0.5 0.5 0.5 0.5\n'))
    with pytest.warns(UserWarning, match='1 of the rows of train are polygons; the box'):
        boxes = boxes_of(root)
    assert boxes['train']['train/a.jpg'] == [(1, 16, 12, 32, 24), (0, 16, 12, 32, 24)]


def test_coco_has_the_names_sizes_and_boxes(data, tmp_path):
    root = data({**one_image('1 0.5 0.5 0.25 0.5'), 'images/train/b.png': None})
    (written,) = write_coco(*read_yolo(root)[::-1], tmp_path / 'out')
    assert json.loads(written.read_text()) == {
        'images': [
            {'id': 0, 'file_name': 'train/a.jpg', 'width': 64, 'height': 48},
            {'id': 1, 'file_name': 'train/b.png', 'width': 64, 'height': 48},
        ],
        'categories': [{'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'dog'}],
        'annotations': [
            {
                'id': 1,
                'image_id': 0,
                'category_id': 1,
                'bbox': [24, 12, 16, 24],
                'area': 384,
                'iscrowd': 0,
                'ignore': 0,
            }
        ],
    }
    assert (tmp_path / 'out/images/train/b.png').is_file()


def test_a_data_set_may_be_converted_where_it_is(data):
    root = data(one_image('0 0.5 0.5 0.25 0.5'))
    before = (root / 'images/train/a.jpg').read_bytes()
    write_coco(*read_yolo(root)[::-1], root)
    assert (root / 'images/train/a.jpg').read_bytes() == before
    assert (root / 'annotations/train.json').is_file()


# -- where things are --------------------------------------------------------

ROW = '0 0.5 0.5 0.25 0.5'


@pytest.mark.parametrize(
    'files',
    [
        {'data.yaml': YAML, 'images/train/x/a.jpg': None, 'labels/train/x/a.txt': ROW},
        {'coco.yaml': 'names: {0: cat, 1: dog}\ntrain: [images/train]\nval: # none\nnc: 2\n'}
        | {'images/train/x/a.jpg': None, 'labels/train/x/a.txt': ROW},
        # Roboflow's
        {'data.yaml': 'names: [cat, dog]\ntrain: ../train/images\n'}
        | {'train/images/x/a.jpg': None, 'train/labels/x/a.txt': ROW},
        {'data.yaml': 'path: set\nnames: [cat, dog]\ntrain: train.txt\n'}
        | {'set/train.txt': './train/images/x/a.jpg\n'}
        | {'set/train/images/x/a.jpg': None, 'set/train/labels/x/a.txt': ROW},
        {'data.yaml': 'names: [cat, dog]\ntrain: train\n'}
        | {'train/x/a.jpg': None, 'train/x/a.txt': ROW},
        # Label Studio's
        {'classes.txt': 'cat\ndog\n\n', 'images/train/x/a.jpg': None, 'labels/train/x/a.txt': ROW},
    ],
    ids=['plain', 'names by number', 'roboflow', 'a list', 'beside', 'classes.txt'],
)
def test_images_and_rows_are_found_where_people_put_them(data, files):
    root = data(files)
    assert read_yolo(root)[0] == ['cat', 'dog']
    ((split, images),) = boxes_of(root).items()
    assert split == 'train'
    assert {name.removeprefix('set/'): b for name, b in images.items()} == {
        'train/x/a.jpg': [(0, 24, 12, 16, 24)]
    }


def test_without_folders_of_splits_all_images_are_one(data):
    root = data({'classes.txt': 'cat\n', 'images/a.jpg': None, 'labels/a.txt': ROW})
    assert boxes_of(root) == {'all': {'a.jpg': [(0, 24, 12, 16, 24)]}}


def test_a_class_may_be_called_no(data):
    """Which YAML takes for False."""
    root = data(one_image(ROW, 'names: [no, 007]\ntrain: images/train\n'))
    assert read_yolo(root)[0] == ['no', '007']


def test_data_that_was_moved_is_found_by_its_root(data):
    yaml = 'path: /home/somebody/set\nnames: [cat]\ntrain: images/train\n'
    root = data(one_image(ROW, yaml))
    with pytest.raises(ValueError, match=r"names 'images/train', which is outside .*--data-root"):
        read_yolo(root)
    assert boxes_of(root, data_root=root)['train']['train/a.jpg'] == [(0, 24, 12, 16, 24)]


def test_splits_may_be_chosen(data):
    root = data(one_image(ROW, YAML + 'test: images/test\n'))
    with pytest.raises(FileNotFoundError, match=r'images/test, which .* --splits those to convert'):
        read_yolo(root)
    assert list(read_yolo(root, ['train'])[1]) == ['train']


# -- what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ('row', 'said'),
    [
        ('0 0.5 0.5 0.25', 'has 4 columns; expected 5'),
        ('0 0.5 0.5 0.25 0.5 0.9', 'has 6 columns .is the sixth the confidence of a prediction'),
        ('0 0.1 0.2 0.3 0.4 0.5 0.6 0.7', 'has 8 columns'),
        ('0,0.5,0.5,0.25,0.5', 'has 1 columns'),
        ('cat 0.5 0.5 0.25 0.5', 'the row is not of numbers'),
        ('2 0.5 0.5 0.25 0.5', 'its class is none of the 2 names, which are numbered from 0'),
        ('-1 0.5 0.5 0.25 0.5', 'its class is none'),
        ('0.5 0.5 0.5 0.25 0.5', 'its class is none'),
        ('0 32 24 16 24', 'it has a number that is no share of the image, from 0 to 1'),
        ('0 0.5 0.5 -0.25 0.5', 'no share of the image'),
        ('0 nan 0.5 0.25 0.5', 'no share of the image'),
        ('0 inf 0.5 0.25 0.5', 'no share of the image'),
    ],
)
def test_a_row_that_is_none_is_refused_by_file_and_line(data, row, said):
    root = data(one_image(f'{ROW}\n\n{row}\n'))
    with pytest.raises(ValueError, match=rf'labels/train/a\.txt, line 3: .*{said}') as error:
        read_yolo(root)
    assert row in str(error.value)


@pytest.mark.parametrize(
    ('yaml', 'said'),
    [
        ('train: images/train\n', 'has no names of classes'),
        ('names: cat\n', "names must be a list of names, got 'cat'"),
        ('names: {1: cat, 2: dog}\n', 'names must be numbered from 0'),
        ('names: [cat, cat]\n', 'must differ, got cat cat'),
        ('names: []\n', 'must be one at least, got none'),
        ('names: [cat]\nnc: 80\n', "nc is '80', and there are 1 names"),
        ('names: [cat]\ntrain: {a: b}\n', 'train must be a folder, a list file, or several'),
        ('names: [cat]\nkpt_shape: [17, 3]\n', 'rows with keypoints are not read'),
        ('names: [cat\n', 'cannot be read as YAML'),
    ],
)
def test_a_description_that_is_none_is_refused_by_name(data, yaml, said):
    root = data(one_image(ROW, yaml))
    with pytest.raises(ValueError, match=rf'data\.yaml.*{said}'):
        read_yolo(root)


def test_images_without_any_labels_are_no_backgrounds(data):
    root = data({'data.yaml': YAML, 'images/train/a.jpg': None, 'label/train/a.txt': ROW})
    with pytest.raises(ValueError, match=r'none of the 1 images of .*labels/train/a\.txt'):
        read_yolo(root)


def test_two_images_of_one_name_are_named(data, tmp_path):
    root = data(
        {**one_image(ROW, 'names: [cat]\ntrain: [images/train, train/images]\n')}
        | {'train/images/a.jpg': None}
    )
    with pytest.raises(ValueError, match=r'would both become train/a\.jpg; rename one'):
        write_coco(*read_yolo(root)[::-1], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_folder_of_something_else_is_named(data):
    root = data({'images/train/a.jpg': None})
    with pytest.raises(FileNotFoundError, match=r'has neither data\.yaml nor classes\.txt'):
        read_yolo(root)
