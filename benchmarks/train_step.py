"""Time a distilled training step against the plain student's step plus what the teacher must run.

The distilled step is that of a run as tools/train.py builds it, the hook joined to the student. It
is measured against the step of the plain student's run plus the teacher's backbone, neck and head,
called directly: no sort, no loss, no hook. The head of a two-stage teacher runs on the RoIs that
this step has sampled. Both take the same batches with the same seeds and weights (the learning rate
is 0), in turns. Peak memory is measured in a fresh process for each of the two.

The images are drawn on the spot and all weights are random: nothing is downloaded.
"""

import argparse
import copy
import ctypes
import gc
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from report import Table, verdict, write_record
from torch import Tensor

from sortkd_det.cli.config import run_config
from sortkd_det.cli.distillation import find_distill_hook, set_teacher_checkpoint, student_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import DistilledBatch, DistillHook, TeacherAuditHook
from sortkd_det.studies.demo.toy_coco import CLASSES, generate_toy_coco

TARGET = 1.03
TARGET_ALL = 1.05  # of dense heads, with all rows of background
TARGET_TO_PLAIN = {False: 1.15, True: 1.10}  # on a GPU, without and with AMP
DISTILLED, PLAIN = 'distilled', 'plain'
_OUR_HOOKS = (DistillHook, TeacherAuditHook)
REPO = Path(__file__).parents[1]
_R18 = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
_R18_WITHOUT_C2 = dict(backbone=dict(depth=18), neck=dict(in_channels=[128, 256, 512]))
_DINO = 'dino/dino-4scale_r50_8xb2-12e_coco'
# Student and teacher, configs of MMDetection, and what differs in the student's model.
FAMILIES = {
    'retinanet': ('retinanet/retinanet_r18_fpn_1x_coco', 'retinanet/retinanet_r50_fpn_1x_coco', {}),
    'gfl': ('gfl/gfl_r50_fpn_1x_coco', 'gfl/gfl_r50_fpn_1x_coco', _R18),
    'rtmdet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco', 'rtmdet/rtmdet_tiny_8xb32-300e_coco', {}),
    'yolox': ('yolox/yolox_tiny_8xb8-300e_coco', 'yolox/yolox_tiny_8xb8-300e_coco', {}),
    'cascade': (
        'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco',
        'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco',
        _R18,
    ),
    'deformable-detr': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
        _R18_WITHOUT_C2,
    ),
    'dino': (_DINO, _DINO, _R18_WITHOUT_C2),
    'dino-faster': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', _DINO, _R18),
}
_WARM_UP_ROUNDS = 3
_MAX_TERM_SHARE = 0.01  # of a distilled step, sorting and loss, forward and backward
_MEMORY_STEPS = 4
_MIB = 2**20


# -- the clock ---------------------------------------------------------------


@dataclass
class Spent:
    """Seconds on the clock, and of the processor in all threads of this process."""

    wall: float
    cpu: float

    def __add__(self, other: 'Spent') -> 'Spent':
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


def spent_in(function: Callable[[], Any]) -> Spent:
    """What a call takes, with what it leaves running on a GPU."""
    _synchronise()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    _synchronise()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# -- the two runs ------------------------------------------------------------


def write_family(args: argparse.Namespace, folder: Path) -> str:
    """SortKD of a family of detectors, as a config file in ``folder``; returns its path."""
    student, teacher, model = FAMILIES[args.family]
    adapter = None  # that which is found
    if args.negatives != 'none':
        adapter = dict(type='DenseHeadAdapter', negatives=args.negatives)
    bases = [f'mmdet::{student}.py', str(REPO / 'configs/_base_/methods/sortkd.py')]
    hook = dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config=f'mmdet::{teacher}.py'),
        adapter=adapter,
    )
    path = folder / 'family.py'
    path.write_text(
        f'_base_ = {bases}\nmodel = {model}\ncustom_hooks = [dict({hook}, method=_base_.method)]\n'
    )
    return str(path)


