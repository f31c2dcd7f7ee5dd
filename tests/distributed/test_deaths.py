"""A process that dies ends the job."""

import re

import pytest
from many_processes import classifier, detector, train


def assert_ended(printed, code, now, message):
    """The whole job failed, soon after the process said that it dies, and tells why."""
    assert code != 0
    (died,) = re.findall(r'process \d, \w+ at ([\d.]+)', printed)
    print(f'the job ended {now - float(died):.0f} s after the process died')
    assert now - float(died) < 60
    assert message in printed


@pytest.mark.parametrize(
    ('strike', 'message'),
    [
        (dict(how='raise'), 'the memory of this process is gone'),
        pytest.param(dict(how='exit'), 'exitcode  : 3', marks=pytest.mark.slow),
        pytest.param(dict(how='kill'), 'Signal 9 (SIGKILL)', marks=pytest.mark.slow),
        pytest.param(dict(how='kill', rank=0), 'Signal 9 (SIGKILL)', marks=pytest.mark.slow),
        pytest.param(dict(how='kill', mode='predict'), 'Signal 9', marks=pytest.mark.slow),
    ],
)
def test_a_process_that_dies_ends_the_job(strike, message, pictures, teacher_weights, tmp_path):
    cfg = classifier(pictures, teacher_weights)
    cfg.train_cfg.val_begin = 1
    cfg.custom_hooks.append(dict(type='Strike', **strike))
    assert_ended(*train(cfg, tmp_path), message)


@pytest.mark.slow
def test_a_detectors_process_that_dies_ends_the_job_and_its_workers(
    toy_data, random_teacher, tmp_path
):
    cfg = detector(toy_data, random_teacher)
    cfg.custom_imports = dict(imports=['sortkd_det.detection', 'worker'])
    for stage in ('rpn', 'rcnn'):
        cfg.model.train_cfg[stage].sampler.type = 'RandomSampler'
    cfg.train_dataloader.update(batch_size=1, num_workers=2, persistent_workers=True)
    cfg.custom_hooks.append(dict(type='Strike', how='kill', rank=3))
    assert_ended(*train(cfg, tmp_path, processes=4), 'Signal 9 (SIGKILL)')
