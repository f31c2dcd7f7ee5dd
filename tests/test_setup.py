"""tools/setup_env.sh: which step failed and what to do; how mmcv's operators are compiled.

Nothing is installed here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

REPO = Path(__file__).parents[1]


@pytest.fixture
def setup(tmp_path):
    """Run the script in a copy of what it reads, with an environment of its own."""
    for name in (
        *('tools/setup_env.sh', 'tools/mmcv_cxx.sh', 'requirements'),
        *('setup.py', 'sortkd_det/version.py'),
    ):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, target)
        else:
            shutil.copy(REPO / name, target)

    def run(**environment):
        return subprocess.run(
            ['bash', 'tools/setup_env.sh'],
            cwd=tmp_path,
            env={**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache'), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/bash\n{text}\n')
    path.chmod(0o755)
    return path


def finish(tmp_path, *steps):
    """Stamps of finished steps, as the script writes them."""
    constraints = (tmp_path / 'requirements/constraints.txt').read_text().split()
    torch = next(word for word in constraints if word.startswith('torch=='))
    build = subprocess.run(
        ['cksum'], input=(tmp_path / 'requirements/build.txt').read_bytes(), capture_output=True
    ).stdout.decode()
    empty = subprocess.run(['cksum'], input=b'', capture_output=True).stdout.decode()
    keys = {'venv': empty, 'torch': torch + '\n', 'build-tools': f'{torch} {build}'}
    for step in steps:
        stamp = tmp_path / '.venv/.setup' / step
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(keys[step])


def test_a_wrong_python_is_named(setup, tmp_path):
    old = script(tmp_path / 'old', 'case "$1" in --version) echo Python 3.8.1;; *) exit 1;; esac')
    done = setup(PYTHON=str(old))
    assert done.returncode == 1
    assert 'FAILED at step "python"' in done.stderr
    assert 'Python 3.8.1' in done.stderr
    assert 'Expected a Python 3.11 or 3.12' in done.stderr
    assert not (tmp_path / '.venv').exists()


def test_no_network_is_named_and_a_rerun_picks_up_there(setup, tmp_path):
    script(tmp_path / '.venv/bin/python', 'echo NewConnectionError: no route; exit 1')
    finish(tmp_path, 'venv')
    done = setup()
    assert done.returncode == 1
    assert 'FAILED at step "torch"' in done.stderr
    assert 'check the network or proxy' in done.stderr
    script(tmp_path / '.venv/bin/python', 'echo "$@" >> calls; [[ "$*" != *build.txt* ]]')
    done = setup()
    assert 'FAILED at step "build-tools"' in done.stderr
    first, second = (tmp_path / 'calls').read_text().splitlines()
    assert 'torch==' in first
    assert 'build.txt' in second


def test_no_compiler_is_named(setup, tmp_path):
    script(tmp_path / '.venv/bin/python', 'exit 1')
    (tmp_path / '.venv/lib/python3.11/site-packages/torch-0.dist-info').mkdir(parents=True)
    finish(tmp_path, 'venv', 'torch', 'build-tools')
    done = setup(CXX='no-such-compiler')
    assert done.returncode == 1
    assert 'FAILED at step "mmcv"' in done.stderr
    assert 'no-such-compiler is not on the PATH' in done.stderr


# -- mmcv's operators --------------------------------------------------------

# A Python whose pip compiles for as long as the other packages are not there, and installs them.
PYTHON = """
echo "$@" >> $XDG_CACHE_HOME/../calls
case "$*" in
    *"sys, torch"*) PYTHONPATH=$XDG_CACHE_HOME/../fake exec {python} "$@" ;;
    *" wheel "*)
        env | grep -E '^(CXX|MMCV_CXX|FORCE_CUDA)=' > environment
        echo "building 'mmcv._ext' extension"
        for _ in $(seq 100); do
            [ -e installed ] && break
            sleep 0.1
        done
        [ -e installed ] || exit 1
        while [[ $1 != -w ]]; do shift; done
        touch "$2/mmcv-0.whl" ;;
    *"[dev,demo,fast]"*) {packages} ;;
