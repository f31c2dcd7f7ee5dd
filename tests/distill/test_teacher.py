import copy
import functools
from pathlib import Path

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import sortkd_det.detection  # noqa: F401 (registers MMDetection's models)
from sortkd_det.checkpoints import CheckpointRefused
from sortkd_det.distill import Teacher

REPO = Path(__file__).parents[2]
CLASSES = ('square', 'circle', 'star')
HEAD = 'roi_head.bbox_head.fc_cls'


@functools.cache
def read_thin_config():
    return Config.fromfile(REPO / 'configs/_base_/students/frcnn_thin.py')


def thin_config(num_classes=3):
    """A small Faster R-CNN."""
    config = copy.deepcopy(read_thin_config())
    config.model.roi_head.bbox_head.num_classes = num_classes
    config.default_scope = 'mmdet'
    return config


def random_weights(num_classes=3):
    torch.manual_seed(7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(thin_config(num_classes).model).state_dict()


@pytest.fixture(scope='module')
def weights():
    return random_weights()


def save(path, weights, **others):
    torch.save({'state_dict': weights, **others}, path)
    return str(path)


@pytest.fixture(scope='module')
def checkpoint(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    return save(path, weights, meta={'dataset_meta': {'classes': CLASSES}})


@pytest.fixture(scope='module')
def teacher(checkpoint):
    return Teacher(thin_config(), checkpoint)


# -- built, loaded and frozen ------------------------------------------------


def test_holds_the_weights_of_its_checkpoint(teacher, weights):
    own = teacher.model.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[key], weights[key]) for key in weights)


