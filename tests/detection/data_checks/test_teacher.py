"""Classes of the teacher against those of the data."""

from pathlib import Path

import torch
from coco_files import CLASSES, TRAIN, only
from mmengine.config import Config

from sortkd_det.detection.data_checks import check_data, check_teacher


def test_classes_of_the_teacher_are_compared(part, tmp_path):
    cfg = Config(dict(train_dataloader=dict(dataset=part())))

    def said(classes, path=tmp_path / 'teacher.pth', **options):
        meta = {} if classes is None else {'dataset_meta': {'classes': classes}}
        torch.save({'state_dict': {'w': torch.zeros(1)}, 'meta': meta}, tmp_path / 'teacher.pth')
        report = check_data(cfg, TRAIN)
        check_teacher(cfg, dict(config='x', checkpoint=str(path), **options), report)
        return [each.message for each in report.findings]

    assert said(CLASSES) == []
    assert said((*CLASSES[::-1], 'cow')) == []
    assert "only the teacher has ['cow'], only the student" in only(said((CLASSES[0], 'cow')))
    assert said((CLASSES[0], 'cow'), class_map={'cow': CLASSES[1]}) == []
    assert said((CLASSES[0], 'cow'), unmapped='ignore') == []
    assert 'no classes of the teacher' in only(said(CLASSES, class_map={'horse': CLASSES[1]}))
    assert "'error', 'ignore', got 'skip'" in only(said(CLASSES, unmapped='skip'))
    assert 'names no classes' in only(said(None))
    assert 'of the teacher does not exist' in only(said(CLASSES, Path('no/such.pth')))
    assert said(('cow',), 'https://example.org/teacher.pth') == []
