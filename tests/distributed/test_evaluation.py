"""Several processes find the metrics that one finds."""

import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from many_processes import MANY, REPO, classifier, launch, seven_tests, train
from mmengine.config import Config

from sortkd_det.cli.config import set_data_root


@pytest.mark.parametrize('processes', MANY)
def test_accuracy_of_uneven_batches_is_that_of_one_process(results, processes):
    (one,) = results['accuracy', 1]
    assert 0 < one['metrics']['accuracy/top1'] < 100
    for process in results['accuracy', processes]:
        confidence = process['metrics'].pop('confidence/mean')
        assert confidence == pytest.approx(one['metrics']['confidence/mean'], rel=1e-5)
        assert process['metrics'].items() <= one['metrics'].items()
        assert len(process['metrics']) == 5


@pytest.mark.parametrize('processes', MANY)
def test_average_precision_of_uneven_batches_is_that_of_one_process(results, processes):
    (one,) = results['precision', 1]
    assert 0.1 < one['metrics']['coco/bbox_mAP'] < 0.9
    for process in results['precision', processes]:
        assert process['metrics'] == one['metrics']


def test_the_validation_is_of_the_model_that_is_saved(results, folder):
    """Each process has its own statistics of batch norm; the first one's are saved."""
    (log,) = (folder / 'whole/2').glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    (validated,) = (entry for entry in entries if 'confidence/mean' in entry)
    (saved,) = results['validated', 1]
    assert validated['confidence/mean'] == pytest.approx(saved['metrics']['confidence/mean'])


def test_the_teacher_is_tested_on_as_many_images_as_in_one_process(results, folder):
    found = []
    for processes in (1, 2):
        (log,) = (folder / f'checked/{processes}').glob('*/*.log')
        found += re.findall('teacher on .* images of the validation set.*', log.read_text())
    assert len(found) == 2
    assert found[0] == found[1]


def results_of_both(arguments, folder):
    """Metrics and predictions by tools/test.py and, on two processes, by tools/dist_test.sh."""
    for processes, command in (
        (1, [sys.executable, 'tools/test.py', *arguments]),
        (2, ['bash', 'tools/dist_test.sh', *arguments, 2]),
    ):
        out = folder / f'{processes}.pkl'
        printed, code = launch([*command, '--work-dir', folder / 'test', '--out', out], 240)
        assert code == 0, printed[-4000:]
        (path,) = re.findall(r'wrote .*, (\S+\.json); log', printed)
        metrics = json.loads(Path(path).read_text())
        yield {k: v for k, v in metrics.items() if 'time' not in k}, pickle.loads(out.read_bytes())


@pytest.mark.slow
def test_the_tools_give_a_classifier_the_same_accuracy(
    pictures, teacher_weights, tmp_path, tmp_path_factory
):
    cfg = classifier(seven_tests(pictures, tmp_path_factory), teacher_weights)
    cfg.test_dataloader.batch_size = 3
    cfg.test_evaluator.per_class = True
    printed, code, _ = train(cfg, tmp_path)
    assert code == 0, printed[-4000:]
    (one, _), (two, _) = results_of_both(
        [tmp_path / 'config.py', tmp_path / 'work/epoch_1.pth'], tmp_path
    )
    assert one == two
    assert len(one) == 5
    assert one['accuracy/top1'] % 100 > 0


@pytest.mark.slow
def test_the_tools_give_a_detector_the_same_boxes(
    toy_data, random_teacher, save_random_weights, tmp_path
):
    cfg = Config.fromfile(REPO / 'configs/toy/student.py')
    set_data_root(cfg, str(toy_data))
    cfg.test_dataloader.update(batch_size=2)  # 3 + 3 images on two processes
    save_random_weights(cfg, tmp_path / 'student.pth')
    cfg.dump(tmp_path / 'config.py')
    (one, boxes), (two, again) = results_of_both(
        [tmp_path / 'config.py', tmp_path / 'student.pth'], tmp_path
    )
    assert one == two
    assert [image['img_id'] for image in boxes] == [image['img_id'] for image in again]
    for image, same in zip(boxes, again, strict=True):
        assert len(image['pred_instances']['scores']) > 0
        for key, value in image['pred_instances'].items():
            torch.testing.assert_close(same['pred_instances'][key], value)
