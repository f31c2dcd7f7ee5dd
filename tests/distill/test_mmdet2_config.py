"""A teacher's config of MMDetection 2.x does what MMDetection 2.x did with it."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import sortkd_det.detection  # noqa: F401 (registers MMDetection's models)
from sortkd_det.adapters import RoIHeadAdapter
from sortkd_det.distill import Teacher
from sortkd_det.distill.mmdet2_config import is_mmdet2, upgrade_model

REPO = Path(__file__).parents[2]
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
CAFFE = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
READ = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)


@functools.cache
def thin_config():
    config = Config.fromfile(REPO / 'configs/_base_/students/frcnn_thin.py')
    config.model.roi_head.bbox_head.num_classes = 3
    return config


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Of MMDetection 2.x: upper-case CLASSES, and its averages as a second set of weights."""
    path = tmp_path_factory.mktemp('teacher') / 'old.pth'
    torch.manual_seed(7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(thin_config().model).state_dict()
    copies = {f'ema_{name.replace(".", "_")}': value * 0 for name, value in weights.items()}
    meta = dict(mmdet_version='2.28.2', CLASSES=('a', 'b', 'c'), config='model = dict()')
    torch.save({'state_dict': {**weights, **copies}, 'meta': meta}, path)
    return str(path)


def test_pipeline(*end, **first):
    return [
        dict(type='LoadImageFromFile', **first),
        dict(
            type='MultiScaleFlipAug',
            img_scale=(1333, 800),
            flip=False,
            transforms=[dict(type='Resize', keep_ratio=True), dict(type='RandomFlip'), *end]
            + [dict(type='ImageToTensor', keys=['img']), dict(type='Collect', keys=['img'])],
        ),
    ]


test_pipeline.__test__ = False
NORMALIZE = (dict(type='Normalize', **NORM), dict(type='Pad', size_divisor=32))


PIPELINE = test_pipeline(*NORMALIZE)


def old_config(pipeline=PIPELINE, **others):
    """The thin config as MMDetection 2.x would have it."""
    config = copy.deepcopy(thin_config().to_dict())
    model = {key: value for key, value in config['model'].items() if key != 'data_preprocessor'}
    return Config(
        dict(
            model=dict(model, pretrained='torchvision://resnet50'),
            img_norm_cfg=NORM,
            data=dict(
                samples_per_gpu=2,
                train=dict(type='CocoDataset', pipeline=[dict(type='Normalize', **CAFFE)]),
                test=dict(type='CocoDataset', ann_file='x.json', pipeline=pipeline),
            ),
            **others,
        )
    )


def read(config):
    assert is_mmdet2(config)
    said = upgrade_model(config)
    return config.model.data_preprocessor.to_dict(), said


def test_its_normalisation_is_read_and_the_log_says_so():
    made, said = read(old_config())
    assert made == READ
    assert "data_preprocessor=dict(type='DetDataPreprocessor', mean=[123.675, 116.28, " in said
    assert said.endswith('bgr_to_rgb=True, pad_size_divisor=32), and its pretrained left out')


def test_the_pipeline_of_the_test_counts():
    made, _ = read(old_config(test_pipeline(dict(type='Normalize', **CAFFE))))
    assert made == {
        **READ,
        'mean': CAFFE['mean'],
        'std': CAFFE['std'],
        'bgr_to_rgb': False,
        'pad_size_divisor': 1,
    }


@pytest.mark.parametrize(
    ('pipeline', 'changes'),
    [
        (test_pipeline(*NORMALIZE, channel_order='rgb'), {'bgr_to_rgb': False}),
        (
            test_pipeline(NORMALIZE[0], dict(type='Pad', size_divisor=64, pad_val=dict(img=7))),
            {'pad_size_divisor': 64, 'pad_value': 7},
        ),
        (
            test_pipeline(NORMALIZE[0], dict(type='Pad', size_divisor=1, pad_val=(7, 7, 7))),
            {'pad_size_divisor': 1, 'pad_value': 7},
        ),
        (None, {}),  # from img_norm_cfg alone
    ],
)
def test_channels_and_padding_are_read(pipeline, changes):
    config = old_config(pipeline or [])
    if pipeline is None:
        config.pop('data')
    assert read(config)[0] == {**READ, **changes}


def test_images_that_it_does_not_normalise_are_not_normalised():
    """YOLOX's."""
    pad = dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))
    made, _ = read(old_config(test_pipeline(pad)))
    assert made == dict(type='DetDataPreprocessor', pad_size_divisor=1, pad_value=114.0)


