"""What users get wrong, and what they are told before training starts."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

REPO = Path(__file__).parents[1]


def load_tool(name):
    """A tool as a module."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', REPO / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train = load_tool('train')


@pytest.fixture
def fails(tmp_path, toy_data, random_teacher, monkeypatch):
    """Run tools/train.py on the toy SortKD config, changed by ``options``; its error."""
    monkeypatch.chdir(REPO)

    def run(*options, exception, message, data_root=toy_data, teacher=random_teacher, config=None):
        arguments = [
            config or 'configs/toy/sortkd.py', '--work-dir', tmp_path / 'work',
            '--data-root', data_root,
            '--cfg-options', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False',
            f'experiment_name={tmp_path.name}', *options,
        ]  # fmt: skip
        if teacher is not None:
            arguments += ['--teacher-checkpoint', teacher]
        args = train.get_parser().parse_args(list(map(str, arguments)))
        with pytest.raises(exception, match=message):
            train.main(args)
        assert not list(tmp_path.glob('work/*.pth'))

    return run


HOOK = 'custom_hooks.0.'


def test_teacher_checkpoint_missing(fails):
    fails(
        teacher='no/such.pth', exception=FileNotFoundError, message=r'no/such\.pth does not exist'
    )


def test_teacher_checkpoint_is_no_checkpoint(fails, tmp_path):
    path = tmp_path / 'notes.pth'
    path.write_text('weights, allegedly')
    fails(teacher=path, exception=ValueError, message='is not a PyTorch checkpoint')


def test_teacher_checkpoint_holds_no_weights(fails, tmp_path):
    torch.save({'epoch': 3}, tmp_path / 'empty.pth')
    fails(teacher=tmp_path / 'empty.pth', exception=ValueError, message='holds no weights')


def test_teacher_checkpoint_of_another_architecture(fails, random_teacher):
    fails(
        HOOK + "teacher.config='configs/toy/student.py'",
        exception=ValueError,
        message=r'do not fit this FasterRCNN.*\d+ of another shape: backbone\.\S+ \(',
    )


def test_teacher_checkpoint_with_missing_and_unexpected_keys(fails, random_teacher, tmp_path):
    checkpoint = torch.load(random_teacher, weights_only=True)
    weights = checkpoint['state_dict']
    for index, key in enumerate(list(weights)[:9]):
        weights[f'other.{index}'] = weights.pop(key)
    torch.save(checkpoint, tmp_path / 'partial.pth')
    fails(
        teacher=tmp_path / 'partial.pth',
        exception=ValueError,
        message=r'9 missing: backbone.* … \| 9 unexpected: other\.0; other\.1.* …',
    )


def test_teacher_with_another_number_of_classes(fails, tmp_path, save_random_weights):
    config = Config.fromfile(REPO / 'configs/toy/teacher.py')
    config.model.roi_head.bbox_head.num_classes = 7
    config_file = tmp_path / 'seven.py'
    config.dump(config_file)
    save_random_weights(config, tmp_path / 'seven.pth')
    checkpoint = torch.load(tmp_path / 'seven.pth', weights_only=True)
    checkpoint.pop('meta')
    torch.save(checkpoint, tmp_path / 'seven.pth')
    fails(
        HOOK + f"teacher.config='{config_file}'",
        teacher=tmp_path / 'seven.pth',
        exception=ValueError,
        message='differ in their number of classes: 7 and 12',
    )


@pytest.mark.parametrize(
    ('rewrite', 'message'),
    [
        (lambda c: [*c[:3], 'square ', *c[4:]], r"only the teacher has \['square '\]"),
        (lambda c: c[::-1], "the same classes in another order: class 0 is 'tee'"),
        (lambda c: c[:-1], r'11 and 12; only the teacher has \[\], only the student \[.tee.\]'),
    ],
)
def test_teacher_with_other_class_names(fails, random_teacher, tmp_path, rewrite, message):
    checkpoint = torch.load(random_teacher, weights_only=True)
    meta = checkpoint['meta']['dataset_meta']
    meta['classes'] = tuple(rewrite(list(meta['classes'])))
    torch.save(checkpoint, tmp_path / 'other.pth')
    fails(teacher=tmp_path / 'other.pth', exception=ValueError, message=message)


def test_no_teacher_named(fails):
    fails(
        HOOK + 'teacher.checkpoint=None',
        teacher=None,
        exception=ValueError,
        message='no teacher named: give its weights by --teacher-checkpoint',
    )


def test_teacher_checkpoint_for_a_config_that_does_not_distil(fails):
    fails(
        config='configs/toy/student.py',
        exception=ValueError,
        message=r'no sortkd_det\.DistillHook in custom_hooks',
    )


def test_an_option_that_would_be_without_effect(fails):
    fails(
        'method.0.weight=2.0',
        exception=ValueError,
        message=r'would be without effect.*custom_hooks\.0',
    )


