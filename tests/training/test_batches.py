"""Batches whose samples are seeded one by one, and samplers that go on in the middle."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from torch.utils.data import DataLoader, Dataset

from sortkd_det.training import SeededBatch, SeededBatchSampler, seed_generators


class Drawing(Dataset):
    """Each item is what the three global generators give."""

    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def items_of(loader, epochs=2):
    found = []
    for epoch in range(epochs):
        loader.batch_sampler.sampler.set_epoch(epoch)
        found += [tuple(map(tuple, batch)) for batch in loader]
    return found


def loader_of(dataset, seed=3, start=0, **options):
    batches = SeededBatchSampler(DefaultSampler(dataset, seed=seed), 4)
    batches.start = start
    return DataLoader(dataset, batch_sampler=batches, collate_fn=pseudo_collate, **options)


@pytest.mark.parametrize(
    'options',
    [{'num_workers': 1}, {'num_workers': 3}, {'num_workers': 2, 'persistent_workers': True}],
)
def test_what_a_pipeline_draws_does_not_depend_on_workers(options):
    dataset = Drawing()
    expected = items_of(loader_of(dataset))
    torch.manual_seed(5)
    np.random.seed(5)
    assert items_of(loader_of(dataset, **options)) == expected


def test_samples_epochs_and_seeds_draw_different_numbers():
    dataset = Drawing()
    drawn = [
        value
        for seed in (3, 4)
        for batch in items_of(loader_of(dataset, seed=seed))
        for values in batch[1:]
        for value in values
    ]
    assert len(set(drawn)) == len(drawn) == 2 * 2 * 10 * 3


@pytest.mark.parametrize('start', [0, 1, 2, 3])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_it_goes_on_in_the_middle_once(start, num_workers):
    dataset = Drawing()
    everything = items_of(loader_of(dataset))
    loader = loader_of(dataset, start=start, num_workers=num_workers)
    assert items_of(loader) == everything[start:]  # the second epoch is whole again
    assert len(loader) == 3


def test_an_infinite_sampler_counts_batches():
    dataset = Drawing()

    def batches(start, number):
        sampler = SeededBatchSampler(InfiniteSampler(dataset, seed=1), 4)
        sampler.start = start
        iterator = iter(sampler)
        return [next(iterator) for _ in range(number)]

    everything = batches(0, 9)
    assert [batch.moment for batch in everything] == list(range(9))
    later = batches(6, 3)
    assert [(b.indices, b.moment) for b in later] == [(b.indices, b.moment) for b in everything[6:]]


def test_another_batch_sampler_makes_the_batches():
    class Evens:
        def __init__(self, sampler, batch_size):
            self.sampler, self.batch_size = sampler, batch_size

        def __iter__(self):
            evens = [index for index in self.sampler if index % 2 == 0]
            yield from (evens[i : i + self.batch_size] for i in range(0, 5, self.batch_size))

        def __len__(self):
            return 3

    sampler = DefaultSampler(Drawing(), shuffle=False, seed=0)
    batches = list(SeededBatchSampler(sampler, 2, batch_sampler=dict(type=Evens)))
    assert [batch.indices for batch in batches] == [[0, 2], [4, 6], [8]]


def test_incomplete_batches_may_be_left_out():
    sampler = DefaultSampler(Drawing(), seed=0)
    assert [len(batch) for batch in SeededBatchSampler(sampler, 4, drop_last=True)] == [4, 4]
    assert len(SeededBatchSampler(sampler, 4, drop_last=True)) == 2


def test_sending_a_batch_to_a_worker_seeds_nothing():
    seed_generators(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    seed_generators(1)
    copy = pickle.loads(pickle.dumps(SeededBatch([4, 2], 7, 3)))
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert (copy.indices, copy.moment, copy.seed, len(copy)) == ([4, 2], 7, 3, 2)
    assert list(copy) == [4, 2]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'batch_size': 0}, 'batch_size must be at least 1'),
        ({'batch_size': 2.5}, 'batch_size must be a whole number'),
        ({'batch_size': 2, 'seed': -1}, 'seed must be at least 0'),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SeededBatchSampler(DefaultSampler(Drawing(), seed=0), **arguments)


class Restless(InfiniteSampler):
    """Finite, on the global generator, and without an epoch: as some data sets' own samplers."""

    def __iter__(self):
        yield from torch.randperm(len(self.dataset)).tolist()


def test_a_sampler_without_an_epoch_has_another_order_in_each():
    dataset = Drawing()
    batches = SeededBatchSampler(Restless(dataset, seed=3), 4)

    def items(passes, start=0):
        batches.passes, batches.start = passes, start
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=pseudo_collate)
        return [tuple(map(tuple, batch)) for batch in loader]

    first, second = items(0), items(1)
    assert sorted(i for batch in second for i in batch[0]) == list(range(10))
    assert [batch[0] for batch in first] != [batch[0] for batch in second]
    assert not {x for batch in first for x in batch[1]} & {x for batch in second for x in batch[1]}
    assert items(1) == second
    assert items(1, start=2) == second[2:]
