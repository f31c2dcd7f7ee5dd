"""What a teacher says of rows whose labels are known, and what sorting would make of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from numpy.typing import NDArray
from torch import Tensor

from sortkd_det.distill import LogitBatch
from sortkd_det.distill.teacher_rows import TeacherRows

from .changed_rows import CHANGES, ChangedRows

#: Of the calibration error: bins of equal width, as in Guo et al. (arXiv 1706.04599).
NUM_BINS = 15
OBJECTS, TRUTH, BACKGROUND, ALL = 'foreground', 'GT boxes', 'background', 'all rows'
#: Of the overlap with objects, of equal width.
NUM_IOU_BINS = 10
#: Where sorting is on average of less than this probability a row, it is said to be little.
LITTLE = 0.01


@dataclass(frozen=True, eq=False)
class Change:
    """What a processor does to a group of rows.

    Attributes:
        confusion: (K, K): labels, and what the changed logits say.
        rows: how many there are.
        changed: how many it changes.
        moved: probability that goes to another column, summed over rows: half the sum of the
            absolute differences of the probabilities.
        from_background: how much of it the column of background loses.
    """

    confusion: NDArray
    rows: int
    changed: int
    moved: float
    from_background: float

    def as_dict(self) -> dict[str, Any]:
        """Shares in [0, 1], and means; None where there are no rows."""
        return dict(
            share_changed=_ratio(self.changed, self.rows),
            moved_per_row=_ratio(self.moved, self.rows),
            moved_per_changed_row=_ratio(self.moved, self.changed),
            share_from_background=_ratio(self.from_background, self.moved),
        )


@dataclass(frozen=True, eq=False)
class Group:
    """The counts of rows of one kind.

    Attributes:
        confusion: (K, K): labels, and what the teacher says.
        ranks: (K,): rows whose label has the rank 1, 2, … K.
        bins: (:data:`NUM_BINS`, 3): rows, summed confidence and hits, by confidence.
        as_background: rows on which background has the largest logit.
        changes: by the names of :data:`CHANGES`.
    """

    confusion: NDArray
    ranks: NDArray
    bins: NDArray
    as_background: int
    changes: Mapping[str, Change]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.ranks.sum())

    @property
    def error(self) -> float | None:
        """Share of rows whose label is not on top, in [0, 1]."""
        return _ratio(self.rows - self.ranks[0], self.rows)

    @property
    def mean_rank(self) -> float | None:
        """Mean rank of the label, 1 where it is on top."""
        return _ratio(self.ranks @ np.arange(1, len(self.ranks) + 1), self.rows)

    @property
    def confidence(self) -> float | None:
        """Mean of the teacher's largest probability in a row."""
        return _ratio(self.bins[:, 1].sum(), self.rows)

    @property
    def ece(self) -> float | None:
        """Expected calibration error: the mean distance of confidence and share of hits, by bin.

        A hit is a label on top that is a column: in a head of sigmoids background is never one.
        """
        return _ratio(np.abs(self.bins[:, 1] - self.bins[:, 2]).sum(), self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        ranks = {str(rank): int(rows) for rank, rows in enumerate(self.ranks, 1) if rows}
        return dict(
            rows=self.rows,
            error=self.error,
            mean_rank=self.mean_rank,
            rows_by_rank=ranks,
            share_as_background=_ratio(self.as_background, self.rows),
            confidence=self.confidence,
            ece=self.ece,
            reliability=[
                dict(rows=int(rows), confidence=_ratio(confidence, rows), hits=_ratio(hits, rows))
                for rows, confidence, hits in self.bins
            ],
            changes={name: change.as_dict() for name, change in self.changes.items()},
        )


@dataclass(frozen=True)
class ClassRow:
    """A class, in a line.

    Attributes:
        name: of the class.
        rows: labelled so, on objects or, in classifiers, all.
        error: share of them whose label is not on top, or None where there are none.
        truth_rows: ground-truth boxes.
        truth_error: the same of these.
        taken_for: what the teacher says most often of those it has wrong, and of how many rows.
    """

    name: str
    rows: int
    error: float | None
    truth_rows: int
    truth_error: float | None
    taken_for: tuple[str, int] | None


@dataclass(frozen=True)
class IoURow:
    """Rows of one kind whose places overlap an object about as far.

    Attributes:
        kind: name of the group.
        low: least IoU, in [0, 1).
        high: IoU that none of them reaches, but 1, which all those of its bin may.
        rows: how many there are.
        share: of the rows of the kind.
        label_on_top: share of them on which the label is not below another column.
        as_background: share of them on which background has the largest logit.
        probability: mean probability of the label, by the names of :data:`CHANGES`; ``''``: as
            the teacher gives it.
    """

    kind: str
    low: float
    high: float
    rows: int
    share: float
    label_on_top: float
    as_background: float
    probability: Mapping[str, float]


class TeacherAnalysis:
    """Counts over batches; rows of weight 0 are left out, all others count the same.

    Rows of detectors are counted in three groups: sampled or assigned ones on objects,
    ground-truth boxes that a sampler added (which flatter the teacher), and background;
    those of classifiers in one.

    Args:
        classes: the names of the classes; None: they are called by their numbers.
    """

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        self._given_names = classes
        self._counts: dict[str, Tensor] = {}
        self.activation: str | None = None
        self.background: int | None = None

    # -- counting --------------------------------------------------------------

    @torch.no_grad()
    def add(self, changed: ChangedRows) -> None:
        """Count the rows of a batch.

        Raises:
            ValueError: the teacher's logits are not finite; a batch of another kind of head
                than those before.
        """
        batch, rows = changed.batch, changed.rows
        if not self._counts:
            self.activation, self.background = batch.activation, batch.background
            self._counts = _zeros(len(self.group_names), rows.num_columns)
        self._check(batch, rows)
        confidence = batch.teacher_confidence().double()
        hits = rows.ranks == 1
        if batch.label_without_column is not None:
            hits &= batch.is_positive
        group = self._group_of(batch, rows)
        of_row = {
            'confusion': [group, batch.labels, rows.predictions],
            'ranks': [group, rows.ranks - 1],
            'as_background': [group],
            'bins': [group, (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1],
        }
        ones = torch.ones_like(confidence)
        values = {
            'confusion': ones,
            'ranks': ones,
            'as_background': rows.as_background.double(),
            'bins': torch.stack([ones, confidence, hits.double()], 1),
        }
        for name in CHANGES:
            of_row[name] = [group]
            values[name] = changed.effect(name)
            of_row[f'confusion after {name}'] = [group, batch.labels, changed.predictions(name)]
            values[f'confusion after {name}'] = ones
        if changed.ious is not None:
            of_row['ious'] = [group, _bins_of(changed.ious)]
            values['ious'] = _of_label(changed)
        for name, places in of_row.items():
            places = [place[rows.counted].cpu() for place in places]
            self._counts[name].index_put_(
                tuple(places), values[name][rows.counted].cpu(), accumulate=True
            )

    def _check(self, batch: LogitBatch, rows: TeacherRows) -> None:
        kind = (self.activation, self.background, self._counts['ranks'].shape[1])
        other = (batch.activation, batch.background, rows.num_columns)
        if kind != other:
            raise ValueError(
                f'a batch has activation, background and number of columns {other}, and those '
                f'before had {kind}; expected batches of one adapter'
            )
        broken = int((~batch.teacher.isfinite().all(1) & rows.counted).sum())
        if broken:
            raise ValueError(
                f'the logits of the teacher are not finite in {broken} of {len(batch.labels)} rows '
                'of a batch; expected numbers: look at its checkpoint and at teacher.dtype'
            )

    def _group_of(self, batch: LogitBatch, rows: TeacherRows) -> Tensor:
        """(N,) int64, places in :attr:`group_names`."""
        if batch.background is None:
            return torch.zeros_like(batch.labels)
        on_object = rows.is_truth.long()
        return torch.where(batch.is_positive, on_object, 2)

    def gather(self) -> None:
        """Add up the counts of all processes; call it once, when all batches are counted."""
        for counts in self._counts.values():
            all_reduce(counts, op='sum')

    # -- what was counted ------------------------------------------------------

    @property
    def group_names(self) -> tuple[str, ...]:
        """Of the kinds of rows that there may be."""
        return (ALL,) if self.background is None else (OBJECTS, TRUTH, BACKGROUND)

    @property
    def names(self) -> list[str]:
        """Of the columns, and of background."""
        number = self._counts['ranks'].shape[1]
        names = list(self._given_names or [])[:number]
        names += [str(index) for index in range(len(names), number)]
        if self.background is not None:
            names[self.background] = BACKGROUND
        return names

    @property
    def groups(self) -> dict[str, Group]:
        """Those that have rows, by their names; where there are several, all rows too.

        The calibration of rows that are chosen by their label says less than that of all.

        Raises:
            ValueError: nothing was counted.
        """
        found = {
            name: self._group([index])
            for index, name in enumerate(self.group_names)
            if self._counts and self._counts['ranks'][index].any()
        }
        if not found:
            raise ValueError(
                'no row of the images has an object or counts in the loss: there is nothing to '
                'say of the teacher; look at the annotations, or take more images'
            )
        if len(found) > 1:
            found[ALL] = self._group(list(range(len(self.group_names))))
        return found

    @property
    def objects(self) -> Group:
        """What sorting is for: the rows on objects, ground-truth boxes too; or all."""
        return self._group([0] if self.background is None else [0, 1])

    @property
    def every(self) -> Group:
        """All rows."""
        return self._group(list(range(len(self.group_names))))

    @property
    def confusion(self) -> NDArray:
        """(K, K): labels, and what the teacher says, of all rows."""
        return self.every.confusion

    def _group(self, places: list[int]) -> Group:
        counts = {name: values[places].sum(0).numpy() for name, values in self._counts.items()}
        rows = int(counts['ranks'].sum())
        return Group(
            confusion=counts['confusion'].astype(np.int64),
            ranks=counts['ranks'].astype(np.int64),
            bins=counts['bins'],
            as_background=int(counts['as_background']),
            changes={
                name: Change(
                    counts[f'confusion after {name}'].astype(np.int64),
                    rows,
                    int(counts[name][0]),
                    *map(float, counts[name][1:]),
                )
                for name in self.change_names
            },
        )

    @property
    def change_names(self) -> list[str]:
        """Of :data:`CHANGES` those that differ: without a column of background all are classes."""
        has_column = self.activation == 'softmax' and self.background is not None
        return [name for name in CHANGES if has_column or name != 'sort of classes']

    @property
    def classes(self) -> list[ClassRow]:
        """A line for each class that has rows, those with the most errors first."""
        truth = self.groups.get(TRUTH)
        own = self.groups.get(ALL if self.background is None else OBJECTS)
        nothing = np.zeros((len(self.names), len(self.names)), dtype=np.int64)
        own, truth = (nothing if each is None else each.confusion for each in (own, truth))
        found = []
        for label, name in enumerate(self.names):
            if label == self.background or not (own[label].any() or truth[label].any()):
                continue
            wrong = own[label] + truth[label]
            wrong[label] = 0
            top = int(wrong.argmax())
            found.append(
                ClassRow(
                    name,
                    int(own[label].sum()),
                    _error(own[label], label),
                    int(truth[label].sum()),
                    _error(truth[label], label),
                    (self.names[top], int(wrong[top])) if wrong[top] else None,
                )
            )
        return sorted(found, key=lambda row: (-(row.error or 0), -(row.truth_error or 0)))

    @property
    def by_iou(self) -> list[IoURow]:
        """Sampled rows by their overlap with an object, where it was compared; a line for each bin
        that has some. Ground-truth boxes, whose IoU is 1, are left out.
        """
        found = []
        for index, kind in enumerate(self.group_names):
            counts = self._counts['ious'][index].numpy()
            of_kind = counts[:, 0].sum()
            for place, (rows, *sums) in enumerate(counts):
                if rows and kind != TRUTH:
                    on_top, as_background, *chances = (float(each / rows) for each in sums)
                    found.append(
                        IoURow(
                            kind,
                            place / NUM_IOU_BINS,
                            (place + 1) / NUM_IOU_BINS,
                            int(rows),
                            float(rows / of_kind),
                            on_top,
                            as_background,
                            dict(zip(['', *CHANGES], chances, strict=True)),
                        )
                    )
        return found

    @property
    def confusions(self) -> list[dict[str, Any]]:
        """Who is taken for whom on objects, the most rows first."""
        counts = self.objects.confusion.copy()
        of_label = counts.sum(1)
        np.fill_diagonal(counts, 0)
        places = zip(*np.nonzero(counts), strict=True)
        return [
            dict(
                label=self.names[label],
                taken_for=self.names[column],
                rows=int(counts[label, column]),
                share_of_label=float(counts[label, column] / of_label[label]),
            )
            for label, column in sorted(places, key=lambda place: -counts[place])
        ]

    def verdict(self) -> str:
        """A sentence: whether this teacher gives sorting anything to mend."""
        kind = 'rows' if self.background is None else 'rows on objects'
        sort = self.objects.changes['sort']
        if sort.rows == 0:
            return f'no {kind} were seen: whether sorting has anything to mend cannot be said'
        if sort.changed == 0:
            return (
                f'sorting has nothing to mend: the label is on top in all {sort.rows} {kind}, so '
                'that it changes none and SortKD is KD'
            )
        means = sort.as_dict()
        told = (
            f'it changes {sort.changed} of {sort.rows} {kind} '
            f'({100 * means["share_changed"]:.1f} %) and moves '
            f'{100 * means["moved_per_row"]:.2f} % of the probability of a row on average'
        )
        if means['moved_per_row'] < LITTLE:
            return f'sorting mends little: {told}, less than {100 * LITTLE:.0f} %'
        if 'sort of classes' not in self.change_names:
            return f'sorting has something to mend: {told}'
        among = self.objects.changes['sort of classes'].as_dict()['moved_per_row']
        what = 'among classes' if among >= LITTLE else 'in missed objects, little among classes'
        return (
            f'sorting has something to mend {what}: {told}; '
            f"{100 * means['share_from_background']:.0f} % of that is background's. With "
            "sort_columns='classes', which leaves background alone, "
            f'{100 * among:.2f} % of the probability is moved'
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain types, for JSON; shares and probabilities in [0, 1]."""
        groups = {name: group.as_dict() for name, group in self.groups.items()}
        return dict(
            activation=self.activation,
            columns=self.names,
            groups=groups,
            classes=[vars(row) for row in self.classes],
            confusions=self.confusions,
            by_iou=[vars(row) for row in self.by_iou],
            verdict=self.verdict(),
        )


def _zeros(groups: int, columns: int) -> dict[str, Tensor]:
    sizes = {
        'confusion': (groups, columns, columns),
        'ranks': (groups, columns),
        'as_background': (groups,),
        'bins': (groups, NUM_BINS, 3),
        'ious': (groups, NUM_IOU_BINS, 4 + len(CHANGES)),
        **{name: (groups, 3) for name in CHANGES},
        **{f'confusion after {name}': (groups, columns, columns) for name in CHANGES},
    }
    return {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}


def _bins_of(ious: Tensor) -> Tensor:
    """(N,) int64, of (N,) IoUs, compared as assigners compare them with their thresholds."""
    edges = torch.arange(1, NUM_IOU_BINS, device=ious.device) / NUM_IOU_BINS
    return torch.bucketize(ious, edges.to(ious), right=True)


def _of_label(changed: ChangedRows) -> Tensor:
    """(N, 4 + changes): a row, label on top, background on top, the label's probabilities."""
    rows, labels = changed.rows, changed.batch.labels[:, None]
    first = [torch.ones_like(rows.ranks), rows.ranks == 1, rows.as_background]
    chances = [changed.probabilities[name].gather(1, labels)[:, 0] for name in ('', *CHANGES)]
    return torch.stack([each.double() for each in (*first, *chances)], 1)


def _ratio(numerator: Any, denominator: Any) -> float | None:
    return float(numerator / denominator) if denominator else None


def _error(counts: NDArray, label: int) -> float | None:
    return _ratio(counts.sum() - counts[label], counts.sum())
