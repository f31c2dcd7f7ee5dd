import contextlib
import io

import numpy as np
import pytest
from drawn_boxes import NUM_CLASSES, NUM_IMAGES, draw_boxes
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sortkd_det.studies.coco_bootstrap import ResampledAP, draw_counts, mean_over_classes


def evaluate(truths, detections, num_images=NUM_IMAGES):
    truths = [{**truth, 'id': number} for number, truth in enumerate(truths, start=1)]
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=image) for image in range(num_images)],
        annotations=truths,
        categories=[dict(id=number, name=str(number)) for number in range(1, NUM_CLASSES + 1)],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes([dict(box) for box in detections]), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def repeated(boxes, counts):
    """Boxes of a data set in which each image stands ``counts`` times, under ids of its own."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    return [
        {**box, 'image_id': int(starts[box['image_id']] + copy)}
        for box in boxes
        for copy in range(counts[box['image_id']])
    ]


def known(values):
    return np.where(values == -1, np.nan, values)


@pytest.mark.parametrize('equal_scores', [False, True])
@pytest.mark.parametrize('seed', range(5))
def test_images_that_count_once_give_the_numbers_of_cocoeval(seed, equal_scores):
    evaluation = evaluate(*draw_boxes(np.random.default_rng(seed), equal_scores))
    once = np.ones((1, NUM_IMAGES), dtype=int)
    precision = evaluation.eval['precision']  # [T, R, K, A, M]
    for area, label in enumerate(evaluation.params.areaRngLbl):
        for which, max_dets in enumerate(evaluation.params.maxDets):
            ap = ResampledAP(evaluation, label, max_dets)(once)
            expected = known(precision[..., area, which]).mean(axis=1)
            np.testing.assert_allclose(ap[0], expected, rtol=0, atol=1e-12)
    ap = ResampledAP(evaluation)(once)
    assert mean_over_classes(ap)[0] == pytest.approx(evaluation.stats[0], abs=1e-12)
    assert mean_over_classes(ap[:, :1])[0] == pytest.approx(evaluation.stats[1], abs=1e-12)
    assert mean_over_classes(ap[:, 5:6])[0] == pytest.approx(evaluation.stats[2], abs=1e-12)
    for index, area in enumerate(('small', 'medium', 'large'), start=3):
        found = mean_over_classes(ResampledAP(evaluation, area)(once))[0]
        assert found == pytest.approx(evaluation.stats[index], abs=1e-12)


@pytest.mark.parametrize('area', ['all', 'medium'])
@pytest.mark.parametrize('seed', range(5))
def test_images_that_count_often_give_the_numbers_of_cocoeval_on_copies(seed, area):
    truths, detections = draw_boxes(np.random.default_rng(seed))
    resampled = ResampledAP(evaluate(truths, detections), area)
    counts = draw_counts(NUM_IMAGES, 8, seed)
    ap = resampled(counts)
    for found, numbers in zip(ap, counts, strict=True):
        copies = evaluate(repeated(truths, numbers), repeated(detections, numbers))
        which = copies.params.areaRngLbl.index(area)
        expected = known(copies.eval['precision'][..., which, -1]).mean(axis=1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_equal_scores_of_several_images_are_ordered_as_on_copies():
    rng = np.random.default_rng(3)
    truths, detections = draw_boxes(rng)
    for image in range(NUM_IMAGES):  # the same few scores in each image, none twice in one
        own = [box for box in detections if box['image_id'] == image]
        for box, score in zip(own, rng.permutation(len(own)), strict=True):
            box['score'] = float(score + 1) / 100
    resampled = ResampledAP(evaluate(truths, detections))
    counts = draw_counts(NUM_IMAGES, 8)
    for found, numbers in zip(mean_over_classes(resampled(counts)), counts, strict=True):
        copies = evaluate(repeated(truths, numbers), repeated(detections, numbers))
        assert found == pytest.approx(copies.stats[0], abs=1e-12)


@pytest.mark.parametrize('number', [25, 40, 50, 100])
def test_recall_levels_that_are_no_exact_fractions_are_reached_where_cocoeval_reaches_them(number):
    # 0.07 × 100 is above 7, and 7 / 100 is not below 0.07: each way of rounding occurs here.
    places = [(index % 10, float(10 * index)) for index in range(number)]
    truths = [
        dict(image_id=image, category_id=1, bbox=[x, 0.0, 9.0, 9.0], area=81.0, iscrowd=0)
        for image, x in places
    ]
    detections = []
    for index, truth in enumerate(truths):  # each true positive, then a false one
        box = dict(image_id=truth['image_id'], category_id=1)
        detections.append({**box, 'bbox': truth['bbox'], 'score': 1 - index / 500})
        detections.append({**box, 'bbox': [0.0, 99.0, 9.0, 9.0], 'score': 0.999 - index / 500})
    evaluation = evaluate(truths, detections)
    ap = ResampledAP(evaluation)(np.ones((1, NUM_IMAGES), dtype=int))
    assert mean_over_classes(ap)[0] == pytest.approx(evaluation.stats[0], abs=1e-12)


def test_a_draw_with_nothing_to_find_has_no_ap():
    truths, detections = draw_boxes(np.random.default_rng(0))
    resampled = ResampledAP(evaluate(truths, detections))
    ap = resampled(np.zeros((2, NUM_IMAGES), dtype=int))
    assert np.isnan(ap).all()
    assert np.isnan(mean_over_classes(ap)).all()


def test_draws_are_of_as_many_images_and_the_same_for_a_seed():
    counts = draw_counts(50, 200, seed=3)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.05)  # binomial(50, 1/50)
    np.testing.assert_array_equal(counts, draw_counts(50, 200, seed=3))


def test_what_cannot_be_resampled_is_refused():
    evaluation = evaluate(*draw_boxes(np.random.default_rng(0)))
    with pytest.raises(
        ValueError, match="area must be one of all, small, medium, large, got 'tiny'"
    ):
        ResampledAP(evaluation, 'tiny')
    with pytest.raises(
        ValueError, match='max_dets must be from 1 to 100, as were matched, got 101'
    ):
        ResampledAP(evaluation, max_dets=101)
    with pytest.raises(ValueError, match='no matches yet'):
        ResampledAP(COCOeval(evaluation.cocoGt, evaluation.cocoDt, 'bbox'))
    resampled = ResampledAP(evaluation)
    with pytest.raises(ValueError, match=r'shape \(draws, 12\), got \(12,\)'):
        resampled(np.ones(12, dtype=int))
    with pytest.raises(ValueError, match='whole numbers ≥ 0'):
        resampled(np.full((1, 12), 0.5))
    with pytest.raises(ValueError, match='whole numbers ≥ 0'):
        resampled(np.full((1, 12), -1))