esac
"""


@pytest.fixture
def prepared(tmp_path):
    """The environment up to mmcv, with a pip that does as it is told for the other packages.

    Its torch is built for CUDA as told, and sees no GPU.
    """
    (tmp_path / '.venv/lib/python3.11/site-packages/torch-0.dist-info').mkdir(parents=True)
    finish(tmp_path, 'venv', 'torch', 'build-tools')

    def prepare(packages, cuda=None):
        (tmp_path / 'fake').mkdir()
        (tmp_path / 'fake/torch.py').write_text(
            f'class version: cuda = {cuda!r}\nclass cuda:\n    is_available = bool\n'
        )
        text = PYTHON.replace('{python}', sys.executable).replace('{packages}', packages)
        script(tmp_path / '.venv/bin/python', text)

    return prepare


def test_other_packages_are_installed_while_mmcv_compiles(setup, tmp_path, prepared):
    prepared('touch installed')
    done = setup()
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / 'calls').read_text().splitlines()
    (compiled,) = (index for index, call in enumerate(calls) if ' wheel ' in call)
    assert '-e .[dev,demo,fast] mmdet==' in calls[compiled + 1]
    assert 'mmcv-0.whl' in calls[compiled + 2]
    assert calls[-1].endswith('import mmcv.ops')
    (tmp_path / 'calls').unlink()
    assert setup().returncode == 0
    assert not (tmp_path / 'calls').exists()  # a second call has nothing to do
    assert not (tmp_path / '.venv/precompiled').exists()


def test_no_compiler_is_left_behind_when_another_package_fails(setup, tmp_path, prepared):
    prepared('exit 1')
    done = setup()
    assert done.returncode == 1
    assert 'FAILED at step "project"' in done.stderr
    running = [
        ' '.join(process.info['cmdline'] or ()) for process in psutil.process_iter(['cmdline'])
    ]
    left = [command for command in running if str(tmp_path) in command]
    assert left == []
    assert not (tmp_path / '.venv/precompiled').exists()


@pytest.mark.parametrize(
    ('says', 'ours'), [('Copyright Free Software Foundation', True), ('clang version 14', False)]
)
def test_only_g_plus_plus_precompiles_the_header(setup, tmp_path, prepared, says, ours):
    compiler = script(tmp_path / 'cxx', f'echo {says}')
    prepared('touch installed')
    assert setup(CXX=str(compiler)).returncode == 0
    environment = environment_of_the_compile(tmp_path)
    if ours and shutil.which('flock'):
        assert environment['CXX'] == 'mmcv-g++'
        assert environment['MMCV_CXX'] == str(compiler)
    else:
        assert environment == {'CXX': str(compiler), 'FORCE_CUDA': '0'}


def environment_of_the_compile(tmp_path):
    return dict(line.split('=', 1) for line in (tmp_path / 'environment').read_text().splitlines())


@pytest.mark.parametrize(('architectures', 'cuda'), [(None, '0'), ('9.0', '1')])
def test_it_is_compiled_for_cuda_where_it_is_known_for_which_gpu(
    setup, tmp_path, prepared, monkeypatch, architectures, cuda
):
    """With nvcc, but no GPU, torch does not know, and the build ends in an IndexError."""
    script(tmp_path / 'bin/nvcc', '')
    monkeypatch.setenv('PATH', f'{tmp_path}/bin:{os.environ["PATH"]}')
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    prepared('touch installed', cuda='13.0')
    assert (
        setup(**({'TORCH_CUDA_ARCH_LIST': architectures} if architectures else {})).returncode == 0
    )
    assert environment_of_the_compile(tmp_path)['FORCE_CUDA'] == cuda


OPERATORS = [f'operator_{number:02}' for number in range(16)]
INCLUDE = '#include "pytorch_cpp_helper.hpp"\n'
SOURCES = {
    'common/pytorch_cpp_helper.hpp': '#pragma once\ninline int twice(int x) { return 2 * x; }\n',
    **{f'pytorch/{o}.cpp': INCLUDE + f'int {o}(int x) {{ return twice(x); }}\n' for o in OPERATORS},
    'pytorch/cpu/nms.cpp': INCLUDE + 'int nms(int x) { return twice(x); }\n',
    'pytorch/pybind.cpp': INCLUDE + 'int level = __OPTIMIZE__;\n',
    '../../../other.cpp': 'int other(int x) { return x; }\n',
}


@pytest.fixture
def compile_file(tmp_path):
    """Compile a file of a small mmcv by tools/mmcv_cxx.sh; the calls of g++ that it took."""
    for tool in ('g++', 'flock'):
        if not shutil.which(tool):
            pytest.skip(f'no {tool}')
    root = tmp_path / 'a b/mmcv/ops/csrc'  # folders may have spaces
    for name, text in SOURCES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / 'pch').mkdir()
    (tmp_path / 'objects').mkdir()
    logged = script(tmp_path / 'g++', f'echo "$@" >> {tmp_path}/calls; exec g++ "$@"')

    def run(name):
        (tmp_path / 'calls').write_text('')
        target = tmp_path / 'objects' / name.replace('/', '_').replace('.cpp', '.o')
        command = [
            'bash', REPO / 'tools/mmcv_cxx.sh', '-MMD', '-MF', tmp_path / 'x.d', '-g', '-O2',
            f'-I{root}/common', '-c', '-c', root / name, '-o', target, '-std=c++17',
        ]  # fmt: skip
        subprocess.run(
            list(map(str, command)),
            env={**os.environ, 'MMCV_CXX': str(logged), 'MMCV_PCH': str(tmp_path / 'pch')},
            check=True,
        )
        assert target.is_file()
        return (tmp_path / 'calls').read_text().splitlines()

    return run


def test_the_header_is_compiled_once_and_used(compile_file, tmp_path):
    header, kernel = compile_file('pytorch/cpu/nms.cpp')
    assert '-x c++-header' in header
    assert '.cpp' not in header
    assert f'-include {tmp_path}/pch/common.hpp' in kernel
    assert '-g ' not in kernel
    assert '-O1' not in kernel
    # A header that is not used would be read anew, and this change of it seen.
    (tmp_path / 'pch/common.hpp').write_text('#error read anew')
    (pybind,) = compile_file('pytorch/pybind.cpp')
    assert '-O1' in pybind
    (other,) = compile_file('../../../other.cpp')
    assert '-include' not in other
    assert '-g ' in other


def test_files_that_look_operators_up_are_compiled_together_and_each_is_there_once(
    compile_file, tmp_path
):
    for name in OPERATORS:
        compile_file(f'pytorch/{name}.cpp')
    calls = '; '.join(f'int {name}(int x)' for name in OPERATORS)
    sums = ' + '.join(f'{name}(1)' for name in OPERATORS)
    (tmp_path / 'main.cpp').write_text(f'{calls}; int main() {{ return {sums}; }}')
    objects = (tmp_path / 'objects').glob('*.o')
    subprocess.run(
        ['g++', tmp_path / 'main.cpp', *objects, '-o', tmp_path / 'main'], check=True
    )  # one that is missing, or there twice, does not link
    assert subprocess.run([tmp_path / 'main']).returncode == 2 * len(OPERATORS)


def test_a_header_that_cannot_be_compiled_costs_time_alone(compile_file, tmp_path):
    (tmp_path / 'pch/common.hpp.new').mkdir()  # where it would be written
    assert len(compile_file('pytorch/cpu/nms.cpp')) == 2
    assert len(compile_file('pytorch/operator_00.cpp')) == 1
