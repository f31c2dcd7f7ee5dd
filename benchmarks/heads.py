"""Distil a detector of each kind of head in MMDetection's own configs, and count those that run.

Configs are grouped by their detector and the classes of its heads, and the plainest of each group
is trained for an iteration on images of COCO, taught by SortKD from a second network of the same
config; both have random weights and their full size. Each run has a process of its own, so that a
crash does not end the count. With --by-flags each config in the table of docs/detectors.md is also
trained by tools/train.py and its flags, for two iterations of its own pipeline on smaller images.
"""

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from report import Table, write_record
from torch import nn

from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner, prepare
from sortkd_det.detection.registries import register_mmdet
from sortkd_det.hooks import DistilledBatch, DistillHook
from sortkd_det.studies.thin_models import make_thin

REPO = Path(__file__).parents[1]
CONFIGS = Path(mmdet.__file__).parent / '.mim/configs'
ANNOTATIONS = 'annotations/instances_train2017.json'
RUNS, REFUSED, NOT_HERE, OUT_OF_TIME, FAILS = (
    *('runs', 'refused by name', 'cannot be trained here', 'out of time', 'fails'),
)
_BATCH_SIZE, _ITERATIONS = 2, 2
_SAMPLES = 64  # of RoIs and of anchors of an image, where samplers take some
_THIN_CHANNELS = 32
_SIZES = ('scale', 'scales', 'img_scale', 'crop_size', 'size', 'border')  # of transforms
_SHRINK = 2  # what --by-flags divides them by
_PYTHONPATH = [path for path in [os.environ.get('PYTHONPATH')] if path]
_PAGE = REPO / 'docs/detectors.md'


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        result: whether it runs, in a few words.
        why: where it does not, the error's sentence.
        adapter: that which was found.
        rows: how many were paired in each iteration.
        losses: the distillation loss of each iteration.
        tried: the network's channels, and the side of the images.
    """

    result: str
    why: str = ''
    adapter: str = ''
    rows: Sequence[int] = ()
    losses: Sequence[float] = ()
    tried: str = ''

    def line(self) -> str:
        """Result and reason."""
        return f'{self.result}: {self.why}' if self.why else self.result


# -- which configs -----------------------------------------------------------


def heads_of(model: Mapping) -> str | None:
    """The detector of a config's model and its heads that tell classes apart, by their types.

    None: it is no detector of images with such a head of its own: a tracker, a network for
    re-identification, proposals alone, a detector around another one.
    """
    names = [
        _type(model[name])
        for name in ('bbox_head', 'roi_head', 'mask_head', 'panoptic_head')
        if model.get(name)
    ]
    if not names or model.get('track_head'):
        return None
    if model.get('roi_head'):
        names.append(_type(model['roi_head']['bbox_head']))
    return f'{model["type"]}: {", ".join(names)}'


def _type(node: Any) -> str:
    """The type of a module; of the stages of a cascade, that of the first."""
    return node['type'] if isinstance(node, Mapping) else _type(node[0])


def survey(only: str) -> tuple[dict[str, str], list[str]]:
    """A config of each kind among those whose names hold ``only``; those that cannot be read.

    Returns:
        Names below ``mmdet::`` by what :func:`heads_of` says of them, sorted; and the names of
        configs that MMEngine cannot read here.
    """
    kinds: dict[str, list[str]] = {}
    unread = []
    for path in sorted(CONFIGS.rglob('*.py')):
        name = str(path.relative_to(CONFIGS).with_suffix(''))
        if name.startswith('_base_') or only not in name:
            continue
        try:
            model = Config.fromfile(path).get('model')
        except Exception:  # whatever a config does: it is code
            unread.append(name)
            continue
        heads = heads_of(model) if model else None
        if heads is not None:
            kinds.setdefault(heads, []).append(name)
    return {heads: min(kinds[heads], key=_plainness) for heads in sorted(kinds)}, unread


def _plainness(name: str) -> tuple:
    """Sorts a kind's configs: those on COCO first, of these the small, then by their length."""
    small = 'r50' in name or 'tiny' in name
    return 'coco' not in name, not small, len(name), name


# -- one config --------------------------------------------------------------


