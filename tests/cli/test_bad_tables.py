"""Tables of runs, and demos, that cannot be."""

import pytest
from command_lines import DEMO, REPRODUCE

ROWS = [
    pytest.param(
        REPRODUCE + ' kdd',
        FileNotFoundError,
        "no method 'kdd' in configs/_base_/methods; there are: ctkd, cwd, dist, dkd",
        id='an unknown method',
    ),
    pytest.param(
        REPRODUCE + ' kd',
        ValueError,
        '--methods must differ, got kd kd',
        id='a method twice',
    ),
    pytest.param(
        REPRODUCE + ' --pairs resnet57-resnet20',
        ValueError,
        ['--pair must be one of resnet56-resnet20,', "; got 'resnet57-resnet20'"],
        id='an unknown pair',
    ),
    pytest.param(
        REPRODUCE + ' --seeds 0 0',
        ValueError,
        '--seeds must differ, got 0 0',
        id='a seed twice',
    ),
    pytest.param(
        REPRODUCE + ' --seeds -1',
        ValueError,
        '--seeds must be at least 0, got -1',
        id='a seed below 0',
    ),
    pytest.param(
        REPRODUCE + ' --seeds 4294967296',
        ValueError,
        '--seeds must be at most 4294967295, got 4294967296',
        id='a seed that NumPy does not take',
    ),
    pytest.param(
        REPRODUCE + ' --cfg-options randomness.seed=3',
        ValueError,
        '--cfg-options randomness.seed=3: takes key=value; seeds go to --seeds',
        id='a seed as a setting',
    ),
    pytest.param(
        REPRODUCE + ' --cfg-options train_cfg.max_epochs',
        ValueError,
        '--cfg-options train_cfg.max_epochs: takes key=value',
        id='a setting without a value',
    ),
    pytest.param(
        REPRODUCE + ' --jobs 0',
        ValueError,
        '--jobs must be at least 1, got 0',
        id='0 runs at once',
    ),
    pytest.param(
        REPRODUCE + ' --gpus -1',
        ValueError,
        '--gpus must be at least 0, got -1',
        id='GPUs below 0',
    ),
    pytest.param(
        REPRODUCE + ' --dry-run --images 0',
        ValueError,
        '--images must be at least 1, got 0',
        id='0 images',
    ),
    pytest.param(
        REPRODUCE + ' --part 3/2',
        ValueError,
        '--part must be i/n with 1 ≤ i ≤ n, got 3/2',
        id='the third of two parts',
    ),
    pytest.param(
        'reproduce.py configs/toy --methods kd',
        ValueError,
        "configs/toy/student.py is a detector's: tables of accuracy/top1 are of classifiers",
        id='detectors',
    ),
    pytest.param(
        REPRODUCE + ' --work-dir {text}',
        FileExistsError,
        ['--work-dir:', 'text.txt cannot be a folder to write to'],
        id='results in a file',
    ),
    pytest.param(
        REPRODUCE + ' --work-dir {damaged_result}',
        ValueError,
        ['result.json holds no result of this tool', '; delete it to have it run anew'],
        id='a result of something else',
    ),
    pytest.param(
        REPRODUCE + ' --work-dir {other_result}',
        ValueError,
        ['was run with other options: found', '; name another --work-dir, or delete'],
        id='a result of other options',
    ),
    pytest.param(
        DEMO + ' --teacher-epochs 0',
        ValueError,
        '--teacher-epochs must be a finite number > 0, got 0',
        id='a demo of 0 epochs',
    ),
    pytest.param(
        DEMO + ' --num-val -3',
        ValueError,
        '--num-val must be a finite number > 0, got -3',
        id='a demo of images below 0',
    ),
    pytest.param(
        'demo.py --work-dir {text}',
        FileExistsError,
        ['--work-dir:', 'text.txt cannot be a folder to write to'],
        id='a demo in a file',
    ),
    pytest.param(
        DEMO + ' --data-root {pictures}',
        ValueError,
        ['is not a toy data set: it holds no toy_coco.json. Delete it', 'or name another'],
        id='a demo on other data',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
