"""A classifier's data that cannot be."""

import pytest
from command_lines import ALONE

ROWS = [
    pytest.param(
        ALONE + ' --data-root nowhere',
        FileNotFoundError,
        'folder nowhere/train does not exist',
        id='no such folder',
    ),
    pytest.param(
        'train.py configs/cifar100.py --data-root {pictures} --pair resnet56-resnet20 '
        '--work-dir {work}',
        FileNotFoundError,
        ['nothing is downloaded: get', 'and place it at', 'cifar-100-python.tar.gz'],
        id='no CIFAR',
    ),
    pytest.param(
        ALONE + ' --data-root {fewer_folders}',
        ValueError,
        'val has no folder for 1 of the 3 classes: red',
        id='a class without a folder',
    ),
    pytest.param(
        ALONE + ' --data-root {more_folders}',
        ValueError,
        'val has 1 folders that are no class of the training split: pink',
        id='a folder without a class',
    ),
    pytest.param(
        ALONE + ' --data-root {empty_folder}',
        ValueError,
        'has no image of 1 of the 3 classes: red; files that end in .bmp, .jpeg',
        id='a class without images',
    ),
    pytest.param(
        ALONE + ' --data-root {text_for_picture}',
        ValueError,
        ['1 of 12 images do not decode:', 'red/0.png', 'leave them out: skip_broken=True'],
        id='an image that does not decode',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset.in_memory=False --data-root {text_for_picture}',
        ValueError,
        'red/0.png is no JPEG, PNG, BMP or WebP image, or is cut off',
        id='an image that does not decode when it is wanted',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset.in_memory=False train_dataloader.num_workers=1 '
        '--data-root {text_for_picture}',
        ValueError,
        ['error: ValueError:', 'red/0.png is no JPEG, PNG, BMP or WebP image, or is cut off'],
        id='an image that does not decode in a worker',
    ),
    pytest.param(
        ALONE + ' model.num_classes=2',
        ValueError,
        'model.num_classes is 2 and the data set has 3 classes: blue, green, red; expected',
        id='labels out of range',
    ),
    pytest.param(
        ALONE + ' model.num_classes=10',
        ValueError,
        'model.num_classes is 10 and the data set has 3 classes: blue, green, red; expected',
        id='classes without labels',
    ),
    pytest.param(
        ALONE + ' model.num_classes=1',
        ValueError,
        'num_classes must be at least 2, got 1',
        id='one class',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset.size=0',
        ValueError,
        'size must be at least 1, got 0',
        id='images of 0 pixels',
    ),
    pytest.param(
        ALONE + ' model.type=sortkd_det.cifar/vgg8 train_dataloader.dataset.size=4',
        ValueError,
        'cifar/vgg8 takes images of at least 8 × 8 pixels, got 4 × 4',
        id='images too small for the network',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset.size=big',
        TypeError,
        "size must be a whole number, got 'big'",
        id='a size in words',
    ),
    pytest.param(
        ALONE + ' train_dataloader.batch_size=1 train_dataloader.dataset.size=4',
        ValueError,
        ['cannot train on a batch of 1 at 4 × 4 pixels,', '; expected a batch size of at'],
        id='a batch of 1 with batch normalisation',
    ),
    pytest.param(
        ALONE + ' model.data_preprocessor.num_views=3',
        ValueError,
        'num_views must be 1 or 2, got 3',
        id='three views',
    ),
    pytest.param(
        ALONE + ' model.data_preprocessor.std=[0,0,0]',
        ValueError,
        'mean and std need one number a channel, std > 0',
        id='a deviation of 0',
    ),
    pytest.param(
        ALONE + ' model.data_preprocessor.mean=[123,117,104]',
        ValueError,
        'mean and std are of images between 0 and 1, not 255',
        id='the mean of images up to 255',
    ),
    pytest.param(
        ALONE + ' model.data_preprocessor.padding=-1',
        ValueError,
        'padding must be at least 0, got -1',
        id='padding below 0',
    ),
    pytest.param(
        ALONE + ' val_evaluator.topk=[0]',
        ValueError,
        'topk must be at least 1, got 0',
        id='the first 0 classes',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