@TRANSFORMS.register_module()
class DrawTargets:
    """Draws what COCO's instances do not hold and some heads are trained on.

    A map of classes, from the instances' masks (HTC, SCNet, Panoptic FPN), and proposals, the
    boxes themselves (Fast R-CNN).
    """

    def __call__(self, results: dict) -> dict:
        """Add ``gt_seg_map``, 255 where no instance is, and ``proposals`` with their scores."""
        results['gt_seg_map'] = np.full(results['img_shape'][:2], 255, dtype=np.uint8)
        labels = results['gt_bboxes_labels']
        for mask, label in zip(results['gt_masks'].masks, labels, strict=True):
            results['gt_seg_map'][mask > 0] = label
        results['proposals'] = results['gt_bboxes'].tensor.numpy()
        results['proposals_scores'] = np.ones(len(labels), dtype=np.float32)
        return results


def plain_config(name: str, data_root: str, size: int, thin: bool) -> Config:
    """MMDetection's config without downloads, on a few images of one size, for one short epoch."""
    cfg = get_config(f'mmdet::{name}.py')
    anchors = cfg.model.get('bbox_head', {}).get('anchor_generator', {})
    size = anchors.get('input_size', size)  # SSD's is fixed
    without_downloads(cfg.model)
    if thin:
        _make_thin(cfg.model)
    else:
        _sample_fewer(cfg.model)
    cfg.model.data_preprocessor.pop('batch_augments', None)  # they change the images' size
    rescale = [step for step in own_pipeline(cfg) if step['type'] == 'SegRescale']
    dataset = dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file=ANNOTATIONS,
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=classes_of(data_root)[: _num_classes(cfg.model)]),
        filter_cfg=dict(filter_empty_gt=True),
        indices=_BATCH_SIZE,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='DrawTargets'),
            *rescale,
            dict(type='PackDetInputs'),
        ],
    )
    cfg.train_dataloader = dict(
        batch_size=_BATCH_SIZE,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    for part in ('val', 'test'):
        for what in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{part}_{what}'] = None
    cfg.optim_wrapper.type = 'OptimWrapper'  # mixed precision wants a GPU
    cfg.optim_wrapper.pop('loss_scale', None)
    cfg.optim_wrapper.pop('dtype', None)
    cfg.visualizer = None
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    return cfg


def without_downloads(node: Any) -> None:
    """Take all pretrained weights out of a model's config, and find files by their full path."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        pretrained = isinstance(value, dict) and value.get('type') == 'Pretrained'
        if pretrained or key in ('pretrained', 'teacher_ckpt'):
            node[key] = None
        elif key == 'teacher_config' and isinstance(value, str):  # of LD, from MMDetection's root
            node[key] = str(CONFIGS.parent / value)
        elif isinstance(value, dict | list | tuple):
            without_downloads(value)


def _make_thin(model: Any) -> None:
    """Make a ResNet's detector thin, but for what transformers encode places in."""
    wide = model.neck.get('out_channels') if 'decoder' in model and 'neck' in model else None
    make_thin(model, num_classes=80, channels=_THIN_CHANNELS)
    if wide is not None:
        model.neck.out_channels = wide


def _sample_fewer(node: Any) -> None:
    """Let samplers take fewer RoIs and anchors: it is they that take the time."""
    for value in node.values() if isinstance(node, dict) else node:
        if (
            isinstance(value, dict)
            and isinstance(value.get('num'), int)
            and 'pos_fraction' in value
        ):
            value['num'] = min(value['num'], _SAMPLES)
        if isinstance(value, dict | list | tuple):
            _sample_fewer(value)


def own_pipeline(cfg: Config) -> Sequence[Mapping]:
    """The training pipeline of a config, whatever its data set is wrapped in."""
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset.get('pipeline') or ()


def _num_classes(model: Mapping) -> int:
    """The classes of a model's config, as its first head that tells them says."""
    for part in (model.get('bbox_head'), model.get('roi_head'), model.get('mask_head')):
        part = part.get('bbox_head', part) if part else {}
        part = part if isinstance(part, Mapping) else part[0]
        if 'num_classes' in part:
            return part['num_classes']
    return 80


def classes_of(data_root: str) -> list[str]:
    """The names of the classes in the annotations."""
    found = json.loads((Path(data_root) / ANNOTATIONS).read_text())['categories']
    return [each['name'] for each in sorted(found, key=lambda each: each['id'])]


def save_random(model_config: Mapping, path: Path, classes: Sequence[str]) -> None:
    """A checkpoint of random weights."""
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(model_config)
    model.init_weights()
    fill_empty(model)
    meta = dict(dataset_meta=dict(classes=tuple(classes)))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def fill_empty(model: nn.Module) -> None:
    """Draw the weights that MMDetection leaves as the memory was: TridentNet's."""
    for module in model.modules():
        if type(module).__name__ == 'TridentConv':
            nn.init.normal_(module.weight, std=0.01)


def distil_one(name: str, data_root: str, folder: Path, size: int, thin: bool) -> Outcome:
    """Train one config for an epoch, taught by another network of it; what came of it."""
    try:
        cfg = plain_config(name, data_root, size, thin)
        path = folder / 'config.py'
        cfg.dump(path)
        classes = classes_of(data_root)[: _num_classes(cfg.model)]
        save_random(cfg.model, folder / 'teacher.pth', classes)
    except Exception as error:  # the config is code, and so is what it builds
        return Outcome(NOT_HERE, _sentence(error))
    try:
        return taught(path, folder)
    except Exception as error:
        traceback.print_exc()
        return _cause(error, path, folder)


def taught(path: Path, folder: Path) -> Outcome:
    """Train the student of the config at ``path`` by SortKD."""
    cfg = run_config(
        path,
        teacher=str(path),
        teacher_checkpoint=str(folder / 'teacher.pth'),
        method='sortkd',
        cfg_options=dict(check_teacher=None),
        work_dir=str(folder / 'distilled'),
    )
    prepare(cfg, ('train_dataloader',))
    runner = build_runner(cfg)
    fill_empty(runner.model)
    hook = next(hook for hook in runner.hooks if isinstance(hook, DistillHook))
    model, before = runner.model, {}
    batches: list[tuple[int, float]] = []

    def see(batch: DistilledBatch) -> None:
        before.update((name, each.detach().clone()) for name, each in model.named_parameters())
        (loss,) = batch.distill_losses.values()
        batches.append((len(batch.logits.labels), float(loss)))

    hook.watchers.append(see)
    runner.train()
    rows, losses = zip(*batches, strict=True)
    outcome = Outcome(RUNS, '', type(hook.adapter).__name__, rows, losses)
    after = dict(model.named_parameters())
    wrong = {
        "the student's weights are no finite numbers any more": not all(
            each.isfinite().all() for each in after.values()
        ),
        'the student did not change': all(
            torch.equal(each, before[name]) for name, each in after.items()
        ),
        'no rows were paired': not any(rows),
        'the distillation loss is not above 0 and finite': not (
            np.isfinite(losses).all() and max(losses) > 0
        ),
    }
    why = '; '.join(fault for fault, is_there in wrong.items() if is_there)
    return replace(outcome, result=FAILS, why=why) if why else outcome


def _cause(error: Exception, path: Path, folder: Path) -> Outcome:
    """Whose fault it is that a distilled run ended with an error."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ValueError) and '/sortkd_det/' in frames[-1].filename:
        return Outcome(REFUSED, _sentence(error))
    try:
        runner = build_runner(run_config(path, work_dir=str(folder / 'alone')))
        fill_empty(runner.model)
        runner.train()
    except Exception as alone:
        return Outcome(NOT_HERE, f'without distillation: {_sentence(alone)}')
    return Outcome(FAILS, _sentence(error))


def _sentence(error: Exception) -> str:
    """An error in one line."""
    text = ' '.join(str(error).split()) or 'no message'
    return text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'


# -- by the flags ------------------------------------------------------------


def small_options(cfg: Config) -> list[str]:
    """``--cfg-options`` that make a config's run one of two iterations on small images."""
    where, dataset = 'train_dataloader.dataset', cfg.train_dataloader.dataset
    sizes = _smaller(dataset, where)
    others = []
    while 'dataset' in dataset:
        others += [f'{where}.times=1'] if 'times' in dataset else []
        where, dataset = f'{where}.dataset', dataset.dataset
    if 'Amp' in cfg.optim_wrapper.type:  # which needs a GPU
        others.append('optim_wrapper.type=OptimWrapper')
    length = f'max_iters={_ITERATIONS}' if 'max_iters' in cfg.train_cfg else 'max_epochs=1'
    return [
        f'train_cfg.{length}',
        *others,
        f'{where}.indices={_BATCH_SIZE * _ITERATIONS}',
        f'train_dataloader.batch_size={_BATCH_SIZE}',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        *('val_dataloader=None', 'val_cfg=None', 'val_evaluator=None'),
        'default_hooks.logger.interval=1',
        'check_teacher=None',
        'model.backbone.init_cfg=None',
        'model.data_preprocessor.batch_augments=None',
        'randomness.seed=0',
        *sizes,
    ]


def _smaller(node: Any, place: str) -> list[str]:
    """Options that divide each size of the transforms below ``node`` by ``_SHRINK``."""
    found = []
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in _SIZES:
            found.append(f'{place}.{key}={_divided(value)}'.replace(' ', ''))
        elif isinstance(value, dict | list | tuple):
            found += _smaller(value, f'{place}.{key}')
    return found


def _divided(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_divided(each) for each in value)
    return value // _SHRINK


# -- processes ---------------------------------------------------------------


def run_process(command: Sequence[str], limit: int) -> tuple[int | None, str]:
    """Exit code and output of a command; None for the code of one that was out of time."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(REPO), *_PYTHONPATH])}
    try:
        done = subprocess.run(
            command,
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return None, ''
    return done.returncode, done.stdout


def distil_in_own_process(name: str, args: argparse.Namespace) -> Outcome:
    """:func:`distil_one` in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context('fork')  # MMDetection is imported once
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_write_outcome, args=(name, args, Path(folder)))
        process.start()
        process.join(args.limit)
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome(OUT_OF_TIME, f'not at its end after {args.limit} seconds')
        written, output = Path(folder) / 'outcome.json', (Path(folder) / 'output').read_text()
        outcome = _of_code(process.exitcode, output)
        if written.exists():
            outcome = Outcome(**json.loads(written.read_text()))
    if outcome.result == FAILS:
        print(output[-3000:], file=sys.stderr)
    return outcome


