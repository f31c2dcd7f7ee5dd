"""The options that the tools share: what is taken, what is refused, and how soon."""

import time

import pytest
from command_lines import REPO

from sortkd_det.cli.arguments import default_work_dir


@pytest.mark.parametrize(
    ('command', 'says'),
    [
        ('train.py', 'train.py: error: the following arguments are required: config'),
        ('list_methods.py all', 'list_methods.py: error: unrecognized arguments: all'),
        (
            'train.py x.py --launcher ssh',
            "train.py: error: argument --launcher: invalid choice: 's",
        ),
        (
            'train.py x.py --cfg-options a',
            'train.py: error: --cfg-options takes key=value, lists as',
        ),
        (
            'train.py x.py --cfg-options a=[dict(b=1,c=2)]',
            'within a dict is reached by dots, as in method.0.processors.0.sort_columns=classes',
        ),
        (
            'test.py x.py x.pth --cfg-options a=[1,(2]',
            'error: --cfg-options takes key=value, lists',
        ),
        ('demo.py --num-val 1.5', "demo.py: error: argument --num-val: invalid int value: '1.5'"),
        ('to_coco.py voc x --out x', 'error: the following arguments are required: --classes'),
        ('to_coco.py coco x', "error: argument {voc,yolo}: invalid choice: 'coco'"),
        ('reproduce.py x --methods', 'error: argument --methods: expected at least one argument'),
    ],
)
def test_a_command_line_that_is_none_exits_2(end_of, command, says):
    stopped, line = end_of(command)
    assert stopped.code == 2
    assert says in line


def test_options_are_read_as_mmengine_reads_them(parse):
    args = parse('train.py x.py --method kd --cfg-options a.b=1 c=[1,2] --cfg-options d=x')
    assert args.method == 'kd'
    assert args.cfg_options == {'a.b': 1, 'c': [1, 2], 'd': 'x'}
    assert parse('train.py x.py').cfg_options is None


@pytest.mark.parametrize('tool', sorted(path.name for path in REPO.glob('tools/*.py')))
def test_help_is_there_within_a_second_for_nothing_heavy_is_imported(run_python, tool):
    if tool == 'voc_to_coco.py':
        pytest.skip('it names its successor, whatever it is given')
    script = (
        'import runpy, sys\n'
        f'sys.argv = ["tools/{tool}", "--help"]\n'
        'try:\n'
        '    runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'except SystemExit:\n'
        '    print(sorted({"torch", "mmengine", "numpy"} & set(sys.modules)))\n'
    )
    start = time.perf_counter()
    said = run_python('-c', script).stdout
    assert said.startswith('usage: ')
    assert said.endswith('[]\n')
    assert time.perf_counter() - start < 5  # 0.2 s where nothing else runs


def test_the_images_of_a_training_set_are_called_so_by_all_tools_and_once_otherwise(parse):
    table = 'reproduce.py x.py --methods kd'
    for command in (table, 'analyze_teacher.py x.py'):
        assert parse(f'{command} --images 7').images == 7
    assert parse(f'{table} --num-images 7').images == 7  # as it was


def test_work_dirs_are_under_the_current_folder(parse, load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for tool, command, folder in (
        ('analyze_teacher.py', 'x/gfl.py --teacher y/r50.py', 'analyze_teacher/gfl/r50'),
        ('compare.py', '--student x/gfl.py', 'compare/gfl'),
        (
            'compare.py',
            '--student mmdet::gfl/gfl_r50_fpn_1x_coco.py',
            'compare/gfl_r50_fpn_1x_coco',
        ),
    ):
        found = load_tool(tool).work_dir_of(parse(f'{tool} {command}'))
        assert found.absolute() == tmp_path / 'work_dirs' / folder
    assert default_work_dir('reproduce', 'cifar100.py').absolute() == (
        tmp_path / 'work_dirs/reproduce/cifar100'
    )