def read_config(args: argparse.Namespace, folder: Path) -> Config:
    """The config of the distillation, on the toy images in ``folder`` and with random weights.

    Raises:
        ValueError: nothing distils in it, or its student has no box head, or a mask head.
    """
    cfg = run_config(args.config, work_dir=str(folder / 'work'))
    hook = find_distill_hook(cfg)
    if hook is None:
        raise ValueError(f'{args.config} has no sortkd_det.DistillHook in custom_hooks')
    heads = cfg.model.get('roi_head', cfg.model)
    if 'bbox_head' not in heads or 'mask_head' in heads:
        raise ValueError(
            'expected a Faster or Cascade R-CNN or a detector with a dense head or queries, got '
            f'{cfg.model.type} in {args.config}'
        )
    hook.check_teacher = None
    if not args.family:  # which keep COCO's 80: what all rows cost hangs on their number
        where = 'model.roi_head.bbox_head' if 'roi_head' in cfg.model else 'model.bbox_head'
        stages = [f'.{stage}' for stage in range(heads.get('num_stages', 0))] or ['']
        num_classes = {f'{where}{stage}.num_classes': len(CLASSES) for stage in stages}
        cfg.merge_from_dict(num_classes)
        hook.teacher.cfg_options = {**hook.teacher.get('cfg_options', {}), **num_classes}
    hook.teacher.update(args.teacher or {})
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    set_teacher_checkpoint(cfg, str(folder / 'teacher.pth'))
    cfg.custom_hooks = [
        entry
        for entry in cfg.custom_hooks
        if args.audit or not str(entry.type).endswith(TeacherAuditHook.__name__)
    ]
    cfg.model.data_preprocessor.pop('batch_augments', None)  # they change the images' size
    cfg.model.backbone.init_cfg = None
    cfg.optim_wrapper.optimizer.lr = 0.0  # all work is done, and the weights stay
    cfg.train_dataloader = dict(
        batch_size=args.batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='CocoDataset',
            data_root=str(folder / 'images'),
            ann_file='annotations/train.json',
            data_prefix=dict(img='train/'),
            metainfo=dict(classes=CLASSES),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs'),
            ],
        ),
    )
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.param_scheduler = cfg.visualizer = None
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    return cfg


def prepare(args: argparse.Namespace, folder: Path) -> None:
    """Draw the images and save a teacher of random weights."""
    num_images = args.batches * args.batch_size
    generate_toy_coco(folder / 'images', num_images, 1, image_size=tuple(args.scale))
    teacher = find_distill_hook(read_config(args, folder)).teacher
    cfg = get_config(teacher.config) if '::' in teacher.config else Config.fromfile(teacher.config)
    cfg.merge_from_dict({**teacher.get('cfg_options', {}), 'model.backbone.init_cfg': None})
    torch.manual_seed(0)
    MMLogger.get_instance('train_step', log_level='ERROR')  # or init_weights logs each tensor
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'teacher.pth')


@dataclass
class Seen:
    """What passed by in a step of the student: the teacher's inputs.

    Attributes:
        inputs: (B, 3, H, W), preprocessed.
        data_samples: B samples.
        rois: of each stage (N, 5), the sampled RoIs; empty of one-stage detectors.
        num_rows: how many rows were distilled.
    """

    inputs: Tensor | None = None
    data_samples: list | None = None
    rois: list[Tensor] = field(default_factory=list)
    num_rows: int = 0


