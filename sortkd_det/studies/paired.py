"""Whether one method is better than another: paired differences and what chance adds to them.

All figures are in points of 100, as AP and top-1 are printed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEVEL = 0.95  # of the intervals
_EQUAL = 1e-6  # points; what differs by less is the same number, computed in two ways
#: A difference that one would like to see, in points.
TARGET = 0.5
_POWER = 0.8  # chance to see it


@dataclass(frozen=True)
class Difference:
    """A method minus its baseline, with what chance adds to it.

    Attributes:
        mean: in points of 100.
        low: lower end of the 95% interval; None where there is nothing to tell it from.
        high: upper end.
        number: seeds or images that it stands on.
        unit: ``'seed'`` or ``'image'``: what was drawn by chance.
        needed: seeds or images, in all, with which a true difference of :data:`TARGET` would be
            seen in 4 of 5 studies; None as ``low``.
    """

    mean: float
    low: float | None
    high: float | None
    number: int
    unit: str
    needed: int | None

    @property
    def is_noise(self) -> bool:
        """Whether 0 lies in the interval, or there is none."""
        return self.low is None or self.low <= 0 <= self.high

    def __str__(self) -> str:
        """``'+0.37 [-0.65, +1.39] (3)'``, or ``'+0.37 (1)'`` without an interval."""
        interval = '' if self.low is None else f' [{self.low:+.2f}, {self.high:+.2f}]'
        return f'{self.mean:+.2f}{interval} ({self.number:,})'

    def verdict(self) -> str:
        """What may be said of it, as a sentence without its subject."""
        if self.low is None and self.number > 1:
            return (
                f'the same in all {self.number:,} {self.unit}s, which tells nothing of chance: '
                'are these runs apart, and are the scores not rounded? Take more'
            )
        if self.low is None:
            return f'one {self.unit} tells nothing of chance; take 3 or more'
        if not self.is_noise:
            return f'beyond the noise of {self.unit}s'
        number = f'{self.number:,} {self.unit}s'
        if self.needed <= self.number:
            return f'within noise, though {number} show most differences of {TARGET}'
        return (
            f'within noise; to show a difference of {TARGET} takes about {self.needed:,} '
            f'{self.unit}s, {self.needed - self.number:,} more'
        )


def over_seeds(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Mean difference over the seeds that both have, with its interval by Student's t.

    Differences that are all the same, such as those of two seeds whose AP was logged to a tenth
    of a point, have no interval: its width of 0 would pass for certainty.

    Args:
        scores: seed → the method's score, in points.
        baseline: seed → the other's.

    Returns:
        None where they have no seed in common.
    """
    from scipy.stats import t

    differences = [scores[seed] - baseline[seed] for seed in sorted(scores) if seed in baseline]
    number = len(differences)
    if not differences:
        return None
    mean = statistics.fmean(differences)
    if number < 2:
        return Difference(mean, None, None, number, 'seed', None)
    deviation = statistics.stdev(differences)
    if deviation < _EQUAL:
        return Difference(mean, None, None, number, 'seed', None)
    half = float(t.ppf((1 + _LEVEL) / 2, number - 1)) * deviation / math.sqrt(number)
    return Difference(mean, mean - half, mean + half, number, 'seed', seeds_needed(deviation))


def over_images(mean: float, draws: NDArray[np.floating], num_images: int) -> Difference:
    """A difference with its interval over draws of images, by their percentiles.

    Args:
        mean: difference on the images as they are, in points.
        draws: [number of draws]; the difference in each, finite.
        num_images: of a draw; one alone is the same in every draw, and has no interval.
    """
    if num_images < 2:
        return Difference(mean, None, None, num_images, 'image', None)
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    needed = images_needed(float(np.std(draws, ddof=1)), num_images)
    return Difference(mean, float(low), float(high), num_images, 'image', needed)


def seeds_needed(deviation: float, difference: float = TARGET) -> int:
    """Fewest seeds with which a paired t test finds a difference in 4 of 5 studies.

    Args:
        deviation: standard deviation of the paired differences; an estimate from few seeds makes
            the answer as rough as it is.
        difference: the true one, > 0, in the same unit.
    """
    if deviation == 0:
        return 2

    def is_enough(number: int) -> bool:
        from scipy.stats import nct, t

        critical = t.ppf((1 + _LEVEL) / 2, number - 1)
        shift = difference * math.sqrt(number) / deviation
        return bool(nct.sf(critical, number - 1, shift) >= _POWER)

    # The normal approximation is below the answer, by few.
    number = max(2, math.floor(_ratio_needed(deviation, difference)))
    while not is_enough(number):
        number += 1
    return number


def images_needed(deviation: float, num_images: int, difference: float = TARGET) -> int:
    """Images with which a difference is found in 4 of 5 studies, as chance falls with their root.

    Args:
        deviation: standard deviation of the difference over draws of ``num_images`` images.
        num_images: of a draw.
        difference: the true one, > 0, in the same unit.
    """
    return math.ceil(num_images * _ratio_needed(deviation, difference))


def _ratio_needed(deviation: float, difference: float) -> float:
    """How many times as much is needed, where chance has the normal distribution."""
    normal = statistics.NormalDist()
    return (
        (normal.inv_cdf((1 + _LEVEL) / 2) + normal.inv_cdf(_POWER)) * deviation / difference
    ) ** 2


def mean_and_deviation(values: Sequence[float]) -> str:
    """``'72.31 ± 0.20 (5)'``: mean, sample standard deviation, number."""
    if not values:
        return '-'
    deviation = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.2f}{deviation} ({len(values)})'
