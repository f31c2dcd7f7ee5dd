"""Time data for classifiers: from an epoch's index list to augmented, normalised batches.

Ours (an indexing of a uint8 tensor, then crop, flip and normalisation of the whole batch) against
the usual way: a DataLoader over per-image Pillow transforms. Then the share of data in a training
step of resnet8x4, end to end, and what two worker processes hold of the set. The images are random,
in CIFAR's shape; nothing is read or downloaded. On a GPU in addition: distilled steps, resnet32x4 →
resnet8x4 by SortKD, in several ways.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from PIL import Image, ImageOps
from report import Table, verdict, write_record
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sortkd_det.classification import ImagePreprocessor
from sortkd_det.classification.data import ClassificationDataset, collate
from sortkd_det.functional import Sort
from sortkd_det.losses import KDLoss
from sortkd_det.registry import MODELS
from sortkd_det.training import SeededBatchSampler

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
PADDING = 4
CIFAR_IMAGES = 50_000
MAX_RATIO, MAX_SHARE, MIN_BUSY = 1 / 20, 0.03, 0.85
_WARM_UP, _PROFILED = 10, 20  # steps


class Way(NamedTuple):
    """How a distilled step is run on a GPU.

    ``compile`` is a mode of torch.compile for both networks and the losses; ``graph`` puts the
    whole step, optimiser included, into one CUDA graph.
    """

    name: str
    amp: bool = False
    channels_last: bool = False
    compile: str | None = None
    graph: bool = False


_PLAIN = (
    Way('as it is'),
    Way('channels_last', channels_last=True),
    Way('reduce-overhead', compile='reduce-overhead'),
    Way('CUDA graph', graph=True),
    Way('compiled, CUDA graph', compile='default', graph=True),
)
WAYS = tuple(
    way._replace(name=f'{precision}, {way.name}', amp=precision == 'AMP')
    for precision in ('float32', 'AMP')
    for way in _PLAIN
)


class PillowDataset(Dataset):
    """The usual way: one image at a time, from an array, by Pillow."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        image = ImageOps.expand(image, border=PADDING)
        left, top = np.random.randint(0, 2 * PADDING + 1, 2).tolist()
        image = image.crop((left, top, left + 32, top + 32))
        if np.random.rand() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        return (tensor - mean) / std, self.labels[index]


def ours(
    dataset: ClassificationDataset, batch_size: int, epoch: int, device: str = 'cpu'
) -> Iterator[dict]:
    """An epoch as a run has it: loader without workers, then the preprocessor."""
    sampler = DefaultSampler(dataset, shuffle=True, seed=0)
    sampler.set_epoch(epoch)
    batches = SeededBatchSampler(sampler, batch_size)
    preprocessor = ImagePreprocessor(MEAN, STD, PADDING, seed=0).to(device)
    for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=collate):
        yield preprocessor(batch, training=True)


