"""Five methods with one teacher: its logits kept by the first and read by the others, or not.

Runs of ``tools/train.py``'s runner with its hook, loader, optimizer, validation and checkpoint, on
drawn images and random weights; a method apart and sharing take turns. All runs must end with the
same weights to the bit either way.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import torch
from report import ROOT, Table, verdict, write_record

import sortkd_det.classification  # noqa: F401
from sortkd_det.classification.data import ClassificationDataset
from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.registry import DATASETS, MODELS

MAX_RATIO = 0.6
# Config, teacher, student, side, classes, and images that are validated or tested for each that is
# trained on: 10,000 for 50,000; 4 · 341 + 372 for 20 · 3,068.
CASES = {
    'cifar100': ('cifar100.py', 'resnet32x4', 'resnet8x4', 32, 100, 0.2),
    'clothing': ('clothing/student.py', 'resnet20', 'resnet8', 40, 10, 0.03),
}


@DATASETS.register_module()
class DrawnImages(ClassificationDataset):
    """Random images and labels."""

    def __init__(self, number: int, side: int, num_classes: int) -> None:
        generator = torch.Generator().manual_seed(number)
        images = torch.randint(256, (number, 3, side, side), generator=generator, dtype=torch.uint8)
        labels = torch.randint(num_classes, (number,), generator=generator)
        super().__init__([str(label) for label in range(num_classes)], labels, images)


def run(case: str, method: str, steps: int, folder: Path, cache: Path | None) -> tuple:
    """Seconds of the processor, seconds, and the final weights of a run; one epoch."""
    config, teacher, student, side, num_classes, share = CASES[case]
    weights = folder / 'teacher.pth'
    if not weights.exists():
        torch.manual_seed(1)
        torch.save(MODELS.get(f'cifar/{teacher}')(num_classes).state_dict(), weights)
    cfg = run_config(
        ROOT / 'configs' / config,
        pair=f'{teacher}-{student}',
        teacher_checkpoint=str(weights),
        method=method,
        work_dir=str(folder / method / ('apart' if cache is None else 'shared')),
    )
    number = steps * cfg.train_dataloader.batch_size
    for split, images in (('train', number), ('val', int(share * number))):
        cfg[f'{split}_dataloader'].dataset = dict(
            type='sortkd_det.DrawnImages', number=images, side=side, num_classes=num_classes
        )
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.experiment_name = '-'.join(Path(cfg.work_dir).parts[-3:])
    if cache is not None:
        cfg.custom_hooks[0].teacher.cache = str(cache)
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        runner = build_runner(cfg)
        start = time.process_time(), time.perf_counter()
        model = runner.train()
        end = time.process_time(), time.perf_counter()
    return end[0] - start[0], end[1] - start[1], model.state_dict()


def measure(case: str, args: argparse.Namespace) -> list[str]:
    """A row: all methods apart, and sharing their teacher."""
    apart, shared = [0.0, 0.0], [0.0, 0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / case
        folder.mkdir()
        cache = folder / 'teacher.sqlite'
        for method in args.methods:
            run(case, method, 1, folder, None)  # what is compiled is compiled now
        for method in args.methods:
            ends = []
            for sums, path in ((apart, None), (shared, cache)):
                *seconds, weights = run(case, method, args.steps, folder, path)
                sums[0] += seconds[0]
                sums[1] += seconds[1]
                ends.append(weights)
            if not all(map(torch.equal, ends[0].values(), ends[1].values())):
                raise RuntimeError(f'{case}, {method}: the two runs differ')
        size = cache.stat().st_size / args.steps / 2**10
    ratio = shared[0] / apart[0]
    return [
        f'{CASES[case][1]} → {CASES[case][2]}',
        f'{apart[0]:.1f}',
        f'{shared[0]:.1f}',
        f'{ratio:.3f}',
        f'{shared[1] / apart[1]:.3f}',
        f'{size:.0f}',
        f'≤ {MAX_RATIO}',
        verdict(ratio <= MAX_RATIO),
    ]


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument(
        '--methods', nargs='+', default=['kd', 'sortkd', 'dkd', 'sortdkd', 'sortlskd']
    )
    parser.add_argument('--steps', type=int, default=16, help='training steps of a run (16)')
    parser.add_argument('--threads', type=int, default=1, help="torch's threads (1)")
    parser.add_argument('--out', help='write a Markdown record')
    return parser


def main() -> None:
    """Measure."""
    args = get_parser().parse_args()
    torch.set_num_threads(args.threads)
    columns = [
        *('pair', 'apart, s', 'shared, s', 'shared ÷ apart', 'by the clock', 'KiB a batch'),
        *('target', 'result'),
    ]
    rows = [measure(case, args) for case in args.cases]
    title = f'{len(args.methods)} methods, {args.steps} steps of 64 images and a validation each'
    table = Table(title, columns, rows)
    table.show()
    notes = [
        f'Methods: {", ".join(args.methods)}; the first one computes what the others read.',
        'Seconds of the processor, which other processes of the machine disturb least.',
        'All runs ended with the same weights to the bit, apart and shared.',
    ]
    if args.out:
        write_record(args.out, 'A teacher that is computed once', [table], notes)


if __name__ == '__main__':
    main()
