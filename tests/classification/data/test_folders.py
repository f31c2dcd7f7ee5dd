"""Folders of images, ImageNet and Tiny-ImageNet, whole and damaged."""

import warnings

import numpy as np
import pytest
import torch
from image_folders import CLASSES, make_folder, make_tiny_imagenet, noise_image, plain, save
from torch.utils.data import DataLoader

from sortkd_det.classification.data import (
    ImageFolder,
    ImageNet,
    TinyImageNet,
    collate,
    decode_image,
)
from sortkd_det.classification.data.images import resize_centre_crop


def test_an_image_folder_is_held_in_memory(tmp_path):
    dataset = ImageFolder(make_folder(tmp_path), size=20)
    assert dataset.metainfo == {'classes': CLASSES}
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.images.shape == (9, 3, 20, 20)
    assert dataset.images.dtype == torch.uint8
    expected = resize_centre_crop(noise_image(1, 2), 20, 20).transpose(2, 0, 1)
    assert np.array_equal(dataset.images[5].numpy(), expected)
    assert dataset.path(5) == tmp_path / 'train' / 'bee' / '2.png'


def test_sizes_by_default(tmp_path):
    make_folder(tmp_path, per_class=1)
    assert ImageFolder(tmp_path)[0]['inputs'].shape == (3, 48, 48)
    assert ImageFolder(tmp_path, in_memory=False)[0]['inputs'].shape == (3, 224, 224)
    assert ImageNet(tmp_path, 'val')[0]['inputs'].shape == (3, 224, 224)
    assert ImageNet(tmp_path, 'val').images is None
    tiny = TinyImageNet(make_tiny_imagenet(tmp_path / 'tiny'))
    assert tiny[0]['inputs'].shape == (3, 64, 64)
    assert tiny.images is not None


@pytest.mark.parametrize('split', ['train', 'val'])
def test_tiny_imagenet_is_read_as_published(tmp_path, split):
    dataset = TinyImageNet(make_tiny_imagenet(tmp_path), split)
    assert dataset.metainfo == {'classes': ('n01', 'n02')}  # sorted, whatever wnids.txt has
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    decoded = decode_image(dataset.path(2)).transpose(2, 0, 1)
    assert np.array_equal(dataset.images[2].numpy(), decoded)
    assert dataset.path(2).name == {'train': 'n02_0.JPEG', 'val': 'val_10.JPEG'}[split]


def test_files_that_are_no_images_and_hidden_ones_do_not_count(tmp_path):
    make_folder(tmp_path, per_class=1)
    (tmp_path / 'train' / 'ant' / 'notes.txt').write_text('notes')
    (tmp_path / 'train' / 'ant' / '.hidden.png').write_text('hidden')
    (tmp_path / 'train' / '.cache').mkdir()
    (tmp_path / 'train' / 'ant' / 'folder.png').mkdir()
    (tmp_path / 'train' / 'list.txt').write_text('list')
    assert len(ImageFolder(tmp_path)) == 3


def test_a_test_set_without_a_training_set_has_its_own_classes(tmp_path):
    make_folder(tmp_path, splits=('test',))
    assert ImageFolder(tmp_path, 'test').metainfo == {'classes': CLASSES}


def damage_folder(root, damage):
    """Damage a data set; returns what to do with it, and what the error is to say."""
    val = root / 'val'
    if damage == 'no split':
        return (
            lambda: ImageFolder(root, 'test'),
            FileNotFoundError,
            r'test does not exist.*train, val',
        )
    if damage == 'no root':
        return lambda: ImageFolder(root / 'no'), FileNotFoundError, 'does not exist'
    if damage == 'no class folders':
        (root / 'flat').mkdir()
        return lambda: ImageFolder(root, 'flat'), ValueError, 'flat has no folders'
    if damage == 'class missing':
        (val / 'bee').rename(root / 'bee')
        return lambda: ImageFolder(root, 'val'), ValueError, 'no folder for 1 of the 3 .*bee'
    if damage == 'class unknown':
        (val / 'dog').mkdir()
        return lambda: ImageFolder(root, 'val'), ValueError, '1 folders that are no class .*dog'
    if damage == 'class empty':
        for path in (root / 'train' / 'cat').iterdir():
            path.unlink()
        return lambda: ImageFolder(root), ValueError, 'no image of 1 of the 3 classes: cat'
    if damage == 'split of ImageNet':
        return lambda: ImageNet(root, 'test'), ValueError, "one of .'train', 'val'."
    if damage == 'size':
        return lambda: ImageFolder(root, size=0), ValueError, 'size must be at least 1'
    if damage == 'seed':
        return lambda: ImageFolder(root, seed=-1), ValueError, 'seed must be at least 0'
    assert damage == 'augment in memory'
    return lambda: ImageFolder(root, augment=True), ValueError, 'in_memory=False'


