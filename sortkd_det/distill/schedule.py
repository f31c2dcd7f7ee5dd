"""When a term counts, and how much."""

from sortkd_det.functional import check_positive, check_whole


class Schedule:
    """The factor on a term's loss over the epochs (iterations) of a run, counted from 1.

    It grows over ``warmup`` epochs from ``begin`` on, 1/warmup in the first of them, and falls
    over the last ``decay`` epochs, 1/decay in ``end`` and 0 thereafter; where the two
    overlap, the smaller counts. Arguments are those of :class:`Term` of these names.

    Raises:
        TypeError, ValueError: an argument out of its range; a decay without an end; a warm-up
            that is longer than the term.
    """

    def __init__(
        self,
        weight: float = 1.0,
        begin: int = 1,
        end: int | None = None,
        warmup: int = 0,
        decay: int = 0,
    ) -> None:
        self.weight = check_positive('weight', weight, allow_zero=True)
        self.begin = check_whole('begin', begin)
        self.end = None if end is None else check_whole('end', end, minimum=begin)
        self.warmup = check_whole('warmup', warmup, minimum=0)
        self.decay = check_whole('decay', decay, minimum=0)
        if end is not None and warmup > end - begin + 1:
            raise ValueError(
                f'warmup is {warmup} and the term has {end - begin + 1} epochs (or iterations), '
                f'{begin} to {end}; expected a warmup that ends within them'
            )
        if decay and end is None:
            raise ValueError(
                f'decay is {decay} and the term has no end; expected end, the last epoch (or '
                'iteration) of the term, before which its weight falls'
            )

    @property
    def full_from(self) -> int:
        """The first epoch (iteration) after which the weight grows no more."""
        return self.begin + max(self.warmup - 1, 0)

    def scale(self, now: int) -> float:
        """The factor at epoch (iteration) ``now``; 0 outside of begin and end."""
        if now < self.begin or (self.end is not None and now > self.end):
            return 0.0
        factor = 1.0
        if self.warmup:
            factor = min(factor, (now - self.begin + 1) / self.warmup)
        if self.decay:
            factor = min(factor, (self.end - now + 1) / self.decay)
        return self.weight * factor
