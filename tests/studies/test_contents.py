"""What decides a run and lies in files."""

import hashlib

import pytest
from mmengine.config import Config

from sortkd_det.studies.contents import contents_of


def digest(text):
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    'config',
    [
        pytest.param(dict(load_from='w.pth'), id='first weights'),
        pytest.param(
            dict(model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='w.pth')))),
            id='pretrained',
        ),
        pytest.param(dict(model=dict(init_cfg=[dict(checkpoint='w.pth')])), id='in a list'),
        pytest.param(dict(model=dict(mine='w.pth')), id='under another name'),
        pytest.param(
            dict(custom_hooks=[dict(type='DistillHook', teacher=dict(checkpoint='w.pth'))]),
            id='of a teacher',
        ),
    ],
)
def test_weights_are_found_wherever_a_config_names_them(config, tmp_path):
    cfg = Config(config)
    alone = contents_of(cfg, tmp_path)
    assert list(alone) == ['config']
    (tmp_path / 'w.pth').write_bytes(b'1')
    assert contents_of(cfg, tmp_path) == {**alone, 'w.pth': digest(b'1')}


def test_a_file_without_an_ending_counts_where_weights_are_named(tmp_path):
    (tmp_path / 'weights').write_bytes(b'1')
    (tmp_path / 'data').write_bytes(b'1')
    cfg = Config(dict(load_from='weights', train_dataloader=dict(kept_in='data')))
    assert contents_of(cfg, tmp_path)['weights'] == digest(b'1')
    assert 'data' not in contents_of(cfg, tmp_path)


def test_annotations_are_read_where_data_sets_and_metrics_find_them(tmp_path):
    dataset = dict(type='CocoDataset', data_root='data/', ann_file='train.json')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dataset)),
            test_evaluator=[dict(type='CocoMetric', ann_file='data/test.json')],
        )
    )
    assert list(contents_of(cfg, tmp_path)) == ['config']  # data of another machine
    (tmp_path / 'data').mkdir()
    for content in (b'1', b'22'):
        for name in ('train', 'test'):
            (tmp_path / f'data/{name}.json').write_bytes(content + name.encode())
        found = contents_of(cfg, tmp_path)
        assert found['data/train.json'] == digest(content + b'train')
        assert found['data/test.json'] == digest(content + b'test')


def test_weights_of_the_command_line_are_called_the_teachers(tmp_path):
    (tmp_path / 'w.pth').write_bytes(b'1')
    path = str(tmp_path / 'w.pth')
    hook = dict(type='DistillHook', teacher=dict(checkpoint=path, cache='of_this_run.sqlite'))
    found = contents_of(Config(dict(custom_hooks=[hook])), tmp_path, path)
    assert {**found, 'config': ''} == {'config': '', 'teacher': digest(b'1')}
    hook['teacher'].pop('cache')  # with which results are the same
    assert contents_of(Config(dict(custom_hooks=[hook])), tmp_path, path) == found


def test_a_teachers_config_is_what_it_says_with_its_bases(tmp_path):
    (tmp_path / 'base.py').write_text("model = dict(type='A')")
    (tmp_path / 'teacher.py').write_text("_base_ = 'base.py'")
    hook = dict(type='DistillHook', teacher=dict(config='teacher.py'))
    cfg = Config(dict(custom_hooks=[hook]))
    first = contents_of(cfg, tmp_path)
    (tmp_path / 'teacher.py').write_text("# said otherwise\n_base_ = 'base.py'")
    assert contents_of(cfg, tmp_path) == first
    (tmp_path / 'base.py').write_text("model = dict(type='B')")
    second = contents_of(cfg, tmp_path)
    assert second['teacher.py'] != first['teacher.py']
    assert second['config'] == first['config']
