"""Teachers that cannot teach."""

import pytest
import torch
from command_lines import DETECTOR, DISTIL, ON_TOY, REPO, TAUGHT
from mmengine.config import Config

from sortkd_det.checkpoints import CheckpointRefused

ROWS = [
    pytest.param(
        TAUGHT + ' --teacher-checkpoint no/such.pth',
        FileNotFoundError,
        'checkpoint no/such.pth does not exist',
        id='no such file',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {pictures}',
        FileNotFoundError,
        ['checkpoint', 'pictures', 'is a folder, expected a file in it'],
        id='a folder',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {text}',
        ValueError,
        'text.txt is not a PyTorch checkpoint, or is damaged',
        id='a text',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {empty}',
        ValueError,
        'empty.py is not a PyTorch checkpoint, or is damaged',
        id='an empty file',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {cut}',
        ValueError,
        'cut.pth is not a PyTorch checkpoint, or is damaged',
        id='a file that was cut off',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {no_weights}',
        ValueError,
        ['holds no weights: expected a dict of tensors,', "; its keys are ['epoch']"],
        id='no weights',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {with_object}',
        CheckpointRefused,
        ['loading it could run code', 'save its weights alone'],
        id='an object',
    ),
    pytest.param(
        TAUGHT + ' --teacher resnet20',
        ValueError,
        ['do not fit this cifar/resnet20', '30 missing: layer1.2.conv1.weight'],
        id='another network',
    ),
    pytest.param(
        DISTIL + ' --teacher configs/toy/student.py',
        ValueError,
        ['do not fit this FasterRCNN', 'of another shape: backbone.conv1.weight (32,'],
        id='another detector',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {renamed}',
        ValueError,
        ['8 missing: conv1.weight;', '… | 9 unexpected: other.0; other.1;'],
        id='a few other names',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {renamed_class}',
        ValueError,
        "only the teacher has ['Red'], only the student ['red']; expected a teacher that has all",
        id='another name of a class',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {fewer_classes}',
        ValueError,
        "2 and 3; only the teacher has [], only the student ['red']; expected a teacher",
        id='a class less',
    ),
    pytest.param(
        TAUGHT + ' --teacher-checkpoint {reversed_classes}',
        ValueError,
        "class 0 is 'red' for the teacher and 'blue' here; give metainfo.classes",
        id='another order of classes',
    ),
    pytest.param(
        TAUGHT + ' teacher.config.model.num_classes=4 --teacher-checkpoint {four_classes}',
        ValueError,
        'differ in their number of classes: 4 and 3; expected the same classes',
        id='another number of classes',
    ),
    pytest.param(
        TAUGHT + ' --teacher configs/toy/teacher.py --teacher-checkpoint {teacher}',
        ValueError,
        'teacher and student differ in their classes: 12 and 3; only the teacher has',
        id='a detector for a classifier',
    ),
    pytest.param(
        'train.py {no_checkpoint} ' + ON_TOY,
        ValueError,
        'no teacher named: give its weights by --teacher-checkpoint PATH',
        id='none',
    ),
    pytest.param(
        DISTIL + ' teacher.checkpoint=other.pth',
        ValueError,
        'teacher given twice: by --teacher-checkpoint and by --cfg-options',
        id='two',
    ),
    pytest.param(
        DETECTOR + ' --teacher-checkpoint {teacher}',
        ValueError,
        '--teacher-checkpoint: this config has no sortkd_det.DistillHook in custom_hooks',
        id='one for a student that is trained alone',
    ),
    pytest.param(
        TAUGHT + ' teacher=[1]',
        TypeError,
        'teacher must be dict(config=…, checkpoint=…), got [1]',
        id='a list',
    ),
    pytest.param(
        TAUGHT + ' teacher.weights=x',
        TypeError,
        ['teacher takes config, checkpoint, cfg_options, dtype,', "got ['weights'] too"],
        id='a misspelled argument',
    ),
    pytest.param(
        TAUGHT + ' teacher.cfg_options=x',
        TypeError,
        "teacher.cfg_options must be dict('model.…': …), got 'x'",
        id='options that are none',
    ),
    pytest.param(
        DISTIL + ' teacher.config=no/teacher.py',
        FileNotFoundError,
        'config file no/teacher.py does not exist',
        id='no config',
    ),
    pytest.param(
        DISTIL + ' teacher.config={syntax}',
        ValueError,
        'syntax.py cannot be read: SyntaxError',
        id='a config that cannot be read',
    ),
    pytest.param(
        DISTIL + ' teacher.config={odd_teacher}',
        ValueError,
        ['the teacher cannot be built from', 'odd_teacher.py:', "keyword argument 'pretraind'"],
        id='a config with a misspelled argument',
    ),
    pytest.param(
        DISTIL + ' teacher.config={unknown_teacher}',
        ValueError,
        ['the teacher cannot be built from', ": unknown model 'FasterRCN'; is one", 'meant:'],
        id='a config of an unknown model',
    ),
    pytest.param(
        DISTIL + ' teacher.config={old_teacher}',
        ValueError,
        ['2.x whose Normalize and Pad cannot be read', '; add to its model: data_preprocessor'],
        id='a config of MMDetection 2.x that cannot be read',
    ),
    pytest.param(
        DISTIL + ' teacher.config={bare_teacher}',
        ValueError,
        ['of the teacher does not tell how its images', 'Add to its model,', 'std=[58.395,'],
        id='a config without normalisation',
    ),
    pytest.param(
        DISTIL + ' teacher.config={empty}',
        ValueError,
        'the config of the teacher has no model',
        id='a config without a model',
    ),
    pytest.param(
        TAUGHT + ' check_teacher=0',
        ValueError,
        'check_teacher must be at least 1, got 0',
        id='tested on 0 images',
    ),
    pytest.param(
        'train.py configs/toy/student.py --teacher configs/toy/teacher.py',
        ValueError,
        '--teacher configs/toy/teacher.py needs a method: give --method NAME, one of ctkd, ',
        id='one without a method',
    ),
    pytest.param(
        'train.py configs/toy/student.py --teacher configs/toy/teacher.py --method kd',
        ValueError,
        '--teacher configs/toy/teacher.py needs its weights: give --teacher-checkpoint PATH',
        id='one without weights',
    ),
    pytest.param(
        'train.py configs/cifar100.py --pair resnet56-resnet20 --teacher resnet110 --method kd',
        ValueError,
        '--teacher resnet110 needs its weights: give --teacher-checkpoint PATH',
        id='another one for a pair, without weights',
    ),
    pytest.param(
        TAUGHT + ' --teacher resnet15',
        KeyError,
        ["unknown model 'sortkd_det.cifar/resnet15'; is one of these meant:", 'cifar/resnet14'],
        id='an unknown network',
    ),
    pytest.param(
        DETECTOR + ' --teacher resnet14 --teacher-checkpoint {resnet14} --method kd',
        ValueError,
        ['--teacher resnet14 is neither a config file nor mmdet::…', "give the teacher's config"],
        id="a network's name for a detector",
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)


def test_classes_are_checked_by_number_where_a_checkpoint_names_none(
    end_of, tmp_path, save_random_weights
):
    config = Config.fromfile(REPO / 'configs/toy/teacher.py')
    config.model.roi_head.bbox_head.num_classes = 7
    config.dump(tmp_path / 'seven.json')
    save_random_weights(config, tmp_path / 'seven.pth')
    checkpoint = torch.load(tmp_path / 'seven.pth', weights_only=True)
    torch.save({'state_dict': checkpoint['state_dict']}, tmp_path / 'seven.pth')
    _, line = end_of(
        f'{DISTIL} --teacher {tmp_path}/seven.json --teacher-checkpoint {tmp_path}/seven.pth'
    )
    assert 'differ in their number of classes: 7 and 12' in line
