"""Config files that were published once: what is said in their place."""

import pytest
from command_lines import REPO

from sortkd_det.cli.former import successor_of


@pytest.mark.parametrize(
    ('path', 'arguments'),
    [
        (
            'configs/coco/frcnn_r101_r18_kd.py',
            'configs/coco/frcnn_r18.py --teacher '
            'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py --method kd',
        ),
        (
            '/somewhere/configs/coco/frcnn_r50_mv2_sortdkd_1x.py',
            'configs/coco/frcnn_mv2_1x.py --teacher '
            'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py --method sortdkd',
        ),
        (
            'configs/bccd/sortkd.py',
            'configs/bccd/student.py --teacher configs/bccd/teacher.py --teacher-checkpoint PATH '
            '--method sortkd',
        ),
        ('configs/cifar100/mlkd.py', 'configs/cifar100.py --pair TEACHER-STUDENT --method mlkd'),
        ('configs/tiny_imagenet/student.py', 'configs/tiny_imagenet.py --pair TEACHER-STUDENT'),
        ('configs/imagenet/', 'configs/imagenet.py --pair TEACHER-STUDENT --method METHOD'),
        ('configs/clothing/sortctkd.py', 'configs/clothing/student.py --method sortctkd'),
        ('configs/clothing/shoes.py', None),
        ('configs/coco/frcnn_r101.py', None),
        ('my_configs/sortkd.py', None),
    ],
)
def test_a_former_recipe_names_what_says_the_same_today(path, arguments):
    assert successor_of(path) == arguments
    if arguments:
        assert (REPO / arguments.split()[0]).is_file()
