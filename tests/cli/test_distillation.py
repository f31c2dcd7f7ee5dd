"""The three flags: a student's run becomes a distillation, or is given another teacher."""

import pytest
from command_lines import REPO
from mmengine.config import Config
from mmengine.logging import MMLogger

from sortkd_det.cli.config import run_config
from sortkd_det.cli.distillation import find_distill_hook, student_config
from sortkd_det.cli.methods import known_methods

TOY = REPO / 'configs/toy/student.py'
R101 = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'
R50 = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py'
SORTKD = [
    dict(
        processors=[dict(type='SortLogits')],
        loss=dict(type='KDLoss', temperature=1.0, loss_weight=1.0),
    )
]
AUDIT = dict(type='sortkd_det.TeacherAuditHook')


def hooks_of(*arguments, **flags):
    return run_config(*arguments, **flags).to_dict()['custom_hooks']


def taught(**flags):
    """The toy student's run, taught by the toy teacher."""
    teacher = str(REPO / 'configs/toy/teacher.py')
    return run_config(
        TOY, **dict(dict(teacher=teacher, teacher_checkpoint='x.pth', method='sortkd'), **flags)
    )


@pytest.mark.parametrize(
    ('config', 'student', 'teacher'),
    [
        ('frcnn_r101_r18_sortkd.py', 'coco/frcnn_r18.py', R101),
        ('frcnn_r50_mv2_sortkd.py', 'coco/frcnn_mv2.py', R50),
    ],
)
def test_the_published_files_say_the_same_as_the_flags(config, student, teacher):
    file = run_config(REPO / 'configs' / config, work_dir='x').to_dict()
    flags = run_config(
        REPO / 'configs' / student, teacher=teacher, method='sortkd', work_dir='x'
    ).to_dict()
    assert file == flags
    assert file['custom_hooks'] == [
        dict(
            type='sortkd_det.DistillHook',
            teacher=dict(config=teacher),
            method=SORTKD,
            check_teacher=500,
        ),
        AUDIT,
    ]
    assert file['custom_imports']['imports'] == ['sortkd_det.hooks']


def test_any_config_of_mmdetections_own_is_a_student():
    name = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    teacher = 'mmdet::retinanet/retinanet_r101_fpn_2x_coco.py'
    cfg = run_config(name, teacher=teacher, method='sortkd')
    hook, audit = cfg.to_dict()['custom_hooks']
    assert hook == dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config=teacher),
        method=SORTKD,
        check_teacher=500,
    )
    assert audit == AUDIT
    plain = run_config(name)
    assert student_config(cfg).model == plain.model
    assert cfg.work_dir == ('work_dirs/retinanet_r18_fpn_1x_coco/retinanet_r101_fpn_2x_coco/sortkd')


def test_hooks_that_are_there_stay(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{TOY}'\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
        "custom_imports = dict(imports='json', allow_failed_imports=False)\n"
    )
    cfg = run_config(config, teacher=R50, method='kd', cfg_options={'custom_hooks.0.momentum': 0.1})
    kinds = [hook.type for hook in cfg.custom_hooks]
    assert kinds == ['EMAHook', 'sortkd_det.DistillHook', 'sortkd_det.TeacherAuditHook']
    assert cfg.custom_hooks[0].momentum == 0.1
    assert cfg.custom_imports.imports == ['json', 'sortkd_det.hooks']
    plain = student_config(cfg)
    assert plain.custom_hooks == [dict(type='EMAHook', momentum=0.1)]
    assert plain.custom_imports.imports == ['json']


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'method.0.loss.temperature': 2.0}, 2.0),
        ({'custom_hooks.0.method.0.loss.temperature': 2.0}, 2.0),
        ({'method': [dict(loss=dict(type='KDLoss', temperature=3.0))]}, 3.0),
    ],
)
@pytest.mark.parametrize('by_file', [True, False])
def test_the_method_is_set_by_options(options, expected, by_file):
    if by_file:
        cfg = run_config(REPO / 'configs/frcnn_r101_r18_sortkd.py', cfg_options=options)
    else:
        cfg = taught(cfg_options=options)
    assert find_distill_hook(cfg).method[0].loss.temperature == expected
    assert 'method' not in cfg  # a variable that nothing reads would only mislead


