"""What runs will cost, told from their first steps."""

import time

import pytest

from sortkd_det.cli.runner import build_runner
from sortkd_det.studies.cost import seconds_of_run


@pytest.mark.parametrize('kind', ['classifier', 'detector'])
def test_a_run_takes_about_what_was_said(kind, request, tmp_path):
    cfg = request.getfixturevalue(kind)
    cfg.val_dataloader.num_workers = cfg.train_dataloader.num_workers = 0
    if kind == 'classifier':
        cfg.train_cfg.max_epochs = 12
    said = seconds_of_run(cfg.copy())
    cfg.experiment_name = f'{tmp_path.name}-{kind}'
    runner = build_runner(cfg)
    start = time.perf_counter()
    runner.train()
    took = time.perf_counter() - start
    assert took / 10 < said < 3 * took
