"""How right the teacher is, what sorting mends, and how loud each term speaks."""

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from terminaltables import AsciiTable
from torch import Tensor

from sortkd_det.distill import LogitBatch
from sortkd_det.distill.class_names import classes_of_dataset
from sortkd_det.distill.teacher_rows import TeacherRows
from sortkd_det.functional import check_whole
from sortkd_det.registry import HOOKS

from . import DistilledBatch, DistillHook

# Columns of the counts, per class: samples, teacher's hits, sum of the label's ranks; the same
# for ground-truth boxes that the sampler added, which flatter the teacher; of all these, those
# that a sort changes, and those on which background has the teacher's largest logit.
_NUM_COLUMNS = 8
_SAMPLES, _HITS, _RANKS, _GT_SAMPLES, _GT_HITS, _GT_RANKS, _SORTED, _AS_BACKGROUND = range(
    _NUM_COLUMNS
)
# A teacher that finds fewer of the objects than this leaves is told of: an RTMDet whose student
# looked for them on another level had 0.91 and 0.43, others of docs/results.md 0.6 at most.
_HARDLY_SEEN, _HARDLY_KNOWN = 0.9, 0.5


@HOOKS.register_module()
class TeacherAuditHook(Hook):
    """Logs the teacher's top-1, the share of rows that sorting changes, and the terms' shares.

    Each interval, over the samples since the last one, under ``teacher/``:
    ``fg_top1`` and ``fg_rank`` (mean rank of the true class, 1 is best) on
    predicted foreground samples, ``gt_top1`` on ground-truth boxes that the
    sampler added, ``bg_top1`` on background, ``sorted`` the share of all rows that
    sorting changes, ``fg_sorted`` that of foreground rows, ``fg_as_bg`` the share of
    foreground rows on which background is on top: in softmax heads sorting gives its
    probability to a class there, unless ``sort_columns='classes'``. In sigmoid heads
    background is on top where no class has a chance above one half. Under
    ``share/``: each term's part of the total loss; it is all that is said of features and
    boxes. By option, under ``grad_norm/``: the norm of each loss's gradient at what the
    student's classification loss reads.
    At the end of an epoch (in iteration-based runs before each validation) a
    table per class. All of it goes to MMEngine's log and visualizer backends.

    Args:
        interval: iterations between two entries in the log.
        grad_interval: iterations between two measurements of gradient norms;
            None: none.

    Raises:
        TypeError, ValueError: an interval that is not a whole number ≥ 1.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 50, grad_interval: int | None = None) -> None:
        self.interval = check_whole('interval', interval)
        if grad_interval is not None:
            check_whole('grad_interval', grad_interval)
        self.grad_interval = grad_interval
        self._since_log: Tensor | None = None
        self._since_table: Tensor | None = None
        self._gradients: dict[str, Tensor] = {}
        self._iteration = 0

    def before_train(self, runner: Runner) -> None:
        """Watch the run's :class:`DistillHook`.

        Raises:
            ValueError: there is none.
        """
        hooks = [hook for hook in runner.hooks if isinstance(hook, DistillHook)]
        if not hooks:
            raise ValueError(
                'TeacherAuditHook watches a DistillHook, and this run has none: add one to '
                'custom_hooks, or take TeacherAuditHook out'
            )
        hooks[0].watchers.append(self._watch)
        self._classes = classes_of_dataset(runner.train_dataloader.dataset)
        self._names = hooks[0].method.loss_names
        self._by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the iteration."""
        self._iteration = runner.iter

    def _watch(self, batch: DistilledBatch) -> None:
        if batch.logits is None:  # features have no classes to count
            return
        with torch.no_grad():
            counts = count_by_class(batch.logits)
        if self._since_log is None:
            self._since_log = torch.zeros_like(counts)
            self._since_table = torch.zeros_like(counts)
        self._background = batch.logits.background
        self._since_log += counts
        self._since_table += counts
        if self.grad_interval and (self._iteration + 1) % self.grad_interval == 0:
            self._gradients = gradient_norms(batch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Hand the numbers to the message hub, where loggers and visualizers find them."""
        for name, norm in self._gradients.items():
            runner.message_hub.update_scalar(f'train/grad_norm/{name}', float(norm))
        self._gradients = {}
        if not self.every_n_train_iters(runner, self.interval):
            return
        if self._since_log is not None:
            for name, value in summarise(_summed(self._since_log), self._background).items():
                runner.message_hub.update_scalar(f'train/teacher/{name}', value)
            self._since_log.zero_()
        total = torch.as_tensor((outputs or {}).get('loss', 0.0)).item()
        for name in self._names:
            if outputs and name in outputs and total != 0:
                runner.message_hub.update_scalar(
                    f'train/share/{name}', torch.as_tensor(outputs[name]).item() / total
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the counts, for a run that goes on within an epoch or interval."""
        if self._since_log is not None:
            checkpoint.setdefault('sortkd_det', {})['audit'] = {
                'background': self._background,
                'since_log': self._since_log.cpu(),
                'since_table': self._since_table.cpu(),
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the counts up; of several processes the first does, which saved them."""
        saved = (checkpoint.get('sortkd_det') or {}).get('audit')
        if not saved or saved['since_log'].shape[1] != _NUM_COLUMNS:
            return  # or older versions counted, and other things
        if getattr(runner, 'resuming', True):
            device = next(runner.model.parameters()).device
            share = float(runner.rank == 0)  # the others begin with zeros: all sum theirs up
            self._background = saved['background']
            self._since_log = saved['since_log'].to(device) * share
            self._since_table = saved['since_table'].to(device) * share

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the table per class."""
        self._log_table(runner)

    def before_val(self, runner: Runner) -> None:
        """Log the table per class, where the run knows no epochs."""
        if getattr(self, '_by_iter', False):
            self._log_table(runner)

    def _log_table(self, runner: Runner) -> None:
        if self._since_table is None:
            return
        counts = _summed(self._since_table)
        if counts.sum() > 0:
            table = class_table(counts, self._background, self._classes)
            runner.logger.info(f'teacher on the training samples, per class\n{table}')
            told = summarise(counts, self._background)
            if told.get('fg_as_bg', 0.0) > _HARDLY_SEEN and told['fg_top1'] < _HARDLY_KNOWN:
                runner.logger.warning(
                    f'the teacher says background on {told["fg_as_bg"]:.1%} of the samples of '
                    f'objects, and has the label first on {told["fg_top1"]:.1%} of them: it sees '
                    'the objects elsewhere than the student is trained to, or not at all. What it '
                    'says there can do harm, and more so sorted; docs/recipes.md, "Rows", has what '
                    'to try'
                )
        self._since_table.zero_()


def count_by_class(batch: LogitBatch) -> Tensor:
    """Count per class how the teacher ranks the labels.

    Args:
        batch: N samples of C classes; those of weight 0 are left out.

    Returns:
        (K, 8) float64 tensor, K classes and, where there is one, background: samples, hits
        and summed ranks of predicted samples, then of ground-truth boxes; how many of all a
        sort of all columns changes; on how many background has the largest logit.
    """
    rows = TeacherRows.of(batch)
    counted, ranks = rows.counted.to(torch.float64), rows.ranks
    counts = counted.new_zeros(rows.num_columns, _NUM_COLUMNS)
    of_ranks = torch.stack([counted, (ranks == 1) * counted, ranks * counted], dim=1)
    of_sort = torch.stack([rows.is_sorted * counted, rows.as_background * counted], dim=1)
    truth = rows.is_truth[:, None]
    columns = [of_ranks * ~truth, of_ranks * truth, of_sort]
    return counts.index_add_(0, batch.labels, torch.cat(columns, dim=1))


def summarise(counts: Tensor, background: int | None) -> dict[str, float]:
    """One number for each question; an entry without samples is left out.

    Args:
        counts: (K, 8), from :func:`count_by_class`.
        background: the row of background samples, or None.
    """
    is_background = torch.zeros(len(counts), dtype=torch.bool)
    if background is not None:
        is_background[background] = True
    fg, bg = counts[~is_background].sum(0), counts[is_background].sum(0)
    num_fg, num_bg = (each[_SAMPLES] + each[_GT_SAMPLES] for each in (fg, bg))
    ratios = {
        'fg_top1': (fg[_HITS], fg[_SAMPLES]),
        'fg_rank': (fg[_RANKS], fg[_SAMPLES]),
        'gt_top1': (fg[_GT_HITS], fg[_GT_SAMPLES]),
        'bg_top1': (bg[_HITS], bg[_SAMPLES]),
        'fg_sorted': (fg[_SORTED], num_fg),
        'sorted': (fg[_SORTED] + bg[_SORTED], num_fg + num_bg),
    }
    if background is not None:
        ratios['fg_as_bg'] = (fg[_AS_BACKGROUND], num_fg)
    return {name: float(a / b) for name, (a, b) in ratios.items() if b > 0}


def class_table(counts: Tensor, background: int | None, classes: Any = None) -> str:
    """The counts as a table, a row per class."""
    rows = [['class', 'samples', 'top-1', 'mean rank', 'sorted', 'GT boxes', 'GT top-1']]
    for index, row in enumerate(counts):
        if row[_SAMPLES] + row[_GT_SAMPLES] == 0:
            continue
        if index == background:
            name = 'background'
        else:
            name = classes[index] if classes and index < len(classes) else str(index)
        rows.append(
            [
                name,
                f'{int(row[_SAMPLES])}',
                _ratio(row[_HITS], row[_SAMPLES]),
                _ratio(row[_RANKS], row[_SAMPLES]),
                _ratio(row[_SORTED], row[_SAMPLES] + row[_GT_SAMPLES]),
                f'{int(row[_GT_SAMPLES])}',
                _ratio(row[_GT_HITS], row[_GT_SAMPLES]),
            ]
        )
    return AsciiTable(rows).table


def gradient_norms(batch: DistilledBatch) -> dict[str, Tensor]:
    """Norm of each classification loss's gradient at what the student's own loss reads.

    The student's own are all its entries called ``loss_cls``, of each stage, layer and level.
    """
    sources = [x for x in batch.logits.sources or [batch.logits.student] if x.requires_grad]
    losses = dict(batch.distill_losses)
    own = [
        part
        for name, value in batch.student_losses.items()
        if name.split('.')[-1] == 'loss_cls'
        for part in (value if isinstance(value, list | tuple) else [value])
    ]
    if own:
        losses['loss_cls'] = sum(own)
    norms = {}
    for name, loss in losses.items():
        if not loss.requires_grad or not sources:
            continue
        gradients = torch.autograd.grad(loss, sources, retain_graph=True, allow_unused=True)
        found = [gradient.norm() for gradient in gradients if gradient is not None]
        if found:
            norms[name] = torch.stack(found).norm() if len(found) > 1 else found[0]
    return norms


def _ratio(numerator: Tensor, denominator: Tensor) -> str:
    return f'{float(numerator / denominator):.3f}' if denominator > 0 else '-'


def _summed(counts: Tensor) -> Tensor:
    """The counts of all processes, on the CPU."""
    counts = counts.clone()
    all_reduce(counts, op='sum')
    return counts.cpu()
