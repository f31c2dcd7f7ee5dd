"""Items and batches of data sets, and workers that load them."""

import numpy as np
import pytest
import torch
from image_folders import make_folder, noise_image
from mmengine.dataset import DefaultSampler
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from tiny_cifar import make_files, write
from torch.utils.data import DataLoader

from sortkd_det.classification.data import CIFAR, ImageFolder, ImageNet, TinyImageNet, collate
from sortkd_det.classification.data.images import resize_centre_crop
from sortkd_det.registry import DATASETS
from sortkd_det.training import SeededBatch, SeededBatchSampler


@pytest.fixture
def in_memory(tmp_path):
    files, _ = make_files('cifar10', 'binary')
    write(tmp_path, 'cifar10', 'binary', files)
    return CIFAR(tmp_path, 'cifar10', check=False)


@pytest.fixture
def lazy(tmp_path):
    return ImageFolder(make_folder(tmp_path), in_memory=False, size=24, seed=3)


def test_an_item_is_an_index_or_an_epoch_and_an_index(in_memory):
    item = in_memory[(7, 5)]
    assert item == {**item, 'labels': int(in_memory.labels[5]), 'indices': 5, 'epoch': 7}
    assert torch.equal(item['inputs'], in_memory.images[5])
    assert in_memory[5]['epoch'] == 0
    assert in_memory[np.int64(5)]['indices'] == 5
    item['inputs'].zero_()
    assert in_memory.images[5].any()  # an item is a copy
    assert len(list(iter(in_memory[i] for i in range(len(in_memory))))) == 20


def test_a_batch_is_its_items(in_memory, lazy):
    for dataset in (in_memory, lazy):
        items = [(2, 8), (2, 0), (2, 3)]
        batch = dataset.__getitems__(items)
        assert batch['inputs'].dtype == torch.uint8
        assert batch['labels'].dtype == batch['indices'].dtype == torch.int64
        assert batch['indices'].tolist() == [8, 0, 3]
        assert batch['epoch'] == 2
        assert torch.equal(batch['labels'], dataset.labels[[8, 0, 3]])
        stacked = collate([dataset[item] for item in items])
        assert stacked.keys() == batch.keys()
        for key, value in stacked.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(batch[key]))
        assert collate(batch) == batch


def test_a_seeded_batch_says_its_epoch(in_memory, lazy):
    for dataset in (in_memory, lazy):
        batch = dataset.__getitems__(SeededBatch([8, 0, 3], 2, seed=1))
        for key, value in dataset.__getitems__([(2, 8), (2, 0), (2, 3)]).items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(batch[key]))


@pytest.mark.parametrize('index', [-1, 20, 10**30])
def test_an_index_out_of_range_is_refused(in_memory, index):
    with pytest.raises(IndexError, match='of a data set of 20 images'):
        in_memory[index]
    with pytest.raises(IndexError):
        in_memory.__getitems__([(0, 1), (0, index)])


def test_a_batch_is_of_one_epoch(in_memory):
    with pytest.raises(ValueError, match='one epoch'):
        in_memory.__getitems__([(0, 1), (1, 1)])
    with pytest.raises(ValueError, match='one epoch'):
        collate([in_memory[(0, 1)], in_memory[(1, 1)]])
    with pytest.raises(ValueError, match='one epoch'):
        in_memory.__getitems__([])


def test_configs_find_everything_by_name(tmp_path):
    for cls in (CIFAR, ImageFolder, ImageNet, TinyImageNet):
        assert DATASETS.get(cls.__name__) is cls
    assert FUNCTIONS.get('collate') is collate
    assert FUNCTIONS.get('sortkd_det.classification.data.collate') is collate


def test_mmengine_builds_a_loader_from_a_config(in_memory, tmp_path):
    config = {
        'dataset': {
            'type': 'sortkd_det.CIFAR',
            'root': str(tmp_path),
            'name': 'cifar10',
            'check': False,
        },
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'batch_sampler': {'type': 'sortkd_det.SeededBatchSampler'},
        'collate_fn': {'type': 'collate'},
        'batch_size': 8,
        'num_workers': 0,
    }
    batch = next(iter(Runner.build_dataloader(config, seed=3)))
    assert batch['indices'].tolist() == list(DefaultSampler(in_memory, seed=3))[:8]
    assert torch.equal(batch['inputs'], in_memory.images[batch['indices']])


def batches_of(dataset, epochs=2, **options):
    sampler = DefaultSampler(dataset, seed=11)
    batches = SeededBatchSampler(sampler, 4)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += list(loader)
    return found


@pytest.mark.parametrize('kind', ['in_memory', 'lazy'])
def test_batches_are_the_same_with_any_workers(request, kind):
    dataset = request.getfixturevalue(kind)
    expected = batches_of(dataset)
    assert [batch['epoch'] for batch in expected] == sorted(batch['epoch'] for batch in expected)
    assert expected[-1]['epoch'] == 1
    for options in ({'num_workers': 2}, {'num_workers': 2, 'persistent_workers': True}):
        found = batches_of(dataset, **options)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours['epoch'] == theirs['epoch']
            for key in ('inputs', 'labels', 'indices'):
                assert torch.equal(ours[key], theirs[key])


def test_random_crops_depend_on_seed_epoch_and_index_alone(lazy):
    torch.manual_seed(0)
    np.random.seed(0)
    first = lazy[(4, 2)]['inputs']
    lazy.__getitems__([(1, 7), (1, 2)])
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(lazy[(4, 2)]['inputs'], first)
    assert torch.equal(lazy.__getitems__([(4, 5), (4, 2)])['inputs'][1], first)
    assert not torch.equal(lazy[(5, 2)]['inputs'], first)
    other_seed = ImageFolder(lazy.root, in_memory=False, size=24, seed=4)
    assert not torch.equal(other_seed[(4, 2)]['inputs'], first)


def test_without_augmentation_epochs_are_alike(lazy):
    for dataset in (
        ImageFolder(lazy.root, 'val', in_memory=False, size=28),
        ImageFolder(lazy.root, 'train', in_memory=False, size=28, augment=False),
    ):
        assert torch.equal(dataset[(0, 4)]['inputs'], dataset[(9, 4)]['inputs'])
        expected = resize_centre_crop(noise_image(1, 1), 32, 28).transpose(2, 0, 1)
        assert np.array_equal(dataset[4]['inputs'].numpy(), expected)


class WritesInto(torch.utils.data.Dataset):
    """Writes into the images of a data set, to see who sees it."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.dataset.images[0].fill_(123)
        return 0


def test_workers_hold_the_same_memory(in_memory, tmp_path):
    assert in_memory.images.is_shared()
    assert in_memory.labels.is_shared()
    assert in_memory.images.is_contiguous()
    assert ImageFolder(make_folder(tmp_path / 'folder')).images.is_shared()
    assert not (in_memory.images[0] == 123).all()
    list(DataLoader(WritesInto(in_memory), num_workers=1))
    assert (in_memory.images[0] == 123).all()
