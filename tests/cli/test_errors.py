"""How a tool ends: interrupted, with one line, or with a traceback."""

import argparse
import contextlib
import logging
import sys

import cv2
import pytest

from sortkd_det.cli.errors import run_tool


def ends(error, monkeypatch, debug=False):
    """Run a tool that raises ``error``."""

    def main(args):
        raise error

    parser = argparse.ArgumentParser()
    parser.add_argument('--debug', action='store_true')
    monkeypatch.setattr(sys, 'argv', ['tool', *(['--debug'] if debug else [])])
    run_tool(main, parser)


@pytest.mark.parametrize(
    ('error', 'code', 'says'),
    [
        (KeyboardInterrupt(), 130, '\ninterrupted\n'),
        (KeyboardInterrupt('to go on: make demo'), 130, '\nto go on: make demo\n'),
        (SystemExit(75), 75, ''),  # a run that SIGTERM stopped
    ],
)
def test_an_interrupted_run_is_no_error(monkeypatch, capsys, error, code, says):
    with pytest.raises(SystemExit) as stopped:
        ends(error, monkeypatch)
    assert stopped.value.code == code
    assert capsys.readouterr().err == says


def test_output_that_nobody_reads_any_more_is_no_error(run_python):
    code = (
        'import argparse, os, sys\n'
        'from sortkd_det.cli.errors import run_tool\n'
        'reads, writes = os.pipe()\n'
        'os.dup2(writes, 1)\n'
        'os.close(reads)\n'
        'run_tool(lambda args: print("x" * 10**6), argparse.ArgumentParser())\n'
    )
    done = run_python('-c', code, check=False)
    assert (done.returncode, done.stderr) == (1, '')


def test_a_pipe_that_breaks_elsewhere_is_an_error(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        ends(BrokenPipeError(32, 'Broken pipe'), monkeypatch)
    assert 'Broken pipe (' in capsys.readouterr().err


def test_an_image_that_opencv_refuses_is_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        ends(cv2.error('OpenCV: too many pixels in an image'), monkeypatch)
    assert stopped.value.code == 1
    assert 'error: OpenCV: too many pixels in an image (' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'debug'),
    [
        (ValueError('what a user can mend'), True),
        (AttributeError('a mistake of the program'), False),
        (KeyError('a_key'), False),
        (AssertionError(), False),
    ],
)
def test_a_traceback_is_shown_on_demand_and_where_a_line_would_not_help(monkeypatch, error, debug):
    with contextlib.suppress(SystemExit), pytest.raises(type(error)):
        ends(error, monkeypatch, debug)


def test_an_error_names_no_address_of_an_object(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        ends(TypeError(f"unexpected 'x' in {logging.Formatter()}, {logging}"), monkeypatch)
    assert f"error: unexpected 'x' in Formatter, {logging} (" in capsys.readouterr().err


def test_a_warning_for_users_is_one_line(run_python):
    code = (
        'import argparse, sys, warnings\n'
        'from sortkd_det.cli.errors import run_tool\n'
        'def main(args):\n'
        "    warnings.warn('2 of 3 boxes are left out')\n"
        "    warnings.warn('an old name', FutureWarning)\n"
        'sys.argv = ["tool"]\n'
        'run_tool(main, argparse.ArgumentParser())\n'
    )
    said = run_python('-c', code).stderr.splitlines()
    assert 'warning: 2 of 3 boxes are left out' in said
    assert '<string>:5: FutureWarning: an old name' in said
    assert not any('warnings.warn(' in line for line in said)


def test_a_process_prints_one_line_and_exits_1(run_python, tmp_path):
    done = run_python('tools/train.py', 'no/config.py', '--work-dir', tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout == ''
    expected = 'error: config file no/config.py does not exist (--debug shows the traceback)'
    assert done.stderr.strip() == expected
    done = run_python('tools/train.py', 'no/config.py', '--debug', check=False)
    assert done.returncode == 1
    assert 'Traceback' in done.stderr


def test_the_former_name_of_a_command_names_the_present_one(run_python):
    old = run_python('tools/voc_to_coco.py', 'a b', '--classes', 'x', '--out', 'y', check=False)
    assert old.returncode == 1
    command = "python tools/to_coco.py voc 'a b' --classes x --out y"
    assert f'has become tools/to_coco.py; run: {command}\n' in old.stderr
