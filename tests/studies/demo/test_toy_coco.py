import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from sortkd_det.studies.demo import toy_coco
from sortkd_det.studies.demo.toy_coco import CLASSES, MARKER_NAME, SHAPES, generate_toy_coco

SPLITS = {'train': 24, 'val': 6}
IMAGE_SIZE = (176, 160)


def generate(root: Path, **changes) -> Path:
    parameters = dict(
        num_train=SPLITS['train'], num_val=SPLITS['val'], image_size=IMAGE_SIZE, seed=0
    )
    return generate_toy_coco(root, **(parameters | changes))


def contents(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def annotations_of(root: Path, split: str = 'train') -> dict:
    return json.loads((root / f'annotations/{split}.json').read_text())


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp('data') / 'toy')


def test_same_seed_gives_the_same_bytes(root, tmp_path):
    assert contents(generate(tmp_path / 'again')) == contents(root)


def test_other_seed_gives_other_images(root, tmp_path):
    other = contents(generate(tmp_path / 'other', seed=1))
    same = [name for name, data in contents(root).items() if other[name] == data]
    assert same == []


def test_splits_differ(root):
    assert (root / 'train/000001.png').read_bytes() != (root / 'val/000001.png').read_bytes()


def test_asking_for_more_images_keeps_the_first_ones(root, tmp_path):
    fewer = generate(tmp_path / 'fewer', num_train=5)
    fewer_files, files = contents(fewer), contents(root)
    for name in [f'train/{index:06d}.png' for index in range(1, 6)] + ['annotations/val.json']:
        assert fewer_files[name] == files[name]
    kept = annotations_of(fewer)['annotations']
    assert kept == annotations_of(root)['annotations'][: len(kept)]


@pytest.mark.parametrize('split', SPLITS)
def test_pycocotools_reads_it(root, split):
    coco = COCO(root / f'annotations/{split}.json')
    assert len(coco.getImgIds()) == SPLITS[split]
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(root / split / image['file_name']))
        assert pixels.shape == (image['height'], image['width'], 3)
        assert pixels.shape[1::-1] == IMAGE_SIZE
    for annotation in coco.loadAnns(coco.getAnnIds()):
        rows, columns = np.nonzero(coco.annToMask(annotation))
        x, y, width, height = annotation['bbox']
        mask_box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(mask_box, [x, y, x + width, y + height], atol=2.5)


@pytest.mark.parametrize('split', SPLITS)
def test_annotations_are_sound(root, split):
    content = annotations_of(root, split)
    annotations = content['annotations']
    assert [annotation['id'] for annotation in annotations] == list(range(1, len(annotations) + 1))
    assert {annotation['image_id'] for annotation in annotations} == set(
        range(1, SPLITS[split] + 1)
    )
    for annotation in annotations:
        x, y, width, height = annotation['bbox']
        assert x >= 0
        assert y >= 0
        assert width > 0
        assert height > 0
        assert x + width <= IMAGE_SIZE[0]
        assert y + height <= IMAGE_SIZE[1]
        assert annotation['area'] == width * height
        assert annotation['iscrowd'] == 0


def test_all_classes_and_coco_sizes_occur(root):
    content = annotations_of(root)
    assert [category['name'] for category in content['categories']] == list(CLASSES)
    assert [category['supercategory'] for category in content['categories']] == [
        shape.family for shape in SHAPES
    ]
    annotations = content['annotations']
    assert {annotation['category_id'] for annotation in annotations} == set(range(1, 13))
    areas = np.array([annotation['area'] for annotation in annotations])
    assert (areas < 32**2).any()
    assert ((areas > 32**2) & (areas < 96**2)).any()
    assert (areas > 96**2).any()


def test_boxes_are_tight_around_the_drawn_pixels(tmp_path, monkeypatch):
    for name in ('TEXTURE_STRENGTH', 'NOISE_STRENGTH', 'BACK_CLUTTER', 'FRONT_CLUTTER'):
        monkeypatch.setattr(toy_coco, name, (0, 0))
    monkeypatch.setattr(toy_coco, 'MAX_OBJECTS', 1)
    monkeypatch.setattr(toy_coco, 'MAX_OVERHANG', 0.4)  # so that many boxes are cut
    monkeypatch.setattr(toy_coco, 'SIZE_RANGE', (14, 64))  # so that the background prevails
    root = generate(tmp_path / 'plain')
    num_cut = 0
    for annotation in annotations_of(root)['annotations']:
        pixels = cv2.imread(str(root / f'train/{annotation["image_id"]:06d}.png'))
        colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
        rows, columns = np.nonzero((pixels != colours[counts.argmax()]).any(axis=2))
        drawn_box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        x, y, width, height = annotation['bbox']
        np.testing.assert_allclose(drawn_box, [x, y, x + width, y + height], atol=1.5)
        num_cut += min(x, y) == 0 or x + width == IMAGE_SIZE[0] or y + height == IMAGE_SIZE[1]
    assert num_cut > 3