@pytest.mark.parametrize(
    'damage',
    [
        'no split',
        'no root',
        'no class folders',
        'class missing',
        'class unknown',
        'class empty',
        'split of ImageNet',
        'size',
        'seed',
        'augment in memory',
    ],
)
def test_a_folder_that_does_not_fit_is_named(tmp_path, damage):
    build, error, message = damage_folder(make_folder(tmp_path), damage)
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ('val_00.JPEG\tn99\t0\t0\t9\t9\n', ValueError, "entry 1: 'n99' is no class of wnids.txt"),
        ('val_00.JPEG\n', ValueError, "entry 1: '' is no class"),
        ('../secret.JPEG\tn01\n', FileNotFoundError, r'1 images of .*\.\./secret\.JPEG'),
        ('val_00.JPEG\tn01\nval_00.JPEG\tn01\n', ValueError, 'listed twice'),
        ('val_00.JPEG\tn01\n', ValueError, 'cut off: 3 images'),
        ('\n', ValueError, 'is empty'),
        (None, FileNotFoundError, 'val_annotations.txt does not exist'),
    ],
)
def test_annotations_of_tiny_imagenet_that_do_not_fit(tmp_path, line, error, message):
    make_tiny_imagenet(tmp_path / 'tiny')
    save(tmp_path / 'tiny' / 'val' / 'secret.JPEG', plain())
    path = tmp_path / 'tiny' / 'val' / 'val_annotations.txt'
    path.unlink()
    if line is not None:
        path.write_text(line)
    with pytest.raises(error, match=message):
        TinyImageNet(tmp_path / 'tiny', 'val')


def test_classes_of_tiny_imagenet_that_do_not_fit(tmp_path):
    make_tiny_imagenet(tmp_path)
    (tmp_path / 'wnids.txt').write_text('n01\nn02\nn03\n')
    with pytest.raises(ValueError, match='no folder for 1 of the 3 classes: n03'):
        TinyImageNet(tmp_path)
    with pytest.raises(ValueError, match='no image of 1 of the 3 classes: n03'):
        TinyImageNet(tmp_path, 'val')
    (tmp_path / 'wnids.txt').write_text('n01\n')
    with pytest.raises(ValueError, match='no class of the training split: n02'):
        TinyImageNet(tmp_path)
    (tmp_path / 'wnids.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'wnids\.txt'):
        TinyImageNet(tmp_path)


@pytest.fixture
def broken_folder(tmp_path):
    """A folder of 9 images two of which do not decode."""
    make_folder(tmp_path)
    (tmp_path / 'train' / 'ant' / '1.png').write_text('text')
    whole = (tmp_path / 'train' / 'cat' / '0.png').read_bytes()
    (tmp_path / 'train' / 'cat' / '0.png').write_bytes(whole[:400])
    return tmp_path


def test_images_that_do_not_decode_are_named_and_counted(broken_folder):
    with pytest.raises(ValueError, match='2 of 9 images do not decode') as broken:
        ImageFolder(broken_folder)
    assert str(broken_folder / 'train' / 'ant' / '1.png') in str(broken.value)
    assert str(broken_folder / 'train' / 'cat' / '0.png') in str(broken.value)
    assert 'skip_broken=True' in str(broken.value)


@pytest.mark.parametrize('in_memory', [True, False])
def test_broken_images_are_left_out_with_one_warning(broken_folder, in_memory):
    with pytest.warns(UserWarning, match='2 of 9 images do not decode and are left out') as warned:
        dataset = ImageFolder(broken_folder, in_memory=in_memory, size=20, skip_broken=True)
    assert len(warned) == 1
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert [dataset.path(i).name for i in range(7)] == [f'{n}.png' for n in (0, 2, 0, 1, 2, 1, 2)]
    batch = dataset.__getitems__(list(range(7)))
    assert batch['inputs'].shape == (7, 3, 20, 20)
    if in_memory:
        expected = resize_centre_crop(noise_image(0, 2), 20, 20).transpose(2, 0, 1)
        assert np.array_equal(batch['inputs'][1].numpy(), expected)
        assert dataset.images.is_shared()


def test_nothing_is_warned_of_where_all_images_decode(tmp_path):
    make_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(ImageFolder(tmp_path, skip_broken=True)) == 9


def test_a_class_of_broken_images_only_is_named(tmp_path):
    make_folder(tmp_path, per_class=1)
    (tmp_path / 'train' / 'bee' / '0.png').write_text('text')
    with (
        pytest.warns(UserWarning, match='1 of 3'),
        pytest.raises(ValueError, match='no image of 1 of the 3 classes: bee'),
    ):
        ImageFolder(tmp_path, skip_broken=True)


def test_a_file_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    """Skipping is for images that are broken, not for a disk that is."""
    make_folder(tmp_path, per_class=1)

    def fail(path):
        raise OSError(5, 'Input/output error', str(path))

    monkeypatch.setattr('sortkd_det.classification.data.folders.decode_image', fail)
    with pytest.raises(OSError, match='Input/output'):
        ImageFolder(tmp_path, skip_broken=True)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_broken_image_is_named_when_it_is_read_lazily(broken_folder, num_workers):
    dataset = ImageFolder(broken_folder, in_memory=False, size=20)
    assert dataset[0]['inputs'].shape == (3, 20, 20)
    loader = DataLoader(dataset, 9, num_workers=num_workers, collate_fn=collate)
    with pytest.raises(ValueError, match=r'ant/1\.png is no JPEG'):
        next(iter(loader))


def test_an_image_that_vanished_is_named(tmp_path):
    dataset = ImageFolder(make_folder(tmp_path), in_memory=False)
    dataset.path(3).unlink()
    with pytest.raises(FileNotFoundError, match=r'bee/0\.png'):
        dataset[3]
