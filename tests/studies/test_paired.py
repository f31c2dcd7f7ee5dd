import numpy as np
import pytest
from scipy import stats

from sortkd_det.studies.paired import (
    images_needed,
    mean_and_deviation,
    over_images,
    over_seeds,
    seeds_needed,
)


def test_mean_deviation_and_paired_interval_are_those_of_scipy():
    rng = np.random.default_rng(0)
    baseline = dict(enumerate(rng.normal(70, 1, 5)))
    scores = {seed: value + rng.normal(0.5, 0.3) for seed, value in baseline.items()}
    values = list(scores.values())
    assert mean_and_deviation(values) == f'{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (5)'
    assert mean_and_deviation([70.0, 72.0]) == '71.00 ± 1.41 (2)'
    assert mean_and_deviation([71.5]) == '71.50 (1)'
    assert mean_and_deviation([]) == '-'
    differences = [scores[seed] - baseline[seed] for seed in baseline]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    expected = f'{np.mean(differences):+.2f} [{low:+.2f}, {high:+.2f}] (5)'
    assert str(over_seeds({**scores, 9: 1.0}, baseline)) == expected  # seed 9 has no partner
    assert over_seeds({0: 1.0}, {1: 2.0}) is None


def test_one_seed_has_a_difference_and_no_interval():
    difference = over_seeds({0: 1.0}, {0: 2.0})
    assert str(difference) == '-1.00 (1)'
    assert difference.is_noise
    assert difference.verdict() == 'one seed tells nothing of chance; take 3 or more'


def test_differences_that_are_all_the_same_have_no_interval():
    # Two runs whose AP was logged to a tenth of a point: 0.1 twice, but for the last bits.
    difference = over_seeds({0: 48.3, 1: 50.1}, {0: 48.2, 1: 50.0})
    assert str(difference) == '+0.10 (2)'
    assert difference.is_noise
    assert difference.verdict().startswith('the same in all 2 seeds, which tells nothing')


def test_one_image_has_no_interval():
    assert str(over_images(0.3, np.full(100, 0.3), 1)) == '+0.30 (1)'


@pytest.mark.parametrize(
    ('effect', 'number'),
    # Paired t test, two-sided 0.05, power 0.8: as G*Power and Cohen's tables have it.
    [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)],
)
def test_seeds_needed_are_those_of_the_tables(effect, number):
    assert seeds_needed(deviation=0.5 / effect) == number
    assert seeds_needed(deviation=1 / effect, difference=1.0) == number


def test_next_to_no_deviation_needs_two_seeds():
    assert seeds_needed(0.0) == seeds_needed(1e-6) == 2


def test_as_many_images_show_the_difference_as_were_said_to():
    rng = np.random.default_rng(0)
    deviation, num_images = 1.2, 100  # of the mean over 100 images: 12 of one
    needed = images_needed(deviation, num_images, difference=0.5)
    means = rng.normal(0.5, 12 / np.sqrt(needed), 20_000)
    seen = np.mean(np.abs(means) > 1.96 * 12 / np.sqrt(needed))
    assert seen == pytest.approx(0.8, abs=0.01)


def test_the_interval_over_images_holds_the_middle_of_the_draws():
    draws = np.random.default_rng(0).normal(0.3, 0.5, 10_000)
    difference = over_images(0.3, draws, 72)
    assert (difference.low, difference.high) == pytest.approx((0.3 - 0.98, 0.3 + 0.98), abs=0.03)
    assert difference.needed == images_needed(draws.std(ddof=1), 72)
    assert str(difference).endswith('(72)')


@pytest.mark.parametrize(
    ('differences', 'verdict'),
    [
        pytest.param((1.0, 1.1, 0.9), 'beyond the noise of seeds', id='seen'),
        pytest.param(
            (1.0, -1.0, 0.0), 'within noise; to show a difference of 0.5 takes about 34 seeds, '
            '31 more', id='noise',  # effect 0.5, as in the tables
        ),
        pytest.param(
            (0.1, -0.1, 0.05, -0.05), 'within noise, though 4 seeds show most differences of 0.5',
            id='no-difference',
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_a_difference(differences, verdict):
    scores = dict(enumerate(differences))
    assert over_seeds(scores, dict.fromkeys(scores, 0.0)).verdict() == verdict
