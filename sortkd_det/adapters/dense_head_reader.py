"""What a dense head shows in training: its maps of logits, and what its losses ask of priors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .adapter import Adapter
from .dense_heads import class_levels, is_head
from .loss_calls import LossCalls, as_logits, hard_labels
from .reader import Outputs, Reader


@dataclass(frozen=True, eq=False)
class DenseRows:
    """Some priors of a batch; of an image's P priors, level by level, in each by (y, x, prior).

    Attributes:
        image: (N,) int64, which image of the batch.
        index: (N,) int64 in [0, P), in rising order.
        levels: for each level, where in its map its rows are: image, prior, y and x.
    """

    image: Tensor
    index: Tensor
    levels: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]


class DenseHeadReader(Reader):
    """The maps and labels of a dense head of MMDetection, as they pass by.

    Maps are an output of the head, labels what its classification losses are
    given. The rows of a loss lie level by level or image by image; which it is, is found once,
    by where in the maps they come from, to the bit.

    Args:
        head: the student's ``bbox_head``.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.num_classes = head.num_classes
        self.losses = LossCalls(
            getattr(head, 'loss_cls', None),
            getattr(head, 'initial_loss_cls', None),  # TOOD, in its first epochs
        )
        self.objectness = LossCalls(getattr(head, 'loss_obj', None))  # YOLOX
        super().__init__(self.losses, self.objectness)
        self.orders = [_by_level, _by_image]
        self.reset()

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the head and its losses."""

        def see(output: Any) -> None:
            self.num_forwards += 1
            self.sources = list(class_levels(self.head, output))
            self.maps = class_maps(self.head, output)

        return [Adapter.watch_output(self.head, see), *super().attach()]

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self.num_forwards = 0
        self.sources: list[Tensor] = []
        self.maps: list[Tensor] = []

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """For each level the number of images, and that of priors of an image."""
        return [(len(level), level[0, :, 0].numel()) for level in self.maps]

    def read(self, data_samples: Sequence) -> tuple[Tensor, Tensor]:
        """What the student's own loss asks of each prior.

        Args:
            data_samples: those of the batch.

        Returns:
            Labels, int64 in [0, C] (C: background), and weights, float32; each (B, P).

        Raises:
            ValueError: the losses were not called, or with rows that are not those of the maps.
        """
        num_rows = sum(images * priors for images, priors in self.sizes)
        if self.objectness:
            scores, labels, weight, chosen = self._rows_of_objects(num_rows)
        elif self.losses:
            scores, labels, weight = map(torch.cat, zip(*self._rows(), strict=True))
            chosen = slice(None)
        else:
            raise ValueError(
                f'{type(self.head).__name__} called none of its classification losses, '
                f'{[type(loss).__name__ for loss in self.losses.modules]}, in one forward; '
                'expected calls whose arguments tell the labels'
            )
        if len(labels) != num_rows:
            raise ValueError(
                f'{type(self.head).__name__} called its classification losses on {len(labels)} '
                f'rows; expected {num_rows}, one for each prior of its maps'
            )
        if len(self.orders) > 1:
            self._find_order(scores, labels, chosen)
        arrange = self.orders[0]
        return arrange(labels, self.sizes), arrange(weight, self.sizes)

    def _rows(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each call: scores (n, C), labels (n,) and weights (n,)."""
        for call in self.losses:
            scores = call.scores.flatten(0, -2)
            labels = hard_labels(call.target, self.num_classes).flatten()
            weight = torch.ones_like(labels, dtype=torch.float32)
            if call.weight is not None:  # FSAF's is of each entry
                weight = call.weight.detach().float().reshape(len(labels), -1).amax(1)
            yield scores, labels, weight

    def _rows_of_objects(self, num_rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same where the loss of classes sees the rows of objects alone, and which these are.

        A row whose target is all zero (its box misses the object) is one of background.
        """
        chosen = torch.cat([call.target.flatten() for call in self.objectness]) > 0
        weight = chosen.float()
        labels = torch.full_like(weight, self.num_classes, dtype=torch.int64)
        if not self.losses:  # there are none
            return self.maps[0].new_zeros(0, self.num_classes), labels, weight, chosen
        scores, of_objects, _ = map(torch.cat, zip(*self._rows(), strict=True))
        if len(chosen) == num_rows and int(chosen.sum()) == len(of_objects):
            labels[chosen] = of_objects
            return scores, labels, weight, chosen
        raise ValueError(
            f'{type(self.head).__name__} called loss_obj on {len(chosen)} rows with '
            f'{int(chosen.sum())} objects and loss_cls on {len(of_objects)} rows; expected '
            f'{num_rows} rows, one for each prior of its maps, and as many objects as rows of '
            'loss_cls'
        )

    def _find_order(self, scores: Tensor, labels: Tensor, chosen: Any) -> None:
        """Keep the orders in which the rows of the loss come from those of the maps.

        Numbers are sent back from the rows to the maps, where they lie as the rows do: logits
        of a new head in bfloat16 are alike and would not tell. One image or one level alone
        does not tell either; then both orders are right.
        """
        maps, told = self.maps, scores
        if scores.requires_grad:
            told = torch.arange(scores.numel(), device=scores.device) % 251  # exact in any dtype
            told = told.to(scores.dtype).view(scores.shape)
            sent = torch.autograd.grad(
                scores, self.sources, told, retain_graph=True, materialize_grads=True
            )
            maps = _by_prior(self.head, sent)
        rows = [_as_rows(level.detach()) for level in maps]
        in_order = {
            _by_level: torch.cat([level.flatten(0, 1) for level in rows]),
            _by_image: torch.cat(rows, 1).flatten(0, 1),
        }
        found = [
            order
            for order in self.orders
            if torch.equal(in_order[order][chosen].to(told.dtype), told.detach())
        ]
        read = [order(labels, self.sizes) for order in found]
        if not found or not torch.equal(read[0], read[-1]):
            raise ValueError(
                f'the rows that the classification loss of {type(self.head).__name__} was given '
                f'come from its maps in {"every order" if found else "no order"} that is known; '
                'expected level by level or image by image, and logits that are not all alike'
            )
        if len(scores):
            self.orders = found


class FSAFHeadReader(DenseHeadReader):
    """FSAF's loss is given the positives of all levels, and drops those of an object on all but
    the level on which they lose least.

    What is dropped is told by the graph: where the loss's value of the row and its label has no
    gradient. Without a graph (a validation) nothing is. Of such a row the loss asks for
    background in all classes but its own, as it does in the outer parts of objects: rows
    of background that are not asked about every class weigh 0.

    Args:
        head: the student's ``bbox_head``.
        student: the detector, whose losses are looked at.
    """

    def __init__(self, head: nn.Module, student: nn.Module) -> None:
        super().__init__(head)
        self.values, self.losses_of_student = Outputs(head.loss_cls), Outputs(student)
        self.parts = (*self.parts, self.values, self.losses_of_student)

    def _rows(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As of every head; a row that is dropped is one of background, of weight 0."""
        if not self.values[0].requires_grad:
            yield from super()._rows()
            return
        (losses,) = self.losses_of_student
        counts = torch.autograd.grad(sum(losses['loss_cls']), self.values, retain_graph=True)
        rows = zip(super()._rows(), counts, self.losses, strict=True)
        for (scores, labels, weight), entries, call in rows:
            counted = entries != 0  # (n, C)
            own = counted.gather(1, labels.clamp(max=self.num_classes - 1)[:, None])[:, 0]
            labels = labels.masked_fill(~own, self.num_classes)
            asked = (counted & (call.weight.view_as(entries) > 0)).all(1) | (
                labels != self.num_classes
            )
            yield scores, labels, weight * asked


class SSDHeadReader(DenseHeadReader):
    """SSD's loss is a function: its labels are made again, by the head's own public method."""

    def read(self, data_samples: Sequence) -> tuple[Tensor, Tensor]:
        """What the student's own loss asks of each prior, as :meth:`DenseHeadReader.read`."""
        metas = [sample.metainfo for sample in data_samples]
        sizes = [level.shape[-2:] for level in self.maps]
        anchors, valid = self.head.get_anchors(sizes, metas, device=self.maps[0].device)
        labels, weight, *_ = self.head.get_targets(
            anchors,
            valid,
            [sample.gt_instances for sample in data_samples],
            metas,
            batch_gt_instances_ignore=[
                sample.get('ignored_instances', None) for sample in data_samples
            ],
        )
        return torch.cat(labels, 1), torch.cat(weight, 1).float()


class CenterNetUpdateReader(DenseHeadReader):
    """CenterNet2's loss is given a map of heat, and beside it which rows are of an object."""

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the head and its loss."""

        def see(
            scores: Tensor,
            heat: Tensor,
            pos_inds: Tensor | None = None,
            pos_labels: Tensor | None = None,
            **_: Any,
        ) -> None:
            self.given.append((scores, heat, pos_inds, pos_labels))

        return [*super().attach(), Adapter.watch(self.head.loss_cls, see)]

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self.given: list[tuple] = []

    def read(self, data_samples: Sequence) -> tuple[Tensor, Tensor]:
        """What the student's own loss asks of each prior, as :meth:`DenseHeadReader.read`.

        A row of several objects is that of the hottest.
        """
        if len(self.given) != 1:
            raise ValueError(
                f'{type(self.head).__name__} called its classification loss {len(self.given)} '
                'times in one forward; expected once'
            )
        ((scores, heat, index, of_objects),) = self.given
        rows = [_as_rows(level.detach()).flatten(0, 1) for level in self.maps]
        limit = self.head.sigmoid_clamp
        told = torch.cat(rows).sigmoid().clamp(limit, 1 - limit)
        if told.shape != scores.shape or not torch.allclose(told, scores.detach(), rtol=1e-4):
            raise ValueError(
                f'the rows that the classification loss of {type(self.head).__name__} was given '
                'are not those of its maps, level by level'
            )
        labels = told_labels(len(scores), self.num_classes, heat, index, of_objects)
        labels = _by_level(labels, self.sizes)
        return labels, torch.ones_like(labels, dtype=torch.float32)


def told_labels(
    num_rows: int,
    num_classes: int,
    heat: Tensor,
    index: Tensor | None,
    of_objects: Tensor | None,
) -> Tensor:
    """Labels (num_rows,) of rows of which some are told; of those told twice, the hotter.

    Args:
        num_rows: R.
        num_classes: C, the label of the rows that are not told.
        heat: (R, C) in [0, 1], how much of an object of each class a row is to show.
        index: (N,) the rows that are told; None: there is no object.
        of_objects: (N,) their labels.
    """
    labels = torch.full((num_rows,), num_classes, dtype=torch.int64, device=heat.device)
    if index is None:
        return labels
    own = heat[index, of_objects]
    hottest = torch.zeros_like(heat[:, 0]).scatter_reduce(0, index, own, 'amax')
    kept = own == hottest[index]
    return labels.scatter_reduce(0, index[kept], of_objects[kept], 'amin')


def reader_of(head: nn.Module, student: nn.Module) -> DenseHeadReader:
    """The reader of a student's dense head."""
    if is_head(head, 'FSAFHead'):
        return FSAFHeadReader(head, student)
    if is_head(head, 'SSDHead'):
        return SSDHeadReader(head)
    if is_head(head, 'CenterNetUpdateHead'):
        return CenterNetUpdateReader(head)
    return DenseHeadReader(head)


def class_maps(head: nn.Module, output: Sequence) -> list[Tensor]:
    """The class scores of a dense head.

    Args:
        head: the head.
        output: what its forward returned.

    Returns:
        For each level (B, A, C, H, W), A priors at each place; views of the head's output.
    """
    return _by_prior(head, class_levels(head, output))


def _by_prior(head: nn.Module, levels: Sequence[Tensor]) -> list[Tensor]:
    columns = getattr(head, 'cls_out_channels', head.num_classes)
    width = getattr(head, 'num_attrib', columns)  # YOLOv3: box and objectness come before
    return [level.unflatten(1, (-1, width))[:, :, width - columns :] for level in levels]


def rows_where(chosen: Tensor, maps: Sequence[Tensor]) -> DenseRows:
    """The priors of ``maps``, from :func:`class_maps`, for which ``chosen``, (B, P) bool, holds."""
    index, image = chosen.t().nonzero(as_tuple=True)
    priors = [level[0, :, 0].numel() for level in maps]
    ends = torch.tensor(priors, device=index.device).cumsum(0)
    counts = torch.searchsorted(index, ends).diff(prepend=ends.new_zeros(1)).tolist()
    levels, start = [], 0
    parts = zip(maps, priors, image.split(counts), index.split(counts), strict=True)
    for level, number, image_here, index_here in parts:
        cell, prior = _divide(index_here - start, level.shape[1])
        y, x = _divide(cell, level.shape[4])
        levels.append((image_here, prior, y, x))
        start += number
    return DenseRows(image, index, levels)


def gather(maps: Sequence[Tensor], rows: DenseRows, loss_cls: Any) -> Tensor:
    """The logits (N, C) of ``rows``, of maps at least as large as those of :func:`rows_where`."""
    found = [
        level[image, prior, :, y, x]
        for level, (image, prior, y, x) in zip(maps, rows.levels, strict=True)
    ]
    return as_logits(torch.cat(found), loss_cls)


def all_logits(maps: Sequence[Tensor], like: Sequence[Tensor], loss_cls: Any) -> Tensor:
    """The logits (B · P, C) of all priors, image by image; ``like``: the student's maps, which
    may be smaller.
    """
    rows = [_as_rows(level) for level in cropped(maps, like)]
    return as_logits(torch.cat(rows, 1).flatten(0, 1), loss_cls)


def cropped(maps: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """The upper left of each map, as large as that of ``like``."""
    pairs = zip(maps, like, strict=True)
    return [level[..., : other.shape[-2], : other.shape[-1]] for level, other in pairs]


def _as_rows(level: Tensor) -> Tensor:
    """(B, P, C) of a map (B, A, C, H, W)."""
    return level.permute(0, 3, 4, 1, 2).flatten(1, 3)


def _divide(index: Tensor, by: int) -> tuple[Tensor, Tensor]:
    return index // by, index % by


def _by_level(rows: Tensor, sizes: Sequence) -> Tensor:
    """(B, P) of rows that lie level by level, in each image by image."""
    parts = rows.split([images * priors for images, priors in sizes])
    return torch.cat([part.view(*size) for part, size in zip(parts, sizes, strict=True)], 1)


def _by_image(rows: Tensor, sizes: Sequence) -> Tensor:
    """(B, P) of rows that lie image by image, in each level by level."""
    return rows.view(sizes[0][0], -1)
