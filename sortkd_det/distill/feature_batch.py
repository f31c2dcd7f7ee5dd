"""What an adapter hands over of features: the maps of the same images from both necks."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """The levels of both necks for one batch of B images; checked when it is made.

    Attributes:
        student: for each level a map (B, C, H, W), with the student's graph.
        teacher: for each level the teacher's map of the same part of the images, without a graph.

    Raises:
        TypeError, ValueError: levels that are no such maps; the message says which.
    """

    student: Sequence[Tensor]
    teacher: Sequence[Tensor]

    def __post_init__(self) -> None:
        for who, levels in (('student', self.student), ('teacher', self.teacher)):
            if not isinstance(levels, list | tuple) or not levels:
                raise TypeError(
                    f'the features of the {who} are {type(levels).__name__}; expected a list of '
                    'maps (B, C, H, W), one for each level'
                )
            for index, level in enumerate(levels):
                shape = tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__
                if not isinstance(level, Tensor) or level.dim() != 4:
                    raise TypeError(
                        f'level {index} of the features of the {who} is {shape}; expected a map '
                        '(B, C, H, W)'
                    )
                if len(level) != len(self.student[0]):
                    raise ValueError(
                        f'level {index} of the features of the {who} is of {len(level)} images, '
                        f'and the first of the student of {len(self.student[0])}'
                    )
        if any(level.requires_grad for level in self.teacher):
            raise ValueError(
                'the features of the teacher need a gradient; expected a teacher that runs under '
                'torch.no_grad()'
            )