def _write_outcome(name: str, args: argparse.Namespace, folder: Path) -> None:
    """Not all networks can be made thin, and some want larger images: where one cannot be
    trained, the whole one and larger images judge.
    """
    with open(folder / 'output', 'w') as output:
        for stream in (1, 2):  # of this process and of compiled code in it
            os.dup2(output.fileno(), stream)
    sizes = (args.size, 2 * args.size)
    for thin, size in itertools.product((True, False) if args.thin else (False,), sizes):
        outcome = distil_one(name, args.data_root, folder, size, thin)
        if outcome.result in (RUNS, REFUSED):
            break
    outcome = replace(outcome, tried=f'{"few" if thin else "all"} channels, {size} px')
    (folder / 'outcome.json').write_text(json.dumps(asdict(outcome)))


def train_by_flags(name: str, args: argparse.Namespace) -> Outcome:
    """Run tools/train.py with its flags on a config of MMDetection."""
    cfg = get_config(f'mmdet::{name}.py')
    without_downloads(cfg.model)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_random(cfg.model, folder / 'teacher.pth', classes_of(args.data_root))
        code, output = run_process(
            [
                *(sys.executable, 'tools/train.py', f'mmdet::{name}.py', '--method', 'sortkd'),
                *('--teacher', f'mmdet::{name}.py'),
                *('--teacher-checkpoint', str(folder / 'teacher.pth')),
                *('--data-root', args.data_root, '--work-dir', str(folder / 'work')),
                *('--cfg-options', *small_options(cfg)),
            ],
            args.limit,
        )
        logs = list((folder / 'work').glob('*/vis_data/scalars.json'))
        entries = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        wrote = list((folder / 'work').glob('*.pth'))
    losses = [entry['loss_distill'] for entry in entries if 'loss_distill' in entry]
    if code is None:
        return Outcome(OUT_OF_TIME, f'not at its end after {args.limit} seconds')
    if code != 0:
        print(output[-3000:], file=sys.stderr)
        return _of_code(code, output)
    if len(losses) != _ITERATIONS or not np.isfinite(losses).all() or max(losses) <= 0:
        return Outcome(FAILS, f'loss_distill was {losses}')
    return Outcome(RUNS if wrote else FAILS, '' if wrote else 'no checkpoint', losses=losses)