def test_no_object_is_mostly_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_coco, 'MAX_OBJECTS', 20)
    monkeypatch.setattr(toy_coco, 'SIZE_RANGE', (32, 96))
    root = generate(tmp_path / 'crowded', num_train=6)
    coco = COCO(root / 'annotations/train.json')
    visible_shares = []
    for image_id in coco.getImgIds():
        painted_later = np.zeros(IMAGE_SIZE[::-1], dtype=bool)
        for annotation in reversed(coco.imgToAnns[image_id]):
            mask = coco.annToMask(annotation) > 0
            visible_shares.append((mask & ~painted_later).sum() / mask.sum())
            painted_later |= mask
    assert min(visible_shares) > toy_coco.MIN_VISIBLE - 0.05  # masks are rasterised anew
    assert min(visible_shares) < 0.7


def test_rerun_returns_at_once_and_draws_nothing(root, monkeypatch):
    monkeypatch.setattr(toy_coco.cv2, 'imencode', None)
    before = contents(root)
    assert generate(root) == root
    assert contents(root) == before


@pytest.mark.parametrize(
    'change', [dict(num_train=5), dict(num_val=5), dict(image_size=(160, 176)), dict(seed=1)]
)
def test_other_parameters_are_refused(root, change):
    before = contents(root)
    with pytest.raises(ValueError, match=r'other parameters: found .*, expected .*Delete it'):
        generate(root, **change)
    assert contents(root) == before


def test_other_format_version_is_refused(root, monkeypatch):
    monkeypatch.setattr(toy_coco, 'FORMAT_VERSION', toy_coco.FORMAT_VERSION + 1)
    with pytest.raises(ValueError, match='other parameters'):
        generate(root)


@pytest.mark.parametrize('lost', ['val/000002.png', 'annotations/train.json'])
def test_incomplete_data_set_is_refused(tmp_path, lost):
    root = generate(tmp_path / 'toy', num_train=2, num_val=2)
    (root / lost).unlink()
    with pytest.raises(ValueError, match='is incomplete'):
        generate(root, num_train=2, num_val=2)


@pytest.mark.parametrize('name', ['thesis.txt', MARKER_NAME])
def test_foreign_files_are_refused_and_kept(tmp_path, name):
    (tmp_path / name).write_text('mine')
    with pytest.raises(ValueError, match=r'(not a toy data set|not valid JSON).*name another'):
        generate(tmp_path)
    assert contents(tmp_path) == {name: b'mine'}


def test_empty_folder_is_filled(tmp_path):
    root = tmp_path / 'toy'
    root.mkdir()
    assert (generate(root, num_train=1, num_val=1) / MARKER_NAME).is_file()


def test_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    num_written = 0
    encode = toy_coco.cv2.imencode

    def interrupt_at_the_last_image(*args):
        nonlocal num_written
        num_written += 1
        if num_written == 3 + 2:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(toy_coco.cv2, 'imencode', interrupt_at_the_last_image)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'toy', num_train=3, num_val=2)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_thrown_away(root, tmp_path):
    leftover = tmp_path / '.toy.partial/train'
    leftover.mkdir(parents=True)
    (leftover / '000099.png').write_bytes(b'half an ima')
    assert contents(generate(tmp_path / 'toy')) == contents(root)
    assert [path.name for path in tmp_path.iterdir()] == ['toy']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(num_train=0), 'num_train must be at least 1, got 0'),
        (dict(num_val=-1), 'num_val must be at least 1, got -1'),
        (dict(image_size=(160, 31)), 'height in image_size must be at least 32, got 31'),
        (dict(seed=-1), 'seed must be at least 0, got -1'),
    ],
)
def test_bad_parameters_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / 'toy', **change)
    assert list(tmp_path.iterdir()) == []
