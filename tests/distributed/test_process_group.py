"""Tools leave a group of processes in order where all leave it, and let a dead one be seen."""

import argparse
import sys
from datetime import timedelta

import pytest
import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from sortkd_det.cli.errors import run_tool
from sortkd_det.hooks import EXIT_STOPPED


@pytest.fixture(autouse=True)
def closed():
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def run(monkeypatch, processes, ending):
    """Run a tool that opens a group and ends so; its exit status."""

    def main(args):
        if processes == 1:
            store = distributed.HashStore()
            distributed.init_process_group('gloo', rank=0, world_size=1, store=store)
            distributed.all_reduce(torch.ones(1))
        else:  # nobody else is there
            distributed.init_process_group(
                'fake',
                rank=0,
                world_size=processes,
                store=FakeStore(),
                timeout=timedelta(seconds=5),
            )
        if ending is not None:
            raise ending

    monkeypatch.setattr(sys, 'argv', ['tool'])
    parser = argparse.ArgumentParser()
    parser.add_argument('--debug', action='store_true')
    try:
        run_tool(main, parser)
    except SystemExit as left:
        return left.code
    return 0


@pytest.mark.parametrize(
    ('ending', 'code', 'is_left'),
    [
        (None, 0, True),
        (SystemExit(EXIT_STOPPED), EXIT_STOPPED, True),  # told to stop: all together
        (SystemExit(1), 1, False),
        (ValueError('the disk of this one is full'), 1, False),
        (KeyboardInterrupt(), 130, False),
    ],
    ids=repr,
)
@pytest.mark.parametrize('processes', [1, 2])
def test_who_leaves_together_closes_the_group(monkeypatch, processes, ending, code, is_left):
    """A process alone always can; one of several that died leaves it to the launcher."""
    assert run(monkeypatch, processes, ending) == code
    assert distributed.is_initialized() != (is_left or processes == 1)


def test_tools_without_a_group_need_none(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool'])
    run_tool(lambda args: None, argparse.ArgumentParser())
    assert not distributed.is_initialized()
