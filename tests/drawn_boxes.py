"""Boxes of a few images and detections of them, drawn, for COCO AP."""

import numpy as np

NUM_IMAGES, NUM_CLASSES = 12, 4


def draw_boxes(rng, equal_scores=False):
    """Images with boxes of three classes, some crowds, and detections of all four near and far.

    The fourth class has nothing to find; images differ in what they hold.
    """
    truths, detections = [], []
    for image in range(NUM_IMAGES):
        for _ in range(rng.integers(0, 7)):
            box = [*rng.uniform(0, 300, 2), *rng.uniform(8, 150, 2)]
            truths.append(
                dict(
                    image_id=image, category_id=int(rng.integers(1, NUM_CLASSES)), bbox=box,
                    area=box[2] * box[3], iscrowd=int(rng.random() < 0.1),
                )
            )  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = (np.array(box) * rng.normal(1, 0.08, 4)).tolist()
                wrong = int(rng.integers(1, NUM_CLASSES + 1))
                category = truths[-1]['category_id'] if rng.random() < 0.7 else wrong
                detections.append(dict(image_id=image, category_id=category, bbox=near))
        for _ in range(rng.integers(0, 4)):
            far = [*rng.uniform(0, 300, 2), *rng.uniform(8, 150, 2)]
            category = int(rng.integers(1, NUM_CLASSES + 1))
            detections.append(dict(image_id=image, category_id=category, bbox=far))
    for detection in detections:
        score = rng.random()
        detection['score'] = float(np.round(score, 1)) if equal_scores else float(score)
    return truths, detections
