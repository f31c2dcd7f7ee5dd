"""Time draws of images with replacement, each with its COCO AP, on a set of val2017's size.

Boxes are drawn; they are matched by pycocotools, once, and its own accumulation is timed beside:
what one draw would take if images were copied.
"""

import argparse
import contextlib
import io
import statistics
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from report import Table, verdict, write_record

from sortkd_det.studies.coco_bootstrap import ResampledAP, draw_counts, mean_over_classes

_TARGET = 60  # seconds, of all draws
_TRUTHS_EACH, _CLASSES_EACH = 7, 8  # of an image, as in COCO or more


def draw_evaluation(num_images: int, num_classes: int, detections_each: int) -> COCOeval:
    """Images with boxes of a few classes each; half of the detections lie near one of them."""
    rng = np.random.default_rng(0)
    truths, found = [], []
    for image in range(num_images):
        classes = rng.choice(num_classes, min(_CLASSES_EACH, num_classes), replace=False) + 1
        number = rng.poisson(_TRUTHS_EACH)
        own = rng.choice(classes, number)
        boxes = np.concatenate(
            [rng.uniform(0, 400, (number, 2)), rng.uniform(8, 200, (number, 2))], 1
        )
        for category, box in zip(own.tolist(), boxes.tolist(), strict=True):
            area = box[2] * box[3]
            iscrowd = int(rng.random() < 0.01)
            truths.append(
                dict(image_id=image, category_id=category, bbox=box, area=area, iscrowd=iscrowd)
            )
        near = rng.integers(number, size=detections_each // 2) if number else []
        guesses = boxes[near] * rng.normal(1, 0.03, (len(near), 4))
        far = detections_each - len(near)
        guesses = np.concatenate([guesses, rng.uniform(8, 200, (far, 4))])
        categories = np.concatenate([own[near] if number else [], rng.choice(classes, far)])
        scores = rng.random(detections_each) * np.where(np.arange(len(guesses)) < len(near), 1, 0.6)
        found.extend(
            dict(image_id=image, category_id=int(category), bbox=box, score=score)
            for category, box, score in zip(
                categories, guesses.tolist(), scores.tolist(), strict=True
            )
        )
    for number, truth in enumerate(truths, start=1):
        truth['id'] = number
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=image) for image in range(num_images)],
        annotations=truths,
        categories=[dict(id=number, name=str(number)) for number in range(1, num_classes + 1)],
    )
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(found), 'bbox')
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    return evaluation


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000, help='(5000)')
    parser.add_argument('--classes', type=int, default=80, help='(80)')
    parser.add_argument('--detections', type=int, default=100, help='of an image (100)')
    parser.add_argument('--draws', type=int, default=1000, help='(1000)')
    parser.add_argument('--rounds', type=int, default=3, help='of which the median counts (3)')
    parser.add_argument('--out', help='write a Markdown record')
    return parser


def main() -> None:
    """Match, resample, compare with pycocotools."""
    args = get_parser().parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = draw_evaluation(args.images, args.classes, args.detections)
        start = time.perf_counter()
        evaluation.accumulate()
        accumulation = time.perf_counter() - start
    precision = evaluation.eval['precision']
    expected = precision[precision > -1].mean()
    start = time.perf_counter()
    resampled = ResampledAP(evaluation)
    reading = time.perf_counter() - start
    once = mean_over_classes(resampled(np.ones((1, args.images), dtype=int)))[0]
    if abs(once - expected) > 1e-12:
        raise AssertionError(f'AP is {once}, pycocotools has {expected}')
    seconds = []
    for number in range(args.rounds):
        start = time.perf_counter()
        draws = mean_over_classes(resampled(draw_counts(args.images, args.draws, number)))
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    row = [
        f'{args.draws:,}',
        f'{args.images:,}',
        f'{args.classes}',
        f'{args.images * args.detections:,}',
        f'{reading:.1f}',
        f'{median:.1f}',
        f'≤ {_TARGET}',
        verdict(median <= _TARGET),
        f'{accumulation:.1f}',
        f'{args.draws * accumulation / median:,.0f}',
    ]
    columns = (
        'draws', 'images', 'classes', 'detections', 'reading, s', 'draws, s', 'target', 'result',
        'pycocotools, one draw, s', 'speed-up',
    )  # fmt: skip
    table = Table('AP of resampled images, 10 IoU thresholds', columns, [row])
    table.show()
    if args.out:
        notes = [
            f'Median of {args.rounds} rounds; from {min(seconds):.1f} to {max(seconds):.1f} s.',
            f'AP {once:.4f}, that of pycocotools to 1e-12; standard deviation of the draws '
            f'{draws.std(ddof=1):.4f}.',
        ]
        write_record(args.out, 'Bootstrap of COCO AP over images', [table], notes)


if __name__ == '__main__':
    main()
