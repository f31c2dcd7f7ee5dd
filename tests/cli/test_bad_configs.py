"""Config files that are none, or not any more."""

import pytest

ROWS = [
    pytest.param(
        'train.py no/config.py',
        FileNotFoundError,
        'config file no/config.py does not exist',
        id='no such file',
    ),
    pytest.param(
        'train.py configs/toy',
        FileNotFoundError,
        'config file configs/toy does not exist',
        id='a folder',
    ),
    pytest.param(
        'train.py {text}',
        ValueError,
        'text.txt cannot be read: OSError: Only py/yml/yaml/json type are supported',
        id='no Python',
    ),
    pytest.param(
        'student_config.py {syntax}',
        ValueError,
        ['syntax.py cannot be read: SyntaxError:', 'was never closed', 'line 2'],
        id='a syntax error',
    ),
    pytest.param(
        'train.py {undefined}',
        ValueError,
        ["cannot be read: NameError: name 'sgd' is not defined (", 'undefined.py, line 2)'],
        id='an unknown name',
    ),
    pytest.param(
        'train.py {lost_base}',
        ValueError,
        ['lost_base.py cannot be read:', 'No such file or directory:', 'nowhere.py'],
        id='no base file',
    ),
    pytest.param(
        'student_config.py {lost_variable}',
        ValueError,
        ["object has no attribute 'method' (", 'lost_variable.py, line 2)'],
        id='no such variable in the base file',
    ),
    pytest.param(
        'train.py {lost_module}',
        ValueError,
        [
            'cannot be read: ImportError: Failed to import',
            "No module named 'no_such_module'; the folder of a module of your own must be on PYTH",
        ],
        id='a module that cannot be imported',
    ),
    pytest.param(
        'train.py {empty} --data-root {toy}',
        ValueError,
        '--data-root: this config names no data_root that could be replaced',
        id='no data root to replace',
    ),
    pytest.param(
        'train.py configs/cifar100.py --method kd',
        ValueError,
        ['--pair must be one of resnet56-resnet20,', '; got None'],
        id='no pair chosen',
    ),
    pytest.param(
        'student_config.py configs/clothing/student.py --pair vgg13-vgg8',
        ValueError,
        "--pair must be one of resnet20-resnet8; got 'vgg13-vgg8'",
        id='an unknown pair',
    ),
    pytest.param(
        'train.py configs/toy/student.py --pair a-b',
        ValueError,
        '--pair a-b: this config has no table of pairs',
        id='a pair where there are none',
    ),
    pytest.param(
        'train.py configs/coco/frcnn_r50_mv2_dkd_1x.py',
        FileNotFoundError,
        [
            'configs/coco/frcnn_r50_mv2_dkd_1x.py does not exist any more;',
            ': python tools/train.py configs/coco/frcnn_mv2_1x.py --teacher '
            'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py --method dkd',
        ],
        id='a former recipe of COCO',
    ),
    pytest.param(
        'train.py configs/cifar100/sortkd.py --pair resnet56-resnet20',
        FileNotFoundError,
        [
            'does not exist any more;',
            ': python tools/train.py configs/cifar100.py --pair TEACHER-STUDENT --method sortkd',
        ],
        id='a former recipe of CIFAR-100',
    ),
    pytest.param(
        'test.py configs/imagenet/student.py x.pth',
        FileNotFoundError,
        'python tools/train.py configs/imagenet.py --pair TEACHER-STUDENT (',
        id='a former student of ImageNet',
    ),
    pytest.param(
        'train.py configs/toy/sortkd.py',
        FileNotFoundError,
        'python tools/train.py configs/toy/student.py --teacher configs/toy/teacher.py '
        '--teacher-checkpoint PATH --method sortkd',
        id='a former recipe of the toy set',
    ),
    pytest.param(
        'train.py configs/clothing/ranking.py',
        FileNotFoundError,
        'python tools/train.py configs/clothing/student.py --method ranking',
        id='a former recipe of the clothes',
    ),
    pytest.param(
        'train.py configs/bccd/frcnn_r101_r18_sortkd.py',
        FileNotFoundError,
        'python tools/train.py configs/bccd/frcnn_r18.py --teacher '
        'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py --teacher-checkpoint PATH '
        '--method sortkd',
        id='the former full-size recipe of BCCD',
    ),
    pytest.param(
        'train.py configs/toy/sortkdd.py',
        FileNotFoundError,
        'config file configs/toy/sortkdd.py does not exist (',
        id='a recipe that there never was',
    ),
    pytest.param(
        'train.py mmdet::retinanet/retinanet_r18.py',
        FileNotFoundError,
        [
            'config mmdet::retinanet/retinanet_r18.py does not exist; expected the path of a file',
            "got 'retinanet/retinanet_r18.py'",
        ],
        id="none of MMDetection's",
    ),
    pytest.param(
        'train.py mmdett::retinanet/retinanet_r18_fpn_1x_coco.py',
        ValueError,
        'there is no package mmdett here; expected mmdet::…',
        id='of a package that is not there',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
