"""Command lines, run in this process, and how they end."""

import argparse
import importlib.util
import re
import shlex
import sys

import pytest
import torch
from command_lines import REPO, Given
from mmengine.config import Config

from sortkd_det.cli.errors import run_tool


@pytest.fixture
def given(tmp_path, toy_data, random_teacher, pictures, teacher_weights):
    return Given(
        tmp_path, toy=toy_data, teacher=random_teacher, pictures=pictures, resnet14=teacher_weights
    )


@pytest.fixture
def load_tool():
    """A tool as a module, by its file's name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f'tool_{name}', REPO / 'tools' / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def end_of(given, load_tool, monkeypatch, capsys):
    """Run a command line in this process: how it exits, and the last line of its errors."""
    monkeypatch.chdir(REPO)
    monkeypatch.delenv('RANK', raising=False)
    # Most of the time would go into three times formatting a config for logs, and waiting for a
    # worker to end.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: repr(self)))
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.1)

    def run(command):
        name, *arguments = shlex.split(command.format_map(given))
        monkeypatch.setattr(sys, 'argv', [f'tools/{name}', *arguments])
        tool = load_tool(name)
        with pytest.raises(SystemExit) as stopped:
            run_tool(tool.main, tool.get_parser())
        return stopped.value, capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.fixture
def is_refused(end_of, given):
    """Check that a command line ends in one line that says this, or these one after another."""

    def check(command, exception, says):
        stopped, line = end_of(command)
        assert isinstance(stopped.__context__, exception)
        assert stopped.code == 1
        assert line.startswith('error: ')
        assert re.search(r' \((--debug shows the traceback|the traceback is in .+\.log)\)$', line)
        rest = line
        for part in [says] if isinstance(says, str) else says:
            assert part in rest, line
            rest = rest.split(part, 1)[1]
        assert not list(given['work'].glob('*.pth'))

    return check


@pytest.fixture
def parse(load_tool):
    """The arguments of a tool from its command line: ``parse('train.py x.py --method kd')``."""

    def arguments(command) -> argparse.Namespace:
        name, *rest = shlex.split(command)
        return load_tool(name).get_parser().parse_args(rest)

    return arguments
