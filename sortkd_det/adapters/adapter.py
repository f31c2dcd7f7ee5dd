"""The seam between the hook and families of heads."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS


class Adapter(ABC):
    """Knows one family of heads: where logits and labels pass by, what the teacher must run.

    Args:
        student: the model that is trained.
        teacher: its teacher.

    Raises:
        ValueError: student and teacher do not fit; the message names the difference.
    """

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        self.student = student
        self.teacher = teacher

    @staticmethod
    def check_num_classes(student: int, teacher: int) -> None:
        """Raise unless both have as many classes.

        Raises:
            ValueError: they have not.
        """
        if student != teacher:
            raise ValueError(
                f'teacher and student differ in their number of classes: {teacher} and '
                f'{student}; expected the same classes in the same order'
            )

    @classmethod
    @abstractmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether ``model`` belongs to the family."""

    @abstractmethod
    def attach(self) -> list[RemovableHandle]:
        """Register the hooks that see the student's logits and labels pass by."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the last batch; called before each forward of the student."""

    @abstractmethod
    def prepare(self, inputs: Any, data_samples: Any) -> None:
        """Run what the teacher needs the images alone for, before the student's forward.

        Done then, it does not lie on top of what the student keeps for its backward.

        Args:
            inputs: what the student's forward is given, preprocessed for it.
            data_samples: its samples.
        """

    @abstractmethod
    def pairs(self, inputs: Any, data_samples: Any) -> LogitBatch:
        """Run the teacher and pair its logits with those that passed by.

        Args:
            inputs: what the student's forward was given, preprocessed for it.
            data_samples: its samples.
        """


def find_adapter(model: nn.Module) -> type[Adapter]:
    """The registered adapter that accepts ``model``.

    Raises:
        ValueError: none does.
    """
    ADAPTERS.import_from_location()
    for adapter in ADAPTERS.module_dict.values():
        if adapter.accepts(model):
            return adapter
    known = ', '.join(sorted(ADAPTERS.module_dict)) or 'none'
    head = next(
        (
            f'{name}={type(part).__name__}'
            for name, part in model.named_children()
            if 'head' in name and name != 'rpn_head'
        ),
        'no head',
    )
    raise ValueError(
        f'no adapter knows how to read the logits of {type(model).__name__} ({head}); '
        f'registered adapters: {known}'
    )