def test_is_in_eval_mode_and_learns_nothing(teacher):
    assert not any(module.training for module in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_is_no_module_so_that_it_joins_no_model_by_accident(teacher):
    host = nn.Linear(1, 1)
    host.teacher = teacher
    assert len(list(host.parameters())) == 2
    assert list(host.state_dict()) == ['weight', 'bias']


def test_building_it_does_not_move_the_random_numbers_of_the_run(checkpoint):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Teacher(thin_config(), checkpoint)
    assert torch.equal(torch.get_rng_state(), before)


def test_building_it_does_not_change_the_config_it_was_given(checkpoint):
    config = thin_config()
    Teacher(config, checkpoint, {'model.backbone.norm_eval': True})
    assert config.to_dict() == thin_config().to_dict()


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet'])
def test_is_built_whatever_the_default_scope_of_the_run_is(checkpoint, scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert type(Teacher(thin_config(), checkpoint).model).__name__ == 'FasterRCNN'


def test_config_may_be_a_file_a_config_or_a_dict(tmp_path, checkpoint):
    path = tmp_path / 'teacher.py'
    thin_config().dump(path)
    for config in (str(path), thin_config(), thin_config().to_dict()):
        assert Teacher(config, checkpoint).classes is not None


def test_cfg_options_change_entries_of_the_config(tmp_path):
    option = {'model.roi_head.bbox_head.num_classes': 10}
    teacher = Teacher(thin_config(), save(tmp_path / 'ten.pth', random_weights(10)), option)
    assert teacher.model.roi_head.bbox_head.num_classes == 10


@pytest.mark.parametrize(
    ('others', 'classes'),
    [
        ({'meta': {'dataset_meta': {'classes': CLASSES}}}, CLASSES),
        ({'meta': {'dataset_meta': {'CLASSES': list(CLASSES)}}}, CLASSES),
        ({'meta': {'CLASSES': CLASSES}}, CLASSES),
        ({'meta': {'dataset_meta': {'palette': [1]}}}, None),
        ({'meta': {}}, None),
        ({}, None),
    ],
)
def test_classes_are_read_from_the_checkpoints_meta(tmp_path, weights, others, classes):
    teacher = Teacher(thin_config(), save(tmp_path / 'x.pth', weights, **others))
    assert (teacher.classes and tuple(teacher.classes)) == classes


@pytest.mark.parametrize(
    ('key', 'prefix'), [('state_dict', 'module.'), ('model', ''), (None, 'module.')]
)
def test_weights_may_lie_under_the_usual_keys_and_come_from_ddp(tmp_path, weights, key, prefix):
    prefixed = {f'{prefix}{name}': value for name, value in weights.items()}
    torch.save({key: prefixed} if key else prefixed, tmp_path / 'x.pth')
    own = Teacher(thin_config(), str(tmp_path / 'x.pth')).model.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in weights)


# -- what does not fit -------------------------------------------------------


@pytest.mark.parametrize('checkpoint', [None, ''])
def test_without_a_checkpoint_it_says_how_to_name_one(checkpoint):
    with pytest.raises(ValueError, match=r'no teacher named.*--teacher-checkpoint PATH'):
        Teacher(thin_config(), checkpoint)


def test_missing_weights_are_counted_and_named(tmp_path, weights):
    kept = {key: value for key, value in weights.items() if not key.startswith(HEAD)}
    expected = rf'2 missing: {HEAD}\.weight; {HEAD}\.bias; name the checkpoint'
    with pytest.raises(ValueError, match=expected):
        Teacher(thin_config(), save(tmp_path / 'x.pth', kept))


def test_unexpected_weights_are_counted_and_named(tmp_path, weights):
    more = {**weights, 'mask_head.weight': torch.ones(1)}
    with pytest.raises(ValueError, match=r'1 unexpected: mask_head\.weight; name the checkpoint'):
        Teacher(thin_config(), save(tmp_path / 'x.pth', more))


def test_weights_of_another_shape_are_named_with_both_shapes(tmp_path, weights):
    other = {**weights, f'{HEAD}.bias': torch.zeros(81)}
    path = save(tmp_path / 'x.pth', other)
    expected = (
        rf'1 of another shape: {HEAD}\.bias \(81,\), the model has \(4,\); name the checkpoint'
    )
    with pytest.raises(ValueError, match=expected) as error:
        Teacher(thin_config(), path)
    assert path in str(error.value)
    assert f'({len(weights)} entries)' in str(error.value)
    for kind in ('missing', 'unexpected'):
        assert kind not in str(error.value)


def test_all_three_are_told_at_once_and_long_lists_are_cut(tmp_path, weights):
    # Batch norm makes up for a count that is missing in files from before it kept one.
    renamed = [name for name in weights if not name.endswith('num_batches_tracked')][:20]
    wrong = {f'student.{name}' if name in renamed else name: weights[name] for name in weights}
    wrong[f'{HEAD}.bias'] = torch.zeros(81)
    with pytest.raises(ValueError, match='do not fit') as error:
        Teacher(thin_config(), save(tmp_path / 'x.pth', wrong))
    message = str(error.value).removesuffix(f'; {error.value.advice}')
    lists = [part.split(': ')[-1] for part in message.split(' | ')[:3]]
    for kind, named, count in zip(
        ('missing', 'unexpected', 'of another shape'), lists, (20, 20, 1), strict=True
    ):
        assert f'{count} {kind}: ' in message
        assert len(named.split('; ')) == min(count, 6)
        assert named.endswith(' …') == (count > 6)


def test_a_config_without_a_model_is_refused(checkpoint):
    with pytest.raises(ValueError, match='the config of the teacher has no model'):
        Teacher({'default_scope': 'mmdet'}, checkpoint)


def test_files_that_do_not_exist_are_named(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.py'):
        Teacher(str(tmp_path / 'nowhere.py'), checkpoint)
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        Teacher(thin_config(), str(tmp_path / 'nowhere.pth'))


def test_a_checkpoint_is_data_and_runs_no_code(tmp_path, weights):
    canary = tmp_path / 'canary'

    class Gadget:
        def __reduce__(self):
            return open, (str(canary), 'w')

    with pytest.raises(CheckpointRefused):
        Teacher(thin_config(), save(tmp_path / 'x.pth', weights, meta=Gadget()))
    assert not canary.exists()


# -- inputs in the teacher's own terms ---------------------------------------

IMAGENET = {
    'mean': [123.675, 116.28, 103.53],
    'std': [58.395, 57.12, 57.375],
    'bgr_to_rgb': True,
    'pad_size_divisor': 32,
}
CAFFE = {
    'mean': [103.53, 116.28, 123.675],
    'std': [1.0, 2.0, 4.0],
    'bgr_to_rgb': False,
    'pad_size_divisor': 32,
}
# Heights and widths: each image is padded along another side.
SIZES = [(70, 40), (50, 96), (33, 20)]


def raw_batch():
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES
    ]
    samples = [DetDataSample(metainfo={'img_shape': size}) for size in SIZES]
    return {'inputs': images, 'data_samples': samples}


def guest(teacher, settings):
    """The teacher with a preprocessor of these settings."""
    teacher.model.data_preprocessor = DetDataPreprocessor(**settings)
    return teacher


def student_with(settings):
    student = nn.Module()
    student.data_preprocessor = DetDataPreprocessor(**settings)
    return student


def padding_of(shape):
    """(B, H, W) bool: True outside of each image."""
    padding = torch.ones(len(SIZES), *shape[-2:], dtype=torch.bool)
    for mask, (height, width) in zip(padding, SIZES, strict=True):
        mask[:height, :width] = False
    return padding


def convert(teacher, student_settings, teacher_settings):
    """Student's inputs, what the teacher makes of them, and what it would have made itself."""
    guest(teacher, teacher_settings)
    student = student_with(student_settings)
    batch = student.data_preprocessor(raw_batch())
    inputs = batch['inputs'].clone()
    converted = teacher.convert_inputs(batch['inputs'], student, batch['data_samples'])
    assert torch.equal(batch['inputs'], inputs), 'the inputs of the student were changed'
    own = teacher.model.data_preprocessor(raw_batch())['inputs']
    return batch['inputs'], converted, own


@pytest.mark.parametrize(
    ('student_settings', 'teacher_settings'),
    [
        (IMAGENET, CAFFE),
        (CAFFE, IMAGENET),
        (IMAGENET, {**IMAGENET, 'mean': [0.0, 10.0, 20.0]}),
        (IMAGENET, {**IMAGENET, 'std': [1.0, 10.0, 20.0]}),
        (IMAGENET, {**IMAGENET, 'bgr_to_rgb': False}),
        (CAFFE, {**CAFFE, 'bgr_to_rgb': False, 'rgb_to_bgr': True}),
        (IMAGENET, {**IMAGENET, 'pad_size_divisor': 64}),
        (IMAGENET, {**IMAGENET, 'pad_value': 3}),
        ({**IMAGENET, 'pad_value': 5}, IMAGENET),
        ({**IMAGENET, 'pad_size_divisor': 1}, {**CAFFE, 'pad_size_divisor': 64, 'pad_value': -2}),
        ({**CAFFE, 'pad_size_divisor': 1}, {**CAFFE, 'pad_size_divisor': 80}),
        (IMAGENET, {'pad_size_divisor': 32}),
        ({'pad_size_divisor': 32, 'bgr_to_rgb': True}, IMAGENET),
        ({'pad_size_divisor': 32}, CAFFE),
    ],
)
def test_inputs_become_what_the_teachers_own_preprocessing_makes_of_the_images(
    teacher, student_settings, teacher_settings
):
    _, converted, own = convert(teacher, student_settings, teacher_settings)
    torch.testing.assert_close(converted, own, rtol=1e-5, atol=1e-3)
    pad_value = teacher_settings.get('pad_value', 0)
    outside = converted.movedim(1, -1)[padding_of(converted.shape)]
    assert len(outside) > 0
    assert torch.equal(outside, torch.full_like(outside, pad_value))


@pytest.mark.parametrize('teacher_settings', [IMAGENET, CAFFE])
def test_more_padding_than_the_teacher_asks_for_stays_and_is_padding(teacher, teacher_settings):
    student_settings = {**IMAGENET, 'pad_size_divisor': 128}
    inputs, converted, own = convert(teacher, student_settings, teacher_settings)
    assert converted.shape == inputs.shape
    height, width = own.shape[-2:]
    assert (height, width) != converted.shape[-2:]
    torch.testing.assert_close(converted[..., :height, :width], own, rtol=1e-5, atol=1e-3)
    assert not converted[..., height:, :].any()
    assert not converted[..., width:].any()


@pytest.mark.parametrize('settings', [IMAGENET, CAFFE, {**CAFFE, 'pad_value': 7}])
def test_inputs_pass_by_untouched_where_both_preprocess_alike(teacher, settings):
    inputs, converted, own = convert(teacher, settings, settings)
    assert converted is inputs
    assert torch.equal(converted, own)


def test_a_smaller_divisor_that_is_met_already_changes_nothing(teacher):
    inputs, converted, _ = convert(teacher, IMAGENET, {**IMAGENET, 'pad_size_divisor': 16})
    assert converted is inputs


# -- how it runs -------------------------------------------------------------


def features_of(teacher, images, autocast=False):
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        return teacher.finish(teacher.start('extract_feat', images))


@pytest.mark.parametrize(
    ('dtype', 'autocast', 'expected'),
    [
        (None, False, torch.float32),
        (None, True, torch.bfloat16),  # as the run
        ('float32', True, torch.float32),
        ('bfloat16', False, torch.bfloat16),
    ],
)
def test_it_runs_in_the_precision_that_was_asked_for(checkpoint, dtype, autocast, expected):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = features_of(Teacher(thin_config(), checkpoint), images)
    found = features_of(Teacher(thin_config(), checkpoint, dtype=dtype), images, autocast)
    assert {level.dtype for level in found} == {expected}
    assert not any(level.requires_grad for level in found)
    for level, reference in zip(found, plain, strict=True):
        if expected is torch.float32:
            assert torch.equal(level, reference)
        else:
            torch.testing.assert_close(level.float(), reference, rtol=0.05, atol=0.05)


def test_channels_last_changes_the_order_in_memory_alone(checkpoint):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = Teacher(thin_config(), checkpoint).to(torch.device('cpu'))
    other = Teacher(thin_config(), checkpoint, channels_last=True).to(torch.device('cpu'))
    assert other.checksum() == plain.checksum()
    assert other.model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features_of(other, images), features_of(plain, images))


