"""From a command line to the config of a run: what is merged, in which order, and what is kept."""

import pytest
from command_lines import REPO
from mmengine.config import Config

from sortkd_det.cli.config import load_config, run_config, set_data_root
from sortkd_det.cli.packages import uses_mmdet

TOY = REPO / 'configs/toy/student.py'


def test_a_config_of_mmdetections_own_is_taken_as_it_is():
    name = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    cfg = run_config(name)
    assert cfg.model.type == 'RetinaNet'
    assert cfg.work_dir == 'work_dirs/retinanet_r18_fpn_1x_coco'
    assert 'custom_hooks' not in cfg
    assert uses_mmdet(cfg)


@pytest.mark.parametrize(
    ('command', 'work_dir'),
    [
        ('train.py configs/toy/student.py', 'student'),
        ('train.py configs/frcnn_r101_r18_sortkd.py', 'frcnn_r101_r18_sortkd'),
        (
            'train.py configs/toy/student.py --teacher configs/toy/teacher.py --method kd '
            '--teacher-checkpoint x.pth',
            'student/teacher/kd',
        ),
        (
            'train.py configs/cifar100.py --pair vgg13-vgg8 --method sortkd',
            'cifar100/vgg13-vgg8/sortkd',
        ),
        ('train.py configs/cifar100.py --pair vgg13-vgg8', 'cifar100/vgg13-vgg8/student'),
        ('train.py configs/clothing/teacher.py', 'clothing/teacher'),
        ('test.py configs/toy/student.py x.pth', 'student'),
    ],
)
def test_each_run_has_a_folder_of_its_own(parse, monkeypatch, command, work_dir):
    monkeypatch.chdir(REPO)
    assert load_config(parse(command)).work_dir == f'work_dirs/{work_dir}'
    assert load_config(parse(f'{command} --work-dir here')).work_dir == 'here'


def test_all_tools_make_the_same_config_of_the_same_flags(parse, monkeypatch):
    monkeypatch.chdir(REPO)
    flags = (
        'configs/toy/student.py --teacher configs/toy/teacher.py --teacher-checkpoint x.pth '
        '--method sortkd --cfg-options train_cfg.max_epochs=3 method.0.loss.temperature=2'
    )
    configs = [
        load_config(parse(f'{tool} {flags}')).to_dict()
        for tool in ('train.py', 'check_data.py', 'student_config.py')
    ]
    assert configs[0]['train_cfg']['max_epochs'] == 3
    assert configs[1] == configs[2] == configs[0]


def test_what_a_work_dir_keeps_is_the_whole_run(tmp_path):
    cfg = run_config(
        TOY,
        teacher=str(REPO / 'configs/toy/teacher.py'),
        teacher_checkpoint='x.pth',
        method='sortdkd',
        cfg_options={'method.0.loss.beta': 1.0, 'audit.interval': 7},
        work_dir=str(tmp_path),
    )
    cfg.dump(tmp_path / 'student.py')
    again = run_config(tmp_path / 'student.py')
    assert again.to_dict() == cfg.to_dict()
    hook, audit = again.custom_hooks
    assert hook.method[0].loss.beta == 1.0
    assert audit.interval == 7
    # And its settings go by the same names.
    changed = run_config(tmp_path / 'student.py', cfg_options={'method.0.loss.beta': 2.0})
    assert changed.custom_hooks[0].method[0].loss.beta == 2.0


def test_a_variable_is_left_to_code_of_the_configs_own(tmp_path):
    config = tmp_path / 'own.py'
    config.write_text(
        f'_base_ = {str(TOY)!r}\nmargin = 1\ncustom_imports = dict(imports=["json"])\n'
    )
    assert run_config(config, cfg_options={'margin': 2}).margin == 2
    with pytest.raises(ValueError, match='no setting margins; expected one that a run reads'):
        run_config(config, cfg_options={'margins': 2})


def test_a_student_of_mmdetection_2_is_named_as_such(tmp_path):
    config = tmp_path / 'old.py'
    config.write_text(
        'model = dict(type="RetinaNet", pretrained=None)\n'
        'data = dict(test=dict(pipeline=[dict(type="Collect", keys=["img"])]))\n'
    )
    with pytest.raises(ValueError, match=r'old\.py is one of MMDetection 2\.x; a teacher may be'):
        run_config(config)


def test_the_data_root_is_replaced_but_in_what_a_teacher_names(tmp_path):
    cfg = run_config(
        TOY, teacher='data/toy_coco/teacher.py', teacher_checkpoint='data/toy_coco/x.pth',
        method='kd', data_root=str(tmp_path),
    )  # fmt: skip
    assert cfg.train_dataloader.dataset.data_root == f'{tmp_path}/'
    assert cfg.val_evaluator.ann_file == f'{tmp_path}/annotations/val.json'
    assert cfg.custom_hooks[0].teacher.checkpoint == 'data/toy_coco/x.pth'


def test_a_data_root_is_found_in_the_data_sets_where_none_is_named(tmp_path):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(data_root='a/', ann_file='a/x.json'))))
    set_data_root(cfg, 'b')
    assert cfg.test_dataloader.dataset.to_dict() == dict(data_root='b/', ann_file='b/x.json')


def test_there_are_few_config_files_and_every_one_can_be_read():
    files = sorted((REPO / 'configs').rglob('*.py'))
    recipes = [file for file in files if file.parent.name != 'methods']  # a method has one each
    assert len(recipes) <= 33
    for file in files:
        Config.fromfile(file)