class Run:
    """A run as ``Runner.train`` sets it up, stopped before its first iteration."""

    def __init__(self, cfg: Config, name: str, num_batches: int) -> None:
        cfg = copy.deepcopy(cfg)
        cfg.experiment_name = name
        self.runner: Runner = build_runner(cfg)
        loop = self.runner.train_loop  # builds it
        self.runner.optim_wrapper = self.runner.build_optim_wrapper(self.runner.optim_wrapper)
        self.hooks = [hook for hook in self.runner.hooks if isinstance(hook, _OUR_HOOKS)]
        self._call('before_run')
        self.model.init_weights()
        self._call('before_train')
        self.runner.optim_wrapper.initialize_count_status(self.model, 0, loop.max_iters)
        self.model.train()
        self.batches = list(itertools.islice(loop.dataloader, num_batches))
        self.seen = Seen()
        self._watch()

    @property
    def model(self) -> torch.nn.Module:
        """The student."""
        return self.runner.model

    @property
    def distill_hook(self) -> DistillHook:
        """The hook that distils; the plain run has none."""
        return next(hook for hook in self.hooks if isinstance(hook, DistillHook))

    def step(self, index: int) -> Spent:
        """Train on a batch, as the training loop does; returns what that took."""
        batch = copy.deepcopy(self.batches[index % len(self.batches)])
        torch.manual_seed(index)
        gc.collect()
        return spent_in(lambda: self._iterate(index, batch))

    def _iterate(self, index: int, batch: dict) -> None:
        self._call('before_train_iter', index, batch)
        outputs = self.model.train_step(batch, self.runner.optim_wrapper)
        self._call('after_train_iter', index, batch, outputs)
        self.runner.train_loop._iter += 1

    def _call(self, point: str, *arguments: Any) -> None:
        for hook in self.hooks:
            getattr(hook, point)(self.runner, *arguments)

    def _watch(self) -> None:
        def see_inputs(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
            self.seen.inputs, self.seen.data_samples = kwargs['inputs'], kwargs['data_samples']
            self.seen.rois = []

        def see_rois(module: torch.nn.Module, args: tuple) -> None:
            self.seen.rois.append(args[1])

        def see_rows(batch: DistilledBatch) -> None:
            self.seen.num_rows = len(batch.logits.labels)

        self.model.register_forward_pre_hook(see_inputs, with_kwargs=True)
        if hasattr(self.model, 'roi_head'):
            for extractor in stages_of(self.model.roi_head.bbox_roi_extractor):
                extractor.register_forward_pre_hook(see_rois)
        for hook in self.hooks:
            if isinstance(hook, DistillHook):
                hook.watchers.append(see_rows)


# -- time --------------------------------------------------------------------


@dataclass
class Round:
    """What one round took, and whether both students saw the same images and RoIs."""

    distilled: Spent
    plain: Spent
    teacher: Spent
    same_rows: bool
    num_rows: int

    def ratio(self, clock: str) -> float:
        """Distilled step ÷ (plain step + teacher), by ``'wall'`` or ``'cpu'``."""
        return getattr(self.distilled, clock) / getattr(self.plain + self.teacher, clock)


def stages_of(modules: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules of each stage of a cascade; of other heads the one."""
    return list(modules) if isinstance(modules, torch.nn.ModuleList) else [modules]


def run_teacher(
    hook: DistillHook, images: Tensor, rois: list[Tensor], data_samples: list | None
) -> None:
    """What a teacher cannot do without: backbone, neck, (RoI extractor or transformer and) head."""
    model = hook.adapter.teacher.model
    with torch.no_grad(), hook.adapter.teacher.precision(images.device):
        features = model.extract_feat(images)
        if hasattr(model, 'forward_transformer'):
            model.bbox_head(**model.forward_transformer(features, data_samples))
            return
        if not rois:
            model.bbox_head(features)
            return
        if hook.adapter.teacher.dtype is not None:
            features = tuple(level.float() for level in features)
        head = model.roi_head
        parts = stages_of(head.bbox_roi_extractor), stages_of(head.bbox_head)
        for extractor, bbox_head, sampled in zip(*parts, rois, strict=True):
            pooled = extractor(features[: extractor.num_inputs], sampled)
            if head.with_shared_head:
                pooled = head.shared_head(pooled)
            bbox_head(pooled)


def uses_amp(run: Run) -> bool:
    """Whether a run trains under AMP."""
    return 'Amp' in type(run.runner.optim_wrapper).__name__


def time_round(distilled: Run, plain: Run, index: int) -> Round:
    """A step of each; which goes first alternates."""

    def with_teacher() -> tuple[Spent, Spent]:
        step = plain.step(index)
        seen, hook = plain.seen, distilled.distill_hook
        # The conversion of the images counts as distillation's own cost: not timed here.
        images = hook.adapter.teacher.convert_inputs(seen.inputs, plain.model, seen.data_samples)
        with torch.autocast(images.device.type, enabled=uses_amp(plain)):
            return step, spent_in(lambda: run_teacher(hook, images, seen.rois, seen.data_samples))

    if index % 2:
        (step, teacher), joined = with_teacher(), distilled.step(index)
    else:
        joined, (step, teacher) = distilled.step(index), with_teacher()
    ours, theirs = distilled.seen, plain.seen
    pairs = zip([ours.inputs, *ours.rois], [theirs.inputs, *theirs.rois], strict=True)
    same = all(torch.equal(one, other) for one, other in pairs)
    return Round(joined, step, teacher, same, ours.num_rows)


def time_steps(cfg: Config, args: argparse.Namespace) -> tuple[list[Round], Table]:
    """Time all rounds, then the parts of distillation on the last batch."""
    distilled = Run(cfg, DISTILLED, args.batches)
    plain = Run(student_config(cfg), PLAIN, args.batches)
    plain.model.load_state_dict(distilled.model.state_dict())
    torch.set_num_threads(args.threads)
    rounds = [time_round(distilled, plain, index) for index in range(_WARM_UP_ROUNDS + args.rounds)]
    rounds = rounds[_WARM_UP_ROUNDS:]
    return rounds, time_parts(distilled, statistics.median(r.distilled.wall for r in rounds))


def time_parts(run: Run, step: float, repeats: int = 20) -> Table:
    """What distillation adds to student and teacher, part by part, on the last batch."""
    hook = run.distill_hook
    caught = []
    hook.watchers.append(caught.append)
    run.step(0)
    hook.watchers.remove(caught.append)
    batch = caught[0].logits
    batch = replace(batch, student=batch.student.detach().requires_grad_())

    def forward() -> Tensor:
        return sum(hook.method(batch, hook.now).values())

    losses = iter([forward() for _ in range(repeats)])
    seen = run.seen
    parts = {
        'images for the teacher': lambda: hook.adapter.teacher.convert_inputs(
            seen.inputs, run.model, seen.data_samples
        ),
        'processors': lambda: [
            term.process(term.processors, batch.teacher, batch) for term in hook.method.terms
        ],
        'terms (processors, weights, loss)': forward,
        "backward to the student's logits": lambda: next(losses).backward(),
    }
    rows, term_share = [], 0.0
    for name, part in parts.items():
        seconds = statistics.median(spent_in(part).wall for _ in range(repeats))
        rows.append([name, _milliseconds(seconds, 3), f'{seconds / step:.4%}', '', ''])
        if name != 'images for the teacher' and name != 'processors':
            term_share += seconds / step
    result = verdict(term_share < _MAX_TERM_SHARE)
    rows.append(['terms and backward', '', f'{term_share:.4%}', f'< {_MAX_TERM_SHARE:.0%}', result])
    shape = ' × '.join(map(str, batch.teacher.shape))
    wrong = (batch.teacher.argmax(1) != batch.labels)[batch.is_positive].float().mean()
    return Table(
        f'Parts of distillation: {shape} logits, {wrong:.0%} of the positives sorted',
        ['part', 'median, ms', 'share of the step', 'target', 'result'],
        rows,
    )


def timing_table(rounds: list[Round], amp: bool, target: float) -> Table:
    """Medians, quartiles, the ratio and its verdict."""
    series = {
        'distilled step, ms': [r.distilled.wall for r in rounds],
        'plain step, ms': [r.plain.wall for r in rounds],
        'teacher alone, ms': [r.teacher.wall for r in rounds],
        'plain step + teacher, ms': [(r.plain + r.teacher).wall for r in rounds],
    }
    rows = []
    for name, seconds in series.items():
        low, middle, high = (_milliseconds(value) for value in _quartiles(seconds))
        rows.append([name, middle, f'{low}–{high}', '', ''])
    for name, clock in {'ratio': 'wall', 'ratio in processor time': 'cpu'}.items():
        low, middle, high = _quartiles([r.ratio(clock) for r in rounds])
        result = [f'≤ {target}', verdict(middle <= target)] if clock == 'wall' else ['', '']
        rows.append([name, f'{middle:.3f}', f'{low:.3f}–{high:.3f}', *result])
    distilled, _, _, reference = (statistics.median(seconds) for seconds in series.values())
    rows.append(['ratio of the medians', f'{distilled / reference:.3f}', '', '', ''])
    low, middle, high = _quartiles([r.distilled.wall / r.plain.wall for r in rounds])
    result = ['', '']
    if torch.cuda.is_available():
        limit = TARGET_TO_PLAIN[amp]
        result = [f'≤ {limit}', verdict(middle <= limit)]
    rows.append(['distilled ÷ plain step', f'{middle:.3f}', f'{low:.3f}–{high:.3f}', *result])
    return Table('Time of a training step', ['', 'median', 'quartiles', 'target', 'result'], rows)


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method='inclusive')


def _milliseconds(seconds: float, digits: int = 1) -> str:
    return f'{seconds * 1e3:,.{digits}f}'


# -- memory ------------------------------------------------------------------


def measure_memory(cfg: Config, args: argparse.Namespace) -> dict[str, float]:
    """Bytes before the first steps and at their peak; for a process that does nothing else."""
    name = args.measure_memory
    run = Run(cfg if name == DISTILLED else student_config(cfg), name, args.batches)
    torch.set_num_threads(args.threads)
    before = _reset_peak()
    for index in range(_MEMORY_STEPS):
        run.step(index)
    return dict(before=before, peak=_peak())


def memory_in_fresh_process(name: str, folder: Path) -> dict[str, float]:
    """:func:`measure_memory` in a process of its own."""
    result = subprocess.run(
        [sys.executable, *sys.argv, '--measure-memory', name, '--folder', str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def memory_table(memory: dict[str, dict[str, float]], teacher_bytes: int) -> Table:
    """Both peaks, and what distillation adds."""
    rows = [
        [f'{name} step', *(f'{value / _MIB:,.0f}' for value in _memory_row(memory[name]))]
        for name in (DISTILLED, PLAIN)
    ]
    differences = [
        ours - theirs
        for ours, theirs in zip(*(_memory_row(memory[n]) for n in (DISTILLED, PLAIN)), strict=True)
    ]
    rows.append(['difference', *(f'{value / _MIB:+,.0f}' for value in differences)])
    rows.append(["the teacher's weights", f'{teacher_bytes / _MIB:,.0f}', '', ''])
    kind = "torch's allocations on the GPU" if torch.cuda.is_available() else 'resident memory'
    return Table(
        f'Memory, MiB ({kind})',
        ['', 'before the first step', f'peak of {_MEMORY_STEPS} steps', 'peak - before'],
        rows,
    )


def _memory_row(measured: dict[str, float]) -> tuple[float, float, float]:
    return measured['before'], measured['peak'], measured['peak'] - measured['before']


def _reset_peak() -> float:
    """Forget the peak so far; returns the bytes in use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not sys.platform.startswith('linux'):
        return _peak()
    # What loading has freed goes back, so that it cannot hide what the steps take.
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
    Path('/proc/self/clear_refs').write_text('5')
    return _peak()


def _peak() -> float:
    """Most bytes in use since the last reset."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform.startswith('linux'):
        # Not ru_maxrss: it knows no reset, and a new process inherits its parent's.
        status = Path('/proc/self/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


# -- command line ------------------------------------------------------------


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--config',
        default='configs/frcnn_r101_r18_sortkd.py',
        help='a distillation of a Faster R-CNN (configs/frcnn_r101_r18_sortkd.py)',
    )
    parser.add_argument(
        '--family', choices=FAMILIES, help='SortKD of a family of detectors, instead of --config'
    )
    parser.add_argument(
        '--negatives',
        type=lambda text: int(text) if text.isdigit() else text,
        default='none',
        help='rows of background for dense heads: none, all, or this many an image (none)',
    )
    parser.add_argument(
        '--scale',
        nargs=2,
        type=int,
        default=[640, 400],
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the images in pixels (640 400)',
    )
    parser.add_argument('--batch-size', type=int, default=2, help='images in a batch (2)')
    parser.add_argument('--batches', type=int, default=4, help='different batches (4)')
    parser.add_argument('--rounds', type=int, default=20, help='timed rounds, at least 2 (20)')
    parser.add_argument(
        '--threads', type=int, default=torch.get_num_threads(), help="torch's threads (its own)"
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--teacher',
        nargs='+',
        action=DictAction,
        help='settings of the teacher: dtype=bfloat16 channels_last=True fuse_conv_bn=True',
    )
    parser.add_argument('--audit', action='store_true', help='with TeacherAuditHook in the run')
    parser.add_argument('--no-memory', action='store_true', help='do not measure memory')
    parser.add_argument(
        '--out', help='write a Markdown record, e.g. benchmarks/results/train_step.md'
    )
    # For the fresh processes that this script starts itself.
    parser.add_argument('--measure-memory', choices=(DISTILLED, PLAIN), help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure memory, then time, and report."""
    parser = get_parser()
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f'--rounds must be at least 2, got {args.rounds}')
    register_all_modules(init_default_scope=False)
    if args.measure_memory:
        if args.family:
            args.config = write_family(args, args.folder)
        print(json.dumps(measure_memory(read_config(args, args.folder), args)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.family:
            args.config = write_family(args, folder)
        prepare(args, folder)
        cfg = read_config(args, folder)
        tables = []
        if not args.no_memory:
            memory = {n: memory_in_fresh_process(n, folder) for n in (DISTILLED, PLAIN)}
            tables.append(memory_table(memory, os.path.getsize(folder / 'teacher.pth')))
        rounds, parts = time_steps(cfg, args)
    target = TARGET_ALL if args.negatives == 'all' else TARGET
    tables = [timing_table(rounds, args.amp, target), *tables, parts]
    width, height = args.scale
    fewest, most = (choose(r.num_rows for r in rounds) for choose in (min, max))
    notes = [
        'The ratio is distilled step ÷ (plain step + teacher) of one round; its median counts.',
        f'{args.rounds} rounds after {_WARM_UP_ROUNDS} to warm up; {args.batches} batches of '
        f'{args.batch_size} generated images of {width} × {height}; '
        f'random weights; {"with" if args.audit else "without"} TeacherAuditHook; '
        f'{"mixed precision" if args.amp else "float32"}; teacher {args.teacher or "as it is"}.',
        f'{fewest} to {most} rows distilled in a batch; both students saw the same images and RoIs '
        f'in {sum(r.same_rows for r in rounds)} of {len(rounds)} rounds.',
    ]
    for table in tables:
        table.show()
    print('\n'.join(notes))
    if args.out:
        write_record(args.out, 'A distilled training step', tables, notes)


if __name__ == '__main__':
    main()
