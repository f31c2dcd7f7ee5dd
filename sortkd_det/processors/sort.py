"""Sorting as a processor."""

from torch import Tensor

from sortkd_det.functional import ACTIVATIONS, Sort, check_choice
from sortkd_det.registry import LOGIT_PROCESSORS

COLUMNS = ('all', 'classes')


@LOGIT_PROCESSORS.register_module()
class SortLogits:
    """Put each row's label on top, and the classes above it one value lower (SortKD).

    Args:
        sort_columns: ``'all'`` columns are sorted; or the ``'classes'`` among themselves,
            while background, where it is a column, keeps its value. Then no probability
            moves from background to a class.

    Raises:
        ValueError: ``sort_columns`` is neither.
    """

    activations = ACTIVATIONS

    def __init__(self, sort_columns: str = 'all') -> None:
        self.sort_columns = check_choice('sort_columns', sort_columns, COLUMNS)

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        ignore_index: int | None = None,
        background: int | None = None,
    ) -> Tensor:
        """Sort the rows of ``logits`` (N, C) by ``labels`` (N,).

        Rows labelled ``ignore_index`` come back as they are. See
        :class:`~sortkd_det.functional.Sort`.
        """
        return self.operation(ignore_index, background)(logits, labels)

    def operation(self, ignore_index: int | None, background: int | None) -> Sort:
        """The sort of a batch whose background is the column ``background``, or None."""
        return Sort(ignore_index, background if self.sort_columns == 'classes' else None)