def test_all_else_is_set_by_options_too():
    cfg = taught(
        cfg_options={
            'student_weight': 0.5,
            'check_teacher': 4,
            'teacher.dtype': 'bfloat16',
            'teacher.cfg_options.model.roi_head.bbox_head.num_classes': 3,
            'audit.interval': 25,
            'audit.grad_interval': 100,
        }
    )
    hook, audit = cfg.custom_hooks
    assert (hook.student_weight, hook.check_teacher, hook.teacher.dtype) == (0.5, 4, 'bfloat16')
    options = dict(model=dict(roi_head=dict(bbox_head=dict(num_classes=3))))
    assert hook.teacher.cfg_options.to_dict() == options
    assert (audit.interval, audit.grad_interval) == (25, 100)


def test_a_detector_without_a_validation_has_a_teacher_that_is_not_tested(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{TOY}'\nval_dataloader = None\nval_evaluator = None\nval_cfg = None\n"
    )
    hook, _ = hooks_of(config, teacher=R50, method='kd')
    assert 'check_teacher' not in hook


def test_a_classifier_is_taught_by_a_network_of_its_family_on_its_own_images():
    cfg = run_config(
        REPO / 'configs/clothing/student.py',
        teacher='resnet14',
        teacher_checkpoint='x.pth',
        method='ranking',
        cfg_options={'model.num_classes': 3, 'model.data_preprocessor.padding': 2},
    )
    (hook,) = cfg.to_dict()['custom_hooks']
    preprocessor = dict(
        type='sortkd_det.ImagePreprocessor',
        mean=(0.58, 0.55, 0.53),
        std=(0.29, 0.29, 0.29),
        padding=2,
    )
    assert hook['teacher'] == dict(
        config=dict(
            model=dict(
                type='sortkd_det.cifar/resnet14', num_classes=3, data_preprocessor=preprocessor
            )
        ),
        checkpoint='x.pth',
    )
    assert cfg.model.data_preprocessor.num_views == 2  # of the student's training alone


def test_flags_replace_what_a_file_says_and_tell_so(tmp_path):
    log = tmp_path / 'run.log'
    MMLogger.get_instance(tmp_path.name, log_file=str(log))  # the current one from here on
    published = REPO / 'configs/frcnn_r101_r18_sortkd.py'
    hook, audit = hooks_of(published, method='dkd')
    assert hook['method'][0]['loss']['type'] == 'DKDLoss'
    assert hook['teacher'] == dict(config=R101)
    assert hook['check_teacher'] == 500
    assert audit == AUDIT
    hook, _ = hooks_of(published, teacher=R50)
    assert hook['teacher'] == dict(config=R50)
    assert hook['method'] == SORTKD
    said = log.read_text()
    assert 'method of the DistillHook in this config: that of the command line is taken' in said
    assert 'teacher of the DistillHook in this config: that of the command line is taken' in said


def test_another_method_does_not_keep_the_weight_of_the_one_before(tmp_path):
    own = tmp_path / 'own.py'
    own.write_text("method = [dict(loss='KDLoss')]\nstudent_weight = 0.3\n")
    cfg = taught(method=str(own), work_dir=str(tmp_path))
    assert cfg.custom_hooks[0].student_weight == 0.3
    cfg.dump(tmp_path / 'student.py')
    hook, _ = hooks_of(tmp_path / 'student.py', method='kd')
    assert 'student_weight' not in hook


def test_a_method_of_ones_own_brings_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / 'my_loss_of_this_test.py').write_text('')
    own = tmp_path / 'own.py'
    own.write_text(
        "custom_imports = dict(imports='my_loss_of_this_test', allow_failed_imports=False)\n"
        "method = [dict(loss='KDLoss')]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = taught(method=str(own))
    assert cfg.custom_imports.imports == ['sortkd_det.hooks', 'my_loss_of_this_test']
    assert cfg.custom_hooks[0].method == [dict(loss='KDLoss')]


@pytest.mark.parametrize('name', known_methods())
def test_methods_know_nothing_of_detection(name):
    text = (REPO / f'configs/_base_/methods/{name}.py').read_text()
    assert 'sortkd_det.detection' not in text
    assert 'mmdet' not in text
    cfg = Config.fromfile(REPO / f'configs/_base_/methods/{name}.py')
    assert cfg.custom_imports.imports == ['sortkd_det.hooks']
    assert taught(method=name).custom_hooks[0].method == cfg.method


def test_the_columns_that_are_sorted_are_a_setting_of_the_flags():
    flags = dict(teacher=R101, teacher_checkpoint='x.pth', method='sortkd')
    options = {'method.0.processors.0.sort_columns': 'classes'}
    hook = hooks_of(TOY, **flags, cfg_options=options)[0]
    assert hook['method'][0]['processors'] == [dict(type='SortLogits', sort_columns='classes')]
