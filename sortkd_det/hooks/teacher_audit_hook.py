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
from sortkd_det.functional import check_whole
from sortkd_det.registry import HOOKS

from . import DistilledBatch, DistillHook

# Columns of the counts, per class: samples, teacher's hits, sum of the label's ranks; the same
# for ground-truth boxes that the sampler added, which flatter the teacher.
_SAMPLES, _HITS, _RANKS, _GT_SAMPLES, _GT_HITS, _GT_RANKS = range(6)


@HOOKS.register_module()
class TeacherAuditHook(Hook):
    """Logs the teacher's top-1, the share of rows that sorting changes, and the terms' shares.

    Each interval, over the samples since the last one, under ``teacher/``:
    ``fg_top1`` and ``fg_rank`` (mean rank of the true class, 1 is best) on
    predicted foreground samples, ``gt_top1`` on ground-truth boxes that the
    sampler added, ``bg_top1`` on background, ``sorted`` the share of all rows
    that sorting changes, ``fg_sorted`` that of foreground rows. Under
    ``share/``: each term's part of the total loss. By option, under
    ``grad_norm/``: the norm of each loss's gradient at the student's logits.
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
        with torch.no_grad():
            counts = count_hits(batch.pairs)
        if self._since_log is None:
            self._since_log = torch.zeros_like(counts)
            self._since_table = torch.zeros_like(counts)
        self._background = batch.pairs.background
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
        if self._since_log is None or not self.every_n_train_iters(runner, self.interval):
            return
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
        if saved and getattr(runner, 'resuming', True):
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
        self._since_table.zero_()


def count_hits(pairs: LogitBatch) -> Tensor:
    """Count per class how the teacher ranks the labels.

    Args:
        pairs: N samples of C classes; those of weight 0 are left out.

    Returns:
        (C, 6) float64 tensor: samples, hits and summed ranks of predicted
        samples, then of ground-truth boxes.
    """
    teacher, labels = pairs.teacher, pairs.labels
    counts = torch.zeros(teacher.shape[1], 6, dtype=torch.float64, device=teacher.device)
    if len(labels) == 0:
        return counts
    counted = (pairs.weight > 0).to(torch.float64)
    ranks = (teacher > teacher.gather(1, labels[:, None])).sum(1) + 1
    columns = torch.stack([counted, (ranks == 1) * counted, ranks * counted], dim=1)
    truth = torch.zeros_like(labels, dtype=torch.bool)
    if pairs.find_ground_truth is not None:
        truth = pairs.find_ground_truth()
    columns = torch.cat([columns * ~truth[:, None], columns * truth[:, None]], dim=1)
    return counts.index_add_(0, labels, columns)


def summarise(counts: Tensor, background: int | None) -> dict[str, float]:
    """One number for each question; an entry without samples is left out.

    Args:
        counts: (C, 6), from :func:`count_hits`.
        background: the row of background samples, or None.
    """
    is_background = torch.zeros(len(counts), dtype=torch.bool)
    if background is not None:
        is_background[background] = True
    fg, bg = counts[~is_background].sum(0), counts[is_background].sum(0)
    ratios = {
        'fg_top1': (fg[_HITS], fg[_SAMPLES]),
        'fg_rank': (fg[_RANKS], fg[_SAMPLES]),
        'gt_top1': (fg[_GT_HITS], fg[_GT_SAMPLES]),
        'bg_top1': (bg[_HITS], bg[_SAMPLES]),
        'fg_sorted': (_misses(fg), fg[_SAMPLES] + fg[_GT_SAMPLES]),
        'sorted': (_misses(fg + bg), (fg + bg)[_SAMPLES] + (fg + bg)[_GT_SAMPLES]),
    }
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
                _ratio(_misses(row), row[_SAMPLES] + row[_GT_SAMPLES]),
                f'{int(row[_GT_SAMPLES])}',
                _ratio(row[_GT_HITS], row[_GT_SAMPLES]),
            ]
        )
    return AsciiTable(rows).table


def gradient_norms(batch: DistilledBatch) -> dict[str, Tensor]:
    """Norm of each classification loss's gradient at the student's logits."""
    logits = batch.pairs.student
    losses = dict(batch.distill_losses)
    if isinstance(batch.student_losses.get('loss_cls'), Tensor):
        losses['loss_cls'] = batch.student_losses['loss_cls']
    norms = {}
    for name, loss in losses.items():
        if loss.requires_grad and logits.requires_grad:
            (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True, allow_unused=True)
            if gradient is not None:
                norms[name] = gradient.norm()
    return norms


def _misses(row: Tensor) -> Tensor:
    return row[_SAMPLES] - row[_HITS] + row[_GT_SAMPLES] - row[_GT_HITS]


def _ratio(numerator: Tensor, denominator: Tensor) -> str:
    return f'{float(numerator / denominator):.3f}' if denominator > 0 else '-'


def _summed(counts: Tensor) -> Tensor:
    """The counts of all processes, on the CPU."""
    counts = counts.clone()
    all_reduce(counts, op='sum')
    return counts.cpu()
