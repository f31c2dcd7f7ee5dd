"""Small COCO annotations, and what the checks find in data sets of them."""

from mmengine.config import Config

from sortkd_det.detection.data_checks import check_data

CLASSES = ('cat', 'dog')
TRAIN = ('train_dataloader',)
VAL = ('val_dataloader',)


def coco(num_images=3, first_id=1, **changes):
    """Annotations of images with two boxes each; ``changes`` go into each annotation."""
    images = [
        {'id': first_id + i, 'file_name': f'{i}.png', 'width': 80, 'height': 60}
        for i in range(num_images)
    ]
    annotations = [
        {
            'id': number,
            'image_id': first_id + (number - 1) // 2,
            'category_id': 7 + number % 2,
            'bbox': [10 + (number - 1) % 6, 5, 40, 30],
            'area': 1200,
        }
        | changes
        for number in range(1, 2 * num_images + 1)
    ]
    categories = [{'id': 8, 'name': 'cat'}, {'id': 7, 'name': 'dog'}]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def found(dataset, evaluator=None, loader=TRAIN, **options):
    """Messages of what is found."""
    return [each.message for each in report_of(dataset, evaluator, loader, **options).findings]


def report_of(dataset, evaluator=None, loader=TRAIN, **options):
    cfg = {loader[0]: dict(dataset=dataset)}
    if evaluator is not None:
        cfg[loader[0].replace('dataloader', 'evaluator')] = evaluator
    return check_data(Config(cfg), loader, **options)


def only(messages):
    (message,) = messages
    return message
