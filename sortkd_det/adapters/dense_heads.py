"""What is known of MMDetection's dense heads by their classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .loss_calls import activation_of

#: They hand no labels to their losses.
WITHOUT_LABELS = ('FreeAnchorRetinaHead', 'AutoAssignHead')
#: Their logits are of the class given that there is an object, which has a logit of its own.
GIVEN_AN_OBJECT = ('YOLOXHead', 'YOLOV3Head', 'AutoAssignHead')
#: Their logits are of words of a text.
OF_WORDS = ('ATSSVLFusionHead', 'GroundingDINOHead')
_OTHERS = ('SOLOHead', 'GroundingDINOHead')  # no dense heads by their class

_FEATURES = 'A term of features (PKDLoss, CWDLoss, FitNetLoss) serves instead'
_HEAT_MAPS = f'it has heat maps of points, and no logits of priors. {_FEATURES}'
_UNREADABLE = {
    'CenterNetHead': _HEAT_MAPS,
    'CornerHead': _HEAT_MAPS,
    'CentripetalHead': _HEAT_MAPS,
    **dict.fromkeys(OF_WORDS, f'its logits are of words of a text, no fixed classes. {_FEATURES}'),
}


def is_head(head: nn.Module, *names: str) -> bool:
    """Whether ``head`` is of one of the classes of MMDetection of these names."""
    from mmdet.models import dense_heads  # a detector is met, so that it is loaded

    return isinstance(head, tuple(getattr(dense_heads, name) for name in names))


def dense_head_of(model: nn.Module) -> Any:
    """The head of a one-stage detector, or None."""
    if hasattr(model, 'roi_head') or hasattr(model, 'panoptic_head'):
        return None
    head = getattr(model, 'bbox_head', None) or getattr(model, 'mask_head', None)
    if not isinstance(head, nn.Module):
        return None
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    dense = isinstance(head, BaseDenseHead) and not is_head(head, 'RPNHead', 'CascadeRPNHead')
    return head if dense or is_head(head, *_OTHERS) else None


def check_readable(head: nn.Module, who: str) -> None:
    """Raise if there is no way to read the logits of ``head``."""
    if head is None:
        raise ValueError(f'the {who} has no dense head, such as that of RetinaNet, FCOS or YOLOX')
    for name, reason in _UNREADABLE.items():
        if is_head(head, name):
            raise ValueError(
                f'the head of the {who}, {type(head).__name__}, cannot be read: {reason}'
            )


def activation_of_head(head: nn.Module) -> str:
    """What it makes of its logits, ``'softmax'`` or ``'sigmoid'``.

    Raises:
        ValueError: its classification loss does not tell, or has another name.
    """
    if is_head(head, 'SSDHead'):
        return 'softmax'
    if is_head(head, 'CenterNetUpdateHead'):  # whose loss is one of heat maps
        return 'sigmoid'
    if not hasattr(head, 'loss_cls'):
        raise ValueError(
            f'{type(head).__name__} has no loss_cls, whose calls tell logits and labels; expected '
            'a dense head as MMDetection has them, or an adapter of your own (docs/extending.md)'
        )
    return activation_of(head.loss_cls)


def ask(head: nn.Module, features: Sequence[Tensor]) -> Any:
    """What a frozen head answers at all places of its maps, in logits.

    Guided Anchoring leaves out those where the first image is unlikely to have an object, and
    SOLO hands over probabilities after its NMS; not so in training, and it is the head's own
    switch alone that tells.
    """
    if not is_head(head, 'GARetinaHead', 'SOLOHead'):
        return head(features)
    head.training = True  # its layers stay as they are
    try:
        return head(features)
    finally:
        head.training = False


def class_levels(head: nn.Module, output: Sequence) -> Sequence[Tensor]:
    """The maps of class scores among what a head's forward returned, one of each level."""
    if is_head(head, 'DecoupledSOLOHead'):
        return output[2]  # after those of the masks
    return output[1] if is_head(head, 'SOLOHead') else output[0]


class Grids:
    """SOLO's places: cells of grids that are laid over the whole batch, whatever its size.

    Attributes:
        num_grids: rows, and as many columns, of the grid of each level.
        num_levels: how many there are.
        num_base_priors: one for each cell.
    """

    def __init__(self, num_grids: Sequence[int]) -> None:
        self.num_grids = list(num_grids)
        self.num_levels = len(self.num_grids)
        self.num_base_priors = [1] * self.num_levels

    def grid_priors(self, _: Sequence, device: Any) -> list[Tensor]:
        """For each level the middles (x, y) of its cells, in parts of the batch's size."""
        found = []
        for number in self.num_grids:
            middles = (torch.arange(number, device=device) + 0.5) / number
            found.append(torch.cartesian_prod(middles, middles).flip(1))
        return found


def check_places(head: nn.Module, who: str) -> None:
    """Raise if a head's places are none of pixels, in which objects are found."""
    if is_head(head, 'SOLOHead'):
        raise ValueError(
            f'the head of the {who}, {type(head).__name__}, has cells of grids and no boxes, by '
            'which ObjectAdapter finds objects; another SOLO with the same num_grids serves '
            f'instead, by DenseHeadAdapter. {_FEATURES}'
        )


def priors_of(head: nn.Module) -> Any:
    """The generator of its priors, anchors, points or cells of grids.

    Raises:
        ValueError: it has none.
    """
    if is_head(head, 'SOLOHead'):
        return Grids(head.num_grids)
    # VFNet's, which it assigns by; all others'; SABL's and GA-RetinaNet's.
    for name in ('atss_prior_generator', 'prior_generator', 'square_anchor_generator'):
        if hasattr(head, name):
            return getattr(head, name)
    raise ValueError(
        f'{type(head).__name__} has no prior_generator, which tells where its '
        'logits are; expected a dense head as MMDetection has them'
    )


def places_of(head: nn.Module, maps: Sequence[Tensor]) -> Tensor:
    """Its priors on the maps of an image, level by level: (P, 4) boxes or (P, 2 or more) points.

    Args:
        head: the head.
        maps: for each level a map (…, H, W).
    """
    sizes = [level.shape[-2:] for level in maps]
    grids = priors_of(head).grid_priors(sizes, device=maps[0].device)
    return torch.cat([grid.flatten(0, -2) for grid in grids])


def strides_of(generator: Any) -> list[int]:
    """The stride of each level of a generator of priors; of two that it names the first."""
    return [each[0] if isinstance(each, tuple | list) else each for each in generator.strides]