def test_with_its_norms_folded_it_gives_the_same_features(checkpoint):
    images = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    plain, folded = (Teacher(thin_config(), checkpoint, fuse_conv_bn=f) for f in (False, True))
    left = [m for m in folded.model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert left == []
    assert not any(p.requires_grad for p in folded.model.parameters())
    torch.testing.assert_close(features_of(folded, images), features_of(plain, images))


@pytest.mark.slow
def test_compiled_it_gives_the_same_features(checkpoint):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, compiled = (Teacher(thin_config(), checkpoint, compile=c) for c in (False, True))
    torch.testing.assert_close(features_of(compiled, images), features_of(plain, images))
    assert compiled.checksum() == plain.checksum()


@pytest.mark.cuda
@pytest.mark.parametrize('settings', [{}, {'dtype': 'bfloat16'}, {'channels_last': True}])
def test_on_a_stream_of_its_own_it_gives_what_it_gives_on_the_cpu(
    checkpoint, settings, monkeypatch
):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = features_of(Teacher(thin_config(), checkpoint), images)
    teacher = Teacher(thin_config(), checkpoint, **settings).to(torch.device('cuda'))
    for _ in range(3):  # memory of the batch before is used again
        started = teacher.start('extract_feat', images.cuda())
        busy = torch.randn(2048, 2048, device='cuda')
        busy = busy @ busy
        found = teacher.finish(started)
        tolerance = 0.05 if 'dtype' in settings else 2e-3
        for level, reference in zip(found, expected, strict=True):
            torch.testing.assert_close(
                level.cpu().float(), reference, rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({'dtype': 'half'}, ValueError, "teacher.dtype must be one of 'float32', 'bfloat16'"),
        ({'compile': 'yes'}, TypeError, 'teacher.compile must be True or False'),
        ({'fuse_conv_bn': 1}, TypeError, 'teacher.fuse_conv_bn must be True or False'),
        ({'channels_last': 1}, TypeError, 'teacher.channels_last must be True or False'),
    ],
)
def test_other_ways_to_run_are_refused(checkpoint, settings, error, message):
    with pytest.raises(error, match=message):
        Teacher(thin_config(), checkpoint, **settings)
