"""The seam between the hook and families of heads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher, TeacherCache
from sortkd_det.registry import ADAPTERS, SCOPE, build

#: Why an adapter does not hand over what a method needs.
_LACKS = {
    'classes': 'the method has a term of logits, and {adapter} reads features alone; choose '
    'another adapter, or leave it out',
    'boxes': "the method has a term with of='boxes', and {adapter} reads no distributions of boxes "
    'from the teacher, {teacher}, and the student, {student}; expected heads of GFL in both, '
    'with the same reg_max, or a method without that term',
    'offsets': 'the method has a BoxTerm, and {adapter} reads no offsets of boxes from the '
    'teacher, {teacher}, and the student, {student}; expected two-stage detectors whose box heads '
    'have a DeltaXYWHBBoxCoder and the loss of BBoxHead (Faster R-CNN, Cascade R-CNN; not SABL), '
    'or a method without that term',
    'features': 'the method has a term of features, and {adapter} reads none of the teacher, '
    '{teacher}, and the student, {student}; expected two detectors, or a method without that term',
}


class Adapter(ABC):
    """Knows one family of heads: where logits and labels pass by, what the teacher must run.

    A subclass may take options after the two models; they come from
    ``DistillHook(adapter=dict(type=…, …))``.

    Args:
        student: the model that is trained.
        teacher: its teacher.

    Attributes:
        gives: what it hands over of these models: ``'classes'``; ``'boxes'``, where its batches
            have ``find_boxes``, and ``'offsets'``, where they have ``find_box_loss``;
            ``'features'``, where it has :meth:`DetectorAdapter.features`.
        activation: what both heads make of their logits, ``'softmax'`` or ``'sigmoid'``;
            known when the adapter is built.

    Raises:
        ValueError: student and teacher do not fit; the message names the difference.
    """

    gives: frozenset[str] = frozenset({'classes'})
    activation: str

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        self.student = student
        self.teacher = teacher

    @classmethod
    @abstractmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether the heads of ``student`` and of the model ``teacher`` are of the family."""

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """How many classes the heads of ``model`` tell apart, by the name of the attribute.

        Every run asks for it, also one without distillation. Empty: the model is of another
        family, or does not tell.
        """
        return {}

    @abstractmethod
    def attach(self) -> list[RemovableHandle]:
        """Register the hooks that see the student's logits and labels pass by."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the last batch; called before each forward of the student and after its batch."""

    @abstractmethod
    def prepare(self, inputs: Any, data_samples: Any) -> None:
        """Run what the teacher needs the images alone for, before the student's forward.

        Done then, it does not lie on top of what the student keeps for its backward.

        Args:
            inputs: what the student's forward is given, preprocessed for it.
            data_samples: its samples.
        """

    def keep_teacher(self, path: str | PathLike) -> TeacherCache:
        """Keep the teacher's logits in a file, and take those that it has from there.

        Raises:
            ValueError: they depend on more than the images, so that none can be kept; or as
                :class:`TeacherCache`.
        """
        raise ValueError(
            f'teacher.cache keeps the logits of classifiers, and {type(self).__name__} reads '
            'others: a detector has those of the places that the student looks at, which differ '
            'from run to run; take teacher.cache (--share-teacher) out'
        )

    @abstractmethod
    def batch(self, inputs: Any, data_samples: Any) -> LogitBatch:
        """Run the teacher and pair its logits with those that passed by.

        Called in each iteration, on every process: where there is nothing to pair, the
        batch has no rows, and its logits of the student need a gradient all the same.

        Args:
            inputs: what the student's forward was given, preprocessed for it.
            data_samples: its samples.
        """

    @staticmethod
    def watch(module: nn.Module, look: Callable[..., None]) -> RemovableHandle:
        """Have ``look`` called with the arguments of each call of ``module``, before it runs.

        A deep copy of the module (that of an average of weights) keeps the hook and reports
        nothing.
        """

        def see(called: nn.Module, args: tuple, kwargs: dict) -> None:
            if called is module:
                look(*args, **kwargs)

        return module.register_forward_pre_hook(see, with_kwargs=True)

    @staticmethod
    def watch_output(module: nn.Module, look: Callable[[Any], None]) -> RemovableHandle:
        """Have ``look`` called with what each call of ``module`` returns; copies report nothing."""

        def see(called: nn.Module, args: tuple, output: Any) -> None:
            if called is module:
                look(output)

        return module.register_forward_hook(see)


def build_adapter(
    config: Mapping | None,
    student: nn.Module,
    teacher: Teacher,
    needs: frozenset[str] = frozenset({'classes'}),
) -> Adapter:
    """The adapter that a config names, with its options; None: the one that accepts both models.

    Args:
        config: ``dict(type=…, …)``, or None.
        student: the model that is trained.
        teacher: its teacher.
        needs: what the method needs, as :attr:`Method.needs` tells.

    Raises:
        KeyError, TypeError: an adapter that is not registered, or options that it does not take.
        ValueError: the models do not fit it, no registered adapter accepts them, or it does
            not hand over what is needed.
    """
    if config is None:
        config = {'type': find_adapter(student, teacher.model, needs)}
    adapter = build(ADAPTERS, {**config, 'student': student, 'teacher': teacher}, 'adapter')
    for lacking in sorted(needs - adapter.gives):
        raise ValueError(
            _LACKS[lacking].format(
                adapter=type(adapter).__name__,
                teacher=_describe(teacher.model),
                student=_describe(student),
            )
        )
    return adapter


def find_adapter(
    student: nn.Module, teacher: nn.Module, needs: frozenset[str] = frozenset({'classes'})
) -> type[Adapter]:
    """The first adapter that accepts student and teacher.

    Those registered outside of this package are asked first; each group in the
    order of registration. Those that give features alone are asked where nothing else is
    needed, and the others elsewhere.

    Raises:
        ValueError: no registered adapter accepts them.
    """
    features = frozenset({'features'})
    adapters = [each for each in _adapters() if (each.gives == features) == (needs == features)]
    for adapter in adapters:
        if adapter.accepts(student, teacher):
            return adapter
    known = ', '.join(adapter.__name__ for adapter in adapters) or 'none'
    what = 'features' if needs == features else 'logits'
    raise ValueError(
        f'no adapter knows how to read the {what} of both the teacher, {_describe(teacher)}, and '
        f'the student, {_describe(student)}; registered adapters, in the order they were asked: '
        f'{known}. Choose models that one of them reads, or write an adapter for these '
        '(docs/extending.md)'
    )


def count_classes(model: nn.Module) -> dict[str, int]:
    """How many classes a model tells apart, as the first adapter that knows its family counts.

    Returns:
        The numbers by the names of the model's attributes; empty where no adapter knows it.
    """
    counts = (adapter.count_classes(model) for adapter in _adapters())
    return next((found for found in counts if found), {})


def _adapters() -> list[type[Adapter]]:
    """All registered adapters, those of the user first."""
    ADAPTERS.import_from_location()
    return sorted(
        dict.fromkeys(ADAPTERS.module_dict.values()),
        key=lambda adapter: adapter.__module__.split('.')[0] == SCOPE,
    )


def _describe(model: nn.Module) -> str:
    """A model and its head, for an error."""
    heads = [
        f'{name}={type(part).__name__}'
        for name, part in model.named_children()
        if 'head' in name and name != 'rpn_head'
    ]
    return f'{type(model).__name__} ({heads[0] if heads else "no head"})'
