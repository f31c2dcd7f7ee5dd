"""From the config of a run to its runner, in one process and as one of several."""

import pytest
from mmengine.runner import Runner

from sortkd_det.cli.launcher import is_main_process
from sortkd_det.cli.runner import build_runner
from sortkd_det.hooks import FitCheckHook, PlainCheckpointHook
from sortkd_det.training import ResumableRunner


@pytest.mark.parametrize('strict', [False, True])
def test_a_runner_can_be_resumed_and_saves_plain_checkpoints(classifier, strict):
    classifier.experiment_name = f'runner-{strict}'
    runner = build_runner(classifier, strict)
    assert type(runner) is ResumableRunner
    (check,) = (hook for hook in runner.hooks if isinstance(hook, FitCheckHook))
    assert check.strict == strict
    assert sum(isinstance(hook, PlainCheckpointHook) for hook in runner.hooks) == 1


def test_a_runner_of_ones_own_looks_into_the_work_dir_by_itself(classifier):
    classifier.update(
        experiment_name='own', runner_type='Runner', resume='auto', load_from='weights.pth'
    )
    runner = build_runner(classifier)
    assert type(runner) is Runner
    assert (runner._resume, runner._load_from) == (True, None)


@pytest.mark.parametrize(
    ('environment', 'is_main'),
    [({}, True), ({'RANK': '0'}, True), ({'RANK': '1'}, False), ({'SLURM_PROCID': '2'}, False)],
)
def test_one_process_of_all_prints(monkeypatch, environment, is_main):
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() == is_main
