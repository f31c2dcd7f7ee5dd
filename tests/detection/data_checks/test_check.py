"""The report: all that is found, once, and the first error."""

import importlib.util
import re
from pathlib import Path

import pytest
from coco_files import TRAIN, VAL, coco
from mmengine.config import Config

from sortkd_det.detection.data_checks import check_annotations, check_data


def test_all_is_found_at_once_and_the_first_error_raised(part, capsys):
    content = coco(iscrowd='0')
    content['images'][0]['width'] = 0
    cfg = Config(dict(train_dataloader=dict(dataset=part(content))))
    with pytest.raises(ValueError, match=r'1 of the 3 images .*\(1 more in the table above\)$'):
        check_annotations(cfg, TRAIN)
    table = capsys.readouterr().err
    assert table.count('| error') == 2
    assert 'iscrowd' in table


def test_one_error_alone_needs_no_table_and_a_warning_no_error(part, capsys):
    cfg = Config(dict(train_dataloader=dict(dataset=part(coco(iscrowd='0')))))
    with pytest.raises(ValueError, match=r'iscrowd .*; expected 0 or 1$'):
        check_annotations(cfg, TRAIN)
    assert capsys.readouterr().err == ''
    content = coco()
    content['annotations'][0]['iscrowd'] = 1
    cfg.train_dataloader.dataset = part(content)
    check_annotations(cfg, TRAIN)
    assert re.search(r'\| warning \| .*crowds', capsys.readouterr().err)
    cfg.train_dataloader.dataset = part()
    check_annotations(cfg, TRAIN)
    assert capsys.readouterr() == ('', '')


def test_a_file_that_several_name_is_reported_once(part, root):
    data = part(coco(iscrowd='0'))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=data),
            val_dataloader=dict(dataset=data),
            val_evaluator=dict(type='CocoMetric', ann_file=str(root / 'data.json')),
        )
    )
    assert len(check_data(cfg, TRAIN + VAL).findings) == 1


@pytest.mark.parametrize('taught', [False, True])
def test_the_tool_prints_what_there_is_and_what_was_found(
    taught, toy_data, random_teacher, monkeypatch, capsys
):
    repo = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location('check_data', repo / 'tools/check_data.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(repo)
    teacher = ['--teacher', 'configs/toy/teacher.py', '--teacher-checkpoint', str(random_teacher)]
    options = [*teacher, '--method', 'sortkd'] if taught else []
    arguments = ['configs/toy/student.py', '--data-root', str(toy_data), *options]
    tool.main(tool.get_parser().parse_args(arguments))
    said = capsys.readouterr().out
    assert re.search(r'train_dataloader .*train\.json \| 12 of 12 ', said)
    assert re.search(r'test_dataloader .*val\.json +\| 6 of 6 ', said)
    assert said.rstrip().endswith('nothing found that is wrong')