@pytest.mark.parametrize(
    ('option', 'exception', 'message'),
    [
        ('method.0.processors=[Sort]', KeyError, "unknown processor 'Sort'; registered are: Sort"),
        ('method.0.loss.type=KLLoss', KeyError, "unknown loss 'KLLoss'; registered are: .*KDLoss"),
        ('method.0.loss.temperature=0.0', ValueError, 'temperature must be a finite number > 0'),
        ('method.0.loss.temperature=-1.0', ValueError, 'temperature must be .* > 0, got -1'),
        ('method.0.loss.loss_weight=-1.0', ValueError, 'loss_weight must be .* ≥ 0, got -1'),
        ('method.0.loss.tau=4', TypeError, "loss KDLoss: .*unexpected keyword argument 'tau'"),
        ('method.0.weight=-0.5', ValueError, 'weight must be a finite number ≥ 0'),
        ('student_weight=-0.5', ValueError, 'student_weight must be a finite number ≥ 0'),
        ('method.0.loss_rows=some', ValueError, "loss_rows must be one of 'all', 'foreground'"),
        ('method.0.sort_rows=none', ValueError, "sort_rows must be one of 'all', 'foreground'"),
        ('method.0.target=label', ValueError, "target must be one of 'teacher', 'student'"),
        ('method.0.end=0', ValueError, 'end must be at least 1'),
        ('method.0.rows=all', TypeError, "unexpected keyword argument 'rows'"),
        ('check_teacher=0', ValueError, 'check_teacher must be at least 1, got 0'),
        ('teacher.weights=x', TypeError, r"takes config, checkpoint and .*\['weights'\] too"),
    ],
)
def test_settings_of_the_method(fails, option, exception, message):
    fails(HOOK + option, exception=exception, message=message)


def test_a_head_that_no_adapter_knows(fails, tmp_path):
    path = tmp_path / 'retina.py'
    path.write_text(
        "_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py',\n"
        f"    '{REPO}/configs/_base_/schedules/toy.py', '{REPO}/configs/_base_/methods/kd.py']\n"
        'model = dict(backbone=dict(depth=18, init_cfg=None),\n'
        '    neck=dict(in_channels=[64, 128, 256, 512]), bbox_head=dict(num_classes=12))\n'
        "custom_hooks = [dict(type='sortkd_det.DistillHook', method=_base_.method,\n"
        f"    teacher=dict(config='{REPO}/configs/toy/teacher.py'))]\n"
    )
    fails(
        config=path,
        exception=ValueError,
        message=r'no adapter knows.*RetinaNet \(bbox_head=RetinaHead\).*RoIHeadAdapter',
    )


def test_cascade_is_refused_by_name(fails, tmp_path):
    path = tmp_path / 'cascade.py'
    path.write_text(
        "_base_ = ['mmdet::_base_/models/cascade-rcnn_r50_fpn.py',\n"
        f"    '{REPO}/configs/_base_/schedules/toy.py', '{REPO}/configs/_base_/methods/kd.py']\n"
        'model = dict(backbone=dict(depth=18, init_cfg=None),\n'
        '    neck=dict(in_channels=[64, 128, 256, 512]))\n'
        "custom_hooks = [dict(type='sortkd_det.DistillHook', method=_base_.method,\n"
        f"    teacher=dict(config='{REPO}/configs/toy/teacher.py'))]\n"
    )
    fails(
        config=path,
        exception=ValueError,
        message='the student is a CascadeRCNN with CascadeRoIHead.*neither cascades',
    )


@pytest.fixture
def broken_data(toy_data, tmp_path):
    """A copy of the data whose training annotations are rewritten by a function."""

    def make(rewrite):
        root = tmp_path / 'broken'
        shutil.copytree(toy_data, root)
        path = root / 'annotations/train.json'
        data = rewrite(json.loads(path.read_text()))
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return root

    return make


def test_annotation_file_missing(fails, tmp_path):
    fails(
        data_root=tmp_path / 'nowhere',
        exception=FileNotFoundError,
        message=r'annotation file .*nowhere/annotations/train\.json does not exist; --data-root',
    )


@pytest.mark.parametrize(
    ('rewrite', 'message'),
    [
        (lambda data: '{"images": [', 'is not JSON'),
        (lambda data: data['images'], 'is not a COCO annotation file: it has no list under images'),
        (lambda data: {**data, 'annotations': {}}, 'has no list under annotations'),
        (
            lambda data: {**data, 'categories': data['categories'][2:]},
            r"2 of the 12 classes of the config are not in .*\['circle', 'ellipse'\]",
        ),
        (lambda data: {**data, 'annotations': []}, 'empty training set: .* has 12 images and 0'),
    ],
)
def test_annotation_file_that_does_not_serve(fails, broken_data, rewrite, message):
    fails(data_root=broken_data(rewrite), exception=ValueError, message=message)


def test_first_image_missing(fails, broken_data):
    root = broken_data(lambda data: data)
    next(iter(sorted((root / 'train').iterdir()))).unlink()
    fails(data_root=root, exception=FileNotFoundError, message=r'image .*, the first of')


def test_amp_without_a_gpu(monkeypatch, tmp_path, toy_data):
    monkeypatch.chdir(REPO)
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    args = train.get_parser().parse_args(['configs/toy/student.py', '--amp'])
    with pytest.raises(ValueError, match='--amp needs a GPU'):
        train.main(args)


def test_a_tool_prints_one_line_and_exits_1(run_python, tmp_path):
    done = run_python('tools/train.py', 'no/config.py', '--work-dir', tmp_path, check=False)
    assert done.returncode == 1
    assert 'error: config file no/config.py does not exist' in done.stderr
    assert 'Traceback' not in done.stderr
    done = run_python('tools/train.py', 'no/config.py', '--debug', check=False)
    assert 'Traceback' in done.stderr
