"""When a term counts, and how much."""

from sortkd_det.functional import check_positive, check_whole


class Schedule:
    """The factor on a term's loss over the epochs (iterations) of a run, counted from 1.

    Arguments are those of :class:`Term` of these names.

    Raises:
        TypeError, ValueError: an argument out of its range.
    """

    def __init__(
        self, weight: float = 1.0, begin: int = 1, end: int | None = None, warmup: int = 0
    ) -> None:
        self.weight = check_positive('weight', weight, allow_zero=True)
        self.begin = check_whole('begin', begin)
        self.end = None if end is None else check_whole('end', end, minimum=begin)
        self.warmup = check_whole('warmup', warmup, minimum=0)

    def scale(self, now: int) -> float:
        """The factor at epoch (iteration) ``now``; 0 outside of begin and end."""
        if now < self.begin or (self.end is not None and now > self.end):
            return 0.0
        if self.warmup:
            return self.weight * min((now - self.begin + 1) / self.warmup, 1.0)
        return self.weight