def seconds_of(batches: Iterator) -> float:
    """Time to exhaust an iterator."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def data_table(dataset: ClassificationDataset, args: argparse.Namespace) -> Table:
    """Ours ÷ usual, in alternating epochs."""
    pillow = PillowDataset(dataset.images, dataset.labels)
    next(ours(dataset, args.batch_size, 0))  # the compiled pass is compiled or loaded
    seconds: dict[str, list[float]] = {'ours': [], 'usual': [], 'usual, 2 workers': []}
    for epoch in range(args.epochs):
        seconds['ours'].append(seconds_of(ours(dataset, args.batch_size, epoch)))
        for name, workers in (('usual', 0), ('usual, 2 workers', 2)):
            loader = DataLoader(pillow, args.batch_size, shuffle=True, num_workers=workers)
            seconds[name].append(seconds_of(iter(loader)))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = []
    for name, median in medians.items():
        ratio = medians['ours'] / median
        target = name == 'usual'
        rows.append(
            [
                name,
                f'{1e6 * median / len(dataset):.1f}',
                f'{len(dataset) / median:,.0f}',
                '' if name == 'ours' else f'1/{1 / ratio:.1f}',
                f'≤ 1/{1 / MAX_RATIO:.0f}' if target else '',
                verdict(ratio <= MAX_RATIO) if target else '',
            ]
        )
    columns = ['data', 'µs an image', 'images/s', 'ours ÷ this', 'target', 'result']
    return Table(f'{len(dataset):,} images of 32 × 32, batch {args.batch_size}', columns, rows)


def step_table(dataset: ClassificationDataset, args: argparse.Namespace) -> Table:
    """The share of data in training steps of resnet8x4."""
    torch.manual_seed(0)
    model = MODELS.get('cifar/resnet8x4')(100).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=5e-4)
    data, steps = [], []
    batches = ours(dataset, args.batch_size, 0)
    for _ in range(args.steps + 3):
        start = time.perf_counter()
        batch = next(batches)
        data.append(time.perf_counter() - start)
        loss = sum(model(**batch, mode='loss').values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append(time.perf_counter() - start)
    share = statistics.median(data[3:]) / statistics.median(steps[3:])
    row = [
        f'{1e3 * statistics.median(data[3:]):.2f}',
        f'{1e3 * statistics.median(steps[3:]):.1f}',
        f'{share:.2%}',
        f'< {MAX_SHARE:.0%}',
        verdict(share < MAX_SHARE),
    ]
    columns = ['data, ms', 'step, ms', 'share', 'target', 'result']
    return Table(f'resnet8x4, batch {args.batch_size}: data in a training step', columns, [row])


def distilled_step(device: str, way: Way) -> Callable[[dict], None]:
    """A function that trains on a batch."""
    torch.manual_seed(0)
    student, teacher = (
        MODELS.get(f'cifar/{name}')(100).to(device) for name in ('resnet8x4', 'resnet32x4')
    )
    student.train()
    teacher.eval()
    if way.channels_last:
        student.to(memory_format=torch.channels_last)
        teacher.to(memory_format=torch.channels_last)
    distillation = KDLoss(4.0)

    def total(images: Tensor, labels: Tensor) -> Tensor:
        if way.channels_last:
            images = images.to(memory_format=torch.channels_last)
        with torch.no_grad():
            target = teacher(images)
        logits = student(images)
        distilled = distillation(logits, target, labels, rewrite=Sort())
        return student.loss_cls(logits, labels) + distilled

    if way.compile:
        total = torch.compile(total, mode=way.compile)
    settings = dict(momentum=0.9, weight_decay=5e-4, fused=way.graph or None)
    optimizer = torch.optim.SGD(student.parameters(), 0.05, **settings)
    scaler = torch.amp.GradScaler(device, enabled=way.amp)

    def train(images: Tensor, labels: Tensor) -> None:
        with torch.autocast(device, torch.float16, way.amp, cache_enabled=not way.graph):
            loss = total(images, labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    if way.graph:
        return GraphedStep(train)
    return lambda batch: train(batch['inputs'], batch['data_samples']['labels'])


class GraphedStep:
    """A training step on batches of one shape as a CUDA graph, captured at the first."""

    def __init__(self, train: Callable[[Tensor, Tensor], None]) -> None:
        self.train = train
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: dict) -> None:
        given = batch['inputs'], batch['data_samples']['labels']
        if self.graph is None:
            self.own = [tensor.clone() for tensor in given]
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(4):  # what is made once is not captured
                    self.train(*self.own)
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.train(*self.own)
        for own, tensor in zip(self.own, given, strict=True):
            own.copy_(tensor)
        self.graph.replay()


def distilled_row(dataset: ClassificationDataset, args: argparse.Namespace, way: Way) -> list[str]:
    """Time of a distilled step, data included, and for how much of it the GPU works."""
    step = distilled_step(args.device, way)
    number = _WARM_UP + args.steps + _PROFILED
    epochs = itertools.count()
    endless = itertools.chain.from_iterable(
        ours(dataset, args.batch_size, epoch, args.device) for epoch in epochs
    )
    batches = itertools.islice(endless, number)
    for batch in itertools.islice(batches, _WARM_UP):
        step(batch)
    torch.cuda.synchronize()
    fetching = 0.0
    begin = time.perf_counter()
    for _ in range(args.steps):
        start = time.perf_counter()
        batch = next(batches)
        fetching += time.perf_counter() - start
        step(batch)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - begin) / args.steps
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for batch in batches:
            step(batch)
        torch.cuda.synchronize()
    busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / _PROFILED
    steps_an_epoch = CIFAR_IMAGES / args.batch_size
    return [
        way.name,
        f'{1e3 * seconds:.2f}',
        f'{fetching / args.steps / seconds:.1%}',
        f'{3600 / (seconds * steps_an_epoch):,.0f}',
        f'{busy / seconds:.0%}',
        f'≥ {MIN_BUSY:.0%}' if way.graph else '',
        verdict(busy / seconds >= MIN_BUSY) if way.graph else '',
    ]


def distilled_table(dataset: ClassificationDataset, args: argparse.Namespace) -> Table:
    """Distilled steps in all ways; ``data`` is the host's time for them."""
    columns = ['way', 'step, ms', 'data', 'epochs an hour', 'GPU busy', 'target', 'result']
    title = f'resnet32x4 → resnet8x4, batch {args.batch_size}: a distilled step on the GPU'
    return Table(title, columns, [distilled_row(dataset, args, way) for way in WAYS])


def memory_table(dataset: ClassificationDataset) -> Table:
    """What two workers hold of their own while they serve batches."""
    size = dataset.images.numel() / 2**20
    batches = SeededBatchSampler(DefaultSampler(dataset, seed=0), 64)
    loader = DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, num_workers=2, persistent_workers=True
    )
    iterator = iter(loader)
    for _ in itertools.islice(iterator, 50):
        pass
    private = [_private_mib(worker.pid) for worker in iterator._workers]
    row = [f'{size:.0f}', ', '.join(f'{value:.0f}' for value in private)]
    return Table('memory with two workers, MiB', ['the set', 'private to each worker'], [row])


def _private_mib(pid: int) -> float:
    """Memory of a process that it shares with none."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    sizes = [line.split() for line in lines if line.startswith(('Private_Clean', 'Private_Dirty'))]
    return sum(int(words[1]) for words in sizes) / 2**10


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=50_000, help='images of the set (50,000)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--epochs', type=int, default=3, help='epochs of each way (3)')
    parser.add_argument('--steps', type=int, default=40, help='training steps (40)')
    parser.add_argument('--threads', type=int, default=2, help="torch's threads (2)")
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu', help='cuda: distilled steps, too (cpu)'
    )
    parser.add_argument('--out', help='write a Markdown record')
    return parser


def main() -> None:
    """Measure."""
    args = get_parser().parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (args.images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(100, (args.images,), generator=generator)
    dataset = ClassificationDataset([str(label) for label in range(100)], labels, images)
    tables = [data_table(dataset, args), step_table(dataset, args), memory_table(dataset)]
    if args.device == 'cuda':
        tables.append(distilled_table(dataset, args))
    for table in tables:
        table.show()
    notes = [f'Medians of {args.epochs} alternating epochs and of {args.steps} steps.']
    if args.device == 'cuda':
        notes.append(f'{torch.cuda.get_device_name()}; busy: time of all kernels ÷ time of a step.')
    if args.out:
        write_record(args.out, 'Data for classifiers', tables, notes)


if __name__ == '__main__':
    main()
