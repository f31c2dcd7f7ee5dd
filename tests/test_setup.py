"""tools/setup_env.sh says which step failed and what to do; nothing is installed here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


@pytest.fixture
def setup(tmp_path):
    """Run the script in a copy of what it reads, with an environment of its own."""
    for name in ('tools/setup_env.sh', 'requirements', 'setup.py', 'sortkd_det/version.py'):
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
