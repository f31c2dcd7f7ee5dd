"""Checkpoints that do not fit, or are none."""

import pytest
from command_lines import ALONE, DETECTOR, ON_PICTURES, ON_TOY, TEST

ROWS = [
    pytest.param(
        DETECTOR + ' --resume no/such.pth',
        FileNotFoundError,
        'checkpoint no/such.pth does not exist',
        id='no such file to resume from',
    ),
    pytest.param(
        ALONE + ' --resume {cut}',
        ValueError,
        'cut.pth is not a PyTorch checkpoint, or is damaged',
        id='a file to resume from that was cut off',
    ),
    pytest.param(
        ALONE + ' --resume {resnet14}',
        ValueError,
        ['no state of a run', ';', 'leave --resume out and give --cfg-options load_from='],
        id='weights to resume from',
    ),
    pytest.param(
        ALONE + ' --resume {run_of_resnet14}',
        ValueError,
        ['do not fit this cifar/resnet8', '36 unexpected: layer1.1.conv1.weight'],
        id='a run of another network to resume from',
    ),
    pytest.param(
        ALONE + ' load_from=no/such.pth',
        FileNotFoundError,
        'checkpoint no/such.pth does not exist',
        id='no such weights to begin with',
    ),
    pytest.param(
        DETECTOR + ' load_from={resnet14}',
        ValueError,
        'none of its 92 weights fits this FasterRCNN; it has conv1.weight,',
        id='weights of something else to begin with',
    ),
    pytest.param(
        'test.py configs/toy/student.py no/such.pth',
        FileNotFoundError,
        'checkpoint no/such.pth does not exist',
        id='no such file to test',
    ),
    pytest.param(
        'test.py configs/clothing/student.py {text} ' + ON_PICTURES,
        ValueError,
        'text.txt is not a PyTorch checkpoint, or is damaged',
        id='a text to test',
    ),
    pytest.param(
        'test.py configs/toy/student.py {teacher} ' + ON_TOY,
        ValueError,
        ['do not fit this FasterRCNN', '104 of another shape: backbone.conv1.weight (32,'],
        id="the teacher in the student's place",
    ),
    pytest.param(
        TEST + ' model.type=sortkd_det.cifar/resnet8',
        ValueError,
        ['do not fit this cifar/resnet8', '36 unexpected: layer1.1.conv1.weight'],
        id='a deeper network to test',
    ),
    pytest.param(
        TEST + ' model.num_classes=4',
        ValueError,
        '2 of another shape: fc.weight (3, 64), the model has (4, 64)',
        id='a network of fewer classes to test',
    ),
    pytest.param(
        TEST + ' --out predictions.json',
        ValueError,
        '--out must name a .pkl or .pickle file, got predictions.json',
        id='predictions as JSON',
    ),
    pytest.param(
        TEST + ' --out {text}/predictions.pkl',
        FileExistsError,
        ['--out:', 'text.txt cannot be a folder to write to'],
        id='predictions within a file',
    ),
    pytest.param(
        TEST + ' --tta',
        ValueError,
        '--show, --show-dir and --tta are for detectors',
        id='flips of a classifier',
    ),
    pytest.param(
        'student_config.py configs/toy/student.py --out {text}/student.py',
        FileExistsError,
        ['--out:', 'text.txt cannot be a folder to write to'],
        id="a student's config within a file",
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
