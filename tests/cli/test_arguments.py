"""The options that the tools share: what is taken, what is refused, and how soon."""

import time

import pytest
from command_lines import REPO


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