def _of_code(code: int, output: str) -> Outcome:
    """What came of a process that ended with ``code`` and told no outcome."""
    last = (output.strip().splitlines() or ['no output'])[-1]
    last = last.partition(' (the traceback is in')[0].replace(f'{REPO}/', '')
    return Outcome(FAILS, f'exit code {code}: {last}')


def promised() -> list[str]:
    """The configs in the table of docs/detectors.md, each once."""
    rows = re.findall(r'^\|[^|]+\| `(\w+/[^`]+)` \|', _PAGE.read_text(), re.MULTILINE)
    return list(dict.fromkeys(rows))


# -- command line ------------------------------------------------------------


def tell(
    kinds: Mapping[str, str], run: Callable[[str], Outcome], kept: Path | None
) -> dict[str, Outcome]:
    """Run each config in turn, saying what came of it; what ``kept`` has is not run again."""
    known = json.loads(kept.read_text()) if kept and kept.exists() else {}
    outcomes = {}
    for index, (heads, name) in enumerate(kinds.items(), 1):
        start = time.perf_counter()
        outcomes[heads] = Outcome(**known[name]) if name in known else run(name)
        spent = time.perf_counter() - start
        print(f'{index}/{len(kinds)} {name}: {outcomes[heads].line()} ({spent:.0f} s)', flush=True)
        if kept:
            known[name] = asdict(outcomes[heads])
            kept.write_text(json.dumps(known, indent=1))
    return outcomes


