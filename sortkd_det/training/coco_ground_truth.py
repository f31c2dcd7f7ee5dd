"""What pycocotools reads of annotations without a word, made so that it evaluates them rightly."""

from typing import Any


def mend_ground_truth(metric: Any) -> None:
    """Number the annotations that a COCO metric has read, if their ids could not be evaluated.

    pycocotools writes the id of a matched annotation into an array of floats, where 0 means
    "not matched": the annotation with the id 0 is never found, and ids that are text are an
    error as soon as one matches. Nobody asks for these ids. It also wants ``iscrowd`` in each
    annotation, which MMDetection's data sets take for 0 where it is absent.

    What the metric holds in memory is changed, only where it has such entries, and no file.

    Args:
        metric: of MMDetection's ``CocoMetric``, or one that keeps its COCO object as that does;
            others are left as they are.
    """
    coco = getattr(metric, '_coco_api', None)
    dataset = getattr(coco, 'dataset', None)
    annotations = dataset.get('annotations') if isinstance(dataset, dict) else None
    if not annotations or 'bbox' not in annotations[0]:  # captions, panoptic segments
        return
    for annotation in annotations:
        if annotation.get('iscrowd') is None:
            annotation['iscrowd'] = 0
    ids = [annotation['id'] for annotation in annotations]
    if 0 in ids or not all(type(key) is int for key in ids):
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number
        coco.createIndex()
        coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