def test_settings_of_the_oldest_configs_move_into_the_model():
    config = old_config()
    old = {key: config.model.pop(key) for key in ('train_cfg', 'test_cfg')}
    config.merge_from_dict(old)
    read(config)
    assert {key: config.model[key] for key in old} == old


@pytest.mark.parametrize(
    'end',
    [
        [dict(type='Normalize', mean=NORM['mean'])],
        [dict(type='Normalize', mean='imagenet', std=NORM['std'])],
        [NORMALIZE[0], dict(type='Pad', size_divisor=32, pad_val=(1, 2, 3))],
    ],
)
def test_what_cannot_be_read_is_answered_with_the_lines_to_write(end):
    with pytest.raises(ValueError, match=r'2\.x whose Normalize and Pad cannot be read') as error:
        read(old_config(test_pipeline(*end)))
    assert "add to its model: data_preprocessor=dict(type='DetDataPreprocessor', mean=[…]" in str(
        error.value
    )


def test_a_config_of_3_is_left_as_it_is(checkpoint):
    assert not is_mmdet2(thin_config())
    assert not is_mmdet2(Config.fromfile(REPO / 'configs/toy/teacher.py'))
    assert not is_mmdet2(Config(dict(model=dict(type='x'))))


# -- as a teacher ------------------------------------------------------------


def batch():
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 70, 40), generator=generator, dtype=torch.uint8)]
    return {'inputs': images, 'data_samples': [DetDataSample(metainfo={'img_shape': (70, 40)})]}


def test_it_is_built_and_sees_the_images_as_it_did(tmp_path, checkpoint):
    """From a file, as its work dir has it, with its checkpoint."""
    path = tmp_path / 'old.py'
    old_config(test_pipeline(dict(type='Normalize', **CAFFE))).dump(path)
    teacher = Teacher(str(path), checkpoint)
    assert tuple(teacher.classes) == ('a', 'b', 'c')
    student = nn.Module()
    student.data_preprocessor = MODELS.build({**READ, 'type': 'mmdet.DetDataPreprocessor'})
    given = student.data_preprocessor(batch())
    converted = teacher.convert_inputs(given['inputs'], student, given['data_samples'])
    mean = torch.tensor(CAFFE['mean'])[:, None, None]
    expected = batch()['inputs'][0].float() - mean  # BGR, as it was loaded
    torch.testing.assert_close(converted[0, :, :70, :40], expected, rtol=1e-5, atol=1e-3)


def test_without_any_normalisation_it_says_which_lines_to_write(checkpoint):
    config = old_config()
    for settings, key in ((config, 'img_norm_cfg'), (config, 'data'), (config.model, 'pretrained')):
        settings.pop(key)
    teacher = Teacher(config, checkpoint)
    with DefaultScope.overwrite_default_scope('mmdet'):
        student = MODELS.build(thin_config().model)
    with pytest.raises(ValueError, match='the config of the teacher does not tell how its images'):
        RoIHeadAdapter(student, teacher)
    RoIHeadAdapter(student, Teacher(thin_config(), checkpoint))


# -- errors in building it ---------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'model.pretrained': 'x'}, r"unexpected keyword argument 'pretrained'"),
        ({'model.type': 'FasterRCN'}, 'FasterRCN is not in the mmdet::model registry'),
        ({'model.backbone.depth': 7}, 'invalid depth 7 for resnet'),
        ({'model.neck': None, 'model.rpn_head': 3}, ''),
    ],
)
def test_errors_say_that_it_is_the_teacher(tmp_path, checkpoint, options, said):
    path = tmp_path / 'teacher.py'
    Config({**thin_config().to_dict(), 'default_scope': 'mmdet'}).dump(path)
    expected = rf'^the teacher cannot be built from .*teacher\.py: .*{said}'
    with pytest.raises(ValueError, match=expected):
        Teacher(str(path), checkpoint, options)


def test_options_without_a_place_say_that_they_are_the_teachers(checkpoint):
    with pytest.raises(ValueError, match=r'teacher\.cfg_options finds no place in its config'):
        Teacher(thin_config(), checkpoint, {'model.backbone.depth.x': 1})