def kept_in(args: argparse.Namespace, name: str) -> Path | None:
    """Where outcomes are kept, for a count that was interrupted to go on."""
    return args.keep / f'{name}.json' if args.keep else None


def count(outcomes: Mapping[str, Outcome]) -> str:
    """How many run, of how many."""
    return f'{sum(each.result == RUNS for each in outcomes.values())} of {len(outcomes)}'


def heads_table(kinds: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> Table:
    """A row for each kind of head."""
    rows = [
        [
            heads,
            name,
            each.tried,
            each.adapter,
            _join(each.rows),
            _join(each.losses),
            each.result,
        ]
        for heads, name in kinds.items()
        for each in [outcomes[heads]]
    ]
    return Table(
        f'Distilled: {count(outcomes)} kinds of heads',
        ['detector and heads', 'config', 'tried with', 'adapter', 'rows', 'loss', 'result'],
        rows,
    )


def _join(numbers: Sequence[float]) -> str:
    return ', '.join(f'{number:.3g}' if number % 1 else f'{number:.0f}' for number in numbers)


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data-root',
        required=True,
        help=f'folder of COCO: {ANNOTATIONS}, train2017/',
    )
    parser.add_argument(
        '--only', default='', help='configs whose names hold this, in place of one of each kind'
    )
    parser.add_argument('--size', type=int, default=160, help='side of the images in pixels (160)')
    parser.add_argument(
        '--thin', action='store_true', help='networks of few channels, wherever those run'
    )
    parser.add_argument('--limit', type=int, default=600, help='seconds that a run may take (600)')
    parser.add_argument(
        '--by-flags',
        action='store_true',
        help='train what docs/detectors.md lists by tools/train.py, too',
    )
    parser.add_argument(
        '--keep', type=Path, help='folder for what came of each run: an interrupted count goes on'
    )
    parser.add_argument('--out', help='write a Markdown record, e.g. benchmarks/results/heads.md')
    return parser


def main() -> None:
    """Run one of each kind, and report."""
    args = get_parser().parse_args()
    warnings.filterwarnings('ignore')
    MMLogger.get_instance('heads', log_level='ERROR')  # or init_weights logs each tensor
    logging.disable(logging.WARNING)
    register_mmdet()
    args.data_root = os.path.abspath(args.data_root)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    kinds, unread = survey(args.only)
    print(f'{len(kinds)} kinds of heads ({time.perf_counter() - start:.0f} s)', flush=True)
    outcomes = tell(kinds, lambda name: distil_in_own_process(name, args), kept_in(args, 'heads'))
    tables = [heads_table(kinds, outcomes)]
    notes = [
        f'{count(outcomes)} kinds of heads run: an iteration of SortKD on {_BATCH_SIZE} images of '
        f'{args.size} × {args.size}, random weights, at most {_SAMPLES} RoIs of an image. Rows are '
        'those that were paired.',
        f'{len(unread)} configs of MMDetection cannot be read here, and have no part in this.',
        *reasons(outcomes, kinds),
    ]
    report(args.out, tables, notes)
    if args.by_flags:
        families = {name: name for name in promised() if args.only in name}
        trained = tell(families, lambda name: train_by_flags(name, args), kept_in(args, 'flags'))
        rows = [[name, _join(each.losses), each.result] for name, each in trained.items()]
        title = f'By the flags of tools/train.py: {count(trained)} configs'
        tables.append(Table(title, ['config', 'distillation loss', 'result'], rows))
        notes += reasons(trained, families)
        report(args.out, tables, notes)


def reasons(outcomes: Mapping[str, Outcome], configs: Mapping[str, str]) -> list[str]:
    """Why each of those that do not run does not."""
    return [
        f'{configs[what]}: {each.line()}' for what, each in outcomes.items() if each.result != RUNS
    ]


def report(out: str | None, tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Show the tables, and write the record where one is wanted."""
    for table in tables:
        table.show()
    print('\n'.join(notes))
    if out:
        write_record(out, "MMDetection's heads, distilled", tables, notes)


if __name__ == '__main__':
    main()
