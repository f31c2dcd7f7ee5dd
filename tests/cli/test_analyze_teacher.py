"""tools/analyze_teacher.py: through its own main, on generated images."""

import json
import shlex

import pytest
from command_lines import ON_PICTURES, ON_TOY, REPO

BY_TOY_TEACHER = '--teacher configs/toy/teacher.py --teacher-checkpoint {teacher}'
BY_RESNET14 = '--teacher resnet14 --teacher-checkpoint {resnet14}'
DETECTOR = f'analyze_teacher.py configs/toy/student.py {BY_TOY_TEACHER} --images 8 {ON_TOY}'
WRITTEN = ('teacher.json', 'teacher.png', 'confusion.png', 'report.html')
CLASSIFIER = f'analyze_teacher.py configs/clothing/student.py {BY_RESNET14} {ON_PICTURES}'


@pytest.fixture
def analyze(given, load_tool, monkeypatch, capsys):
    """``analyze(command)``: run it; what it printed, and what its JSON holds."""
    monkeypatch.chdir(REPO)

    def run(command):
        name, *arguments = shlex.split(command.format_map(given))
        tool = load_tool(name)
        tool.main(tool.get_parser().parse_args(arguments))
        return capsys.readouterr().out, json.loads((given['work'] / 'teacher.json').read_text())

    return run


def written(folder):
    """Names of what is in the work dir, but for MMEngine's own folder of logs."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_detector(analyze, given):
    printed, found = analyze(DETECTOR)
    assert found['images'] == 8
    assert (found['teacher'], found['adapter']) == ('FasterRCNN', 'RoIHeadAdapter')
    assert (found['rows_of'], found['activation']) == ('teacher', 'softmax')
    assert found['checkpoint'] == str(given['teacher'])
    assert len(found['columns']) == 13
    rows = {name: group['rows'] for name, group in found['groups'].items()}
    assert rows.pop('all rows') == sum(rows.values())
    assert rows['GT boxes'] == sum(row['truth_rows'] for row in found['classes'])
    for group in found['groups'].values():
        assert group['error'] == pytest.approx(group['changes']['sort']['share_changed'])
        assert 0 <= group['ece'] <= 1
    assert 'GT boxes' in printed
    *_, verdict, last = printed.splitlines()
    assert verdict == found['verdict']
    paths = [str(given['work'] / name) for name in WRITTEN]
    assert last.startswith(f'wrote {", ".join(paths)}; log in {given["work"]}')
    assert written(given['work']) == {'student.py', *WRITTEN}


def test_a_classifier(analyze, given):
    printed, found = analyze(CLASSIFIER)
    assert list(found['groups']) == ['all rows']
    assert found['groups']['all rows']['rows'] == found['images'] == 12
    assert found['adapter'] == 'ClassifierAdapter'
    assert {row['name']: row['rows'] for row in found['classes']} == {
        'blue': 4,
        'green': 4,
        'red': 4,
    }
    wrong = sum(each['rows'] for each in found['confusions'])
    assert found['groups']['all rows']['error'] == pytest.approx(wrong / 12)
    assert 'background' not in printed.split('the teacher on training rows')[1]
    assert written(given['work']) == {'student.py', *WRITTEN}


def test_a_config_that_distils_has_its_own_teacher(analyze, given, tmp_path):
    config = tmp_path / 'distilled.py'
    config.write_text(
        f"_base_ = '{REPO}/configs/toy/student.py'\n"
        "custom_hooks = [dict(type='sortkd_det.DistillHook', method=[dict(loss='KDLoss')],\n"
        f"    teacher=dict(config='{REPO}/configs/toy/teacher.py',\n"
        f"    checkpoint='{given['teacher']}'))]\n"
    )
    _, found = analyze(f'analyze_teacher.py {config} --images 4 --rows-of student {ON_TOY}')
    assert (found['images'], found['rows_of']) == (4, 'student')


@pytest.mark.parametrize(
    ('command', 'exception', 'says'),
    [
        pytest.param(
            f'analyze_teacher.py configs/toy/student.py {ON_TOY}',
            ValueError,
            'no teacher named: give --teacher CONFIG and --teacher-checkpoint PATH',
            id='no teacher',
        ),
        pytest.param(
            DETECTOR.replace('--images 8', '--images 0'),
            ValueError,
            '--images must be at least 1',
            id='no images',
        ),
        pytest.param(
            DETECTOR.replace('{teacher}', 'nowhere.pth'),
            FileNotFoundError,
            'nowhere.pth',
            id='no checkpoint',
        ),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_a_line(is_refused, command, exception, says):
    is_refused(command, exception, says)


def test_by_default_it_writes_beside_no_training(load_tool, parse):
    tool = load_tool('analyze_teacher.py')
    args = parse('analyze_teacher.py configs/toy/student.py --teacher configs/toy/teacher.py')
    assert str(tool.work_dir_of(args)) == 'work_dirs/analyze_teacher/student/teacher'
    args = parse('analyze_teacher.py configs/cifar100.py --pair resnet56-resnet20')
    assert str(tool.work_dir_of(args)) == 'work_dirs/analyze_teacher/cifar100/resnet56-resnet20'
