"""The settings of the papers' released runs, as every command of a data set has them."""

import pytest
from command_lines import REPO
from mmengine.config import Config

from sortkd_det.cli.config import run_config

# By pair: learning rate, DKD's beta, LSKD's temperature and weight, SLD's learning rate.
CIFAR_100 = {
    'resnet56-resnet20': (0.05, 2.0, 2.0, 9.0, 0.025),
    'resnet110-resnet32': (0.05, 2.0, 2.0, 9.0, 0.025),
    'resnet32x4-resnet8x4': (0.05, 8.0, 2.0, 9.0, 0.025),
    'wrn_40_2-wrn_16_2': (0.05, 6.0, 2.0, 9.0, 0.025),
    'wrn_40_2-wrn_40_1': (0.05, 6.0, 2.0, 9.0, 0.025),
    'vgg13-vgg8': (0.05, 6.0, 3.0, 9.0, 0.025),
    'vgg13-MobileNetV2': (0.01, 6.0, 3.0, 9.0, 0.008),
    'ResNet50-MobileNetV2': (0.01, 8.0, 3.0, 1.0, 0.008),
    'resnet32x4-ShuffleV1': (0.01, 8.0, 2.0, 9.0, 0.009),
    'resnet32x4-ShuffleV2': (0.01, 8.0, 2.0, 9.0, 0.008),
    'wrn_40_2-ShuffleV1': (0.01, 8.0, 2.0, 9.0, 0.01),
}
# By pair: DKD's beta, SLD's weight of the student's own loss, the teacher's weights.
IMAGENET = {
    'ResNet34-ResNet18': (0.5, 0.5, 'resnet34-b627a593.pth'),
    'ResNet50-MobileNetV1': (2.0, 0.5, 'resnet50-0676ba61.pth'),
    'ResNet50-MobileNetV2': (2.0, 1.0, 'resnet50-0676ba61.pth'),
}
SORT = [dict(type='SortLogits')]
STANDARDIZE = ['StandardizeLogits']


def kd(temperature, weight, **term):
    return dict(loss=dict(type='KDLoss', temperature=temperature, loss_weight=weight), **term)


def dkd(beta, temperature, warmup, **term):
    loss = dict(type='DKDLoss', alpha=1.0, beta=beta, temperature=temperature)
    return dict(loss=loss, warmup=warmup, **term)


def sld(weight, begin):
    loss = dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6], loss_weight=weight)
    term = dict(processors=['SwapLogits'], loss=loss, views='all')
    return [term, dict(term, target='student', begin=begin)]


def ranking(weight):
    loss = dict(type='RankingLoss', distance='l2', strength=1.0, loss_weight=weight)
    return [dict(loss=loss, views='all')]


def told(cfg):
    """What is published of a run: method, weight of the student's own loss, rate, epochs, views."""
    (hook,) = cfg.custom_hooks
    assert hook.type == 'sortkd_det.DistillHook'
    assert 'check_teacher' not in hook
    return (
        hook.to_dict()['method'],
        hook.get('student_weight', 1.0),
        cfg.optim_wrapper.optimizer.lr,
        cfg.train_cfg.max_epochs,
        cfg.model.data_preprocessor.get('num_views', 1),
    )


@pytest.mark.parametrize(('pair', 'row'), CIFAR_100.items())
def test_every_method_on_cifar_100(pair, row):
    lr, beta, temperature, weight, sld_lr = row
    ctkd = kd(dict(type='LearnableTemperature', ramp=10), 0.9)
    lskd = kd(temperature, weight, student_processors=STANDARDIZE)
    lskd_dkd = dkd(beta, temperature, 20, processors=STANDARDIZE, student_processors=STANDARDIZE)
    lskd_dkd['loss']['loss_weight'] = weight
    mlkd = [
        dict(loss=dict(type=name, temperature=[2, 3, 4, 5, 6]), weight=0.9)
        for name in ('KDLoss', 'BatchGramLoss', 'ClassGramLoss', 'KDLoss')
    ]
    mlkd[0]['confidence_quantile'] = mlkd[1]['confidence_quantile'] = 0.5
    mlkd[2]['loss']['confidence_quantile'] = 0.5
    mlkd[3]['views'] = 'second'
    expected = {
        'kd': ([kd(4.0, 0.9)], 0.1, lr, 240, 1),
        'sortkd': ([kd(4.0, 0.9, processors=SORT)], 0.1, lr, 240, 1),
        'ctkd': ([ctkd], 0.1, lr, 240, 1),
        'sortctkd': ([dict(ctkd, processors=SORT)], 0.1, lr, 240, 1),
        'dkd': ([dkd(beta, 4.0, 20)], 1.0, lr, 240, 1),
        'sortdkd': ([dkd(beta, 4.0, 20, processors=SORT)], 1.0, lr, 240, 1),
        'lskd': ([dict(lskd, processors=STANDARDIZE)], 0.1, lr, 240, 1),
        'sortlskd': ([dict(lskd, processors=STANDARDIZE + SORT)], 0.1, lr, 240, 1),
        'lskd_dkd': ([lskd_dkd], 1.0, lr, 240, 1),
        'mlkd': (mlkd, 0.1, sld_lr, 240, 2),
        'ranking': (ranking(5.0), 1.0, 0.025, 300, 2),
        'sld': (sld(0.9, 151), 0.1, sld_lr, 240, 2),
    }
    config = REPO / 'configs/cifar100.py'
    assert expected.keys() == Config.fromfile(config).methods.keys()
    for method, settings in expected.items():
        cfg = run_config(config, pair=pair, method=method)
        assert told(cfg) == settings, method
    teacher, student = pair.split('-')
    assert cfg.model.type == f'sortkd_det.cifar/{student}'
    assert cfg.custom_hooks[0].teacher.checkpoint == f'checkpoints/cifar100/{teacher}.pth'
    taught_by = cfg.custom_hooks[0].teacher.config.model
    assert (taught_by.type, taught_by.num_classes) == (f'sortkd_det.cifar/{teacher}', 100)
    assert taught_by.data_preprocessor.mean == cfg.model.data_preprocessor.mean
    alone = run_config(config, pair=pair)
    assert alone.optim_wrapper.optimizer.lr == lr
    assert 'custom_hooks' not in alone


@pytest.mark.parametrize(('pair', 'row'), IMAGENET.items())
def test_every_method_on_imagenet(pair, row):
    beta, own, weights = row
    expected = {
        'kd': ([kd(1.0, 0.5)], 0.5, 0.2, 100, 1),
        'sortkd': ([kd(1.0, 0.5, processors=SORT)], 0.5, 0.2, 100, 1),
        'dkd': ([dkd(beta, 1.0, 1)], 1.0, 0.2, 100, 1),
        'sortdkd': ([dkd(beta, 1.0, 1, processors=SORT)], 1.0, 0.2, 100, 1),
        'sld': (sld(0.5, 31), own, 0.2, 100, 2),
    }
    config = REPO / 'configs/imagenet.py'
    assert expected.keys() == Config.fromfile(config).methods.keys()
    for method, settings in expected.items():
        cfg = run_config(config, pair=pair, method=method)
        assert told(cfg) == settings, method
    checkpoint = cfg.custom_hooks[0].teacher.checkpoint
    assert checkpoint == f'https://download.pytorch.org/models/{weights}'


@pytest.mark.parametrize('pair', ['ResNet18-MobileNetV2', 'ResNet18-ShuffleV2'])
def test_every_method_on_tiny_imagenet(pair):
    lskd = kd(2.0, 9.0, processors=STANDARDIZE, student_processors=STANDARDIZE)
    expected = {
        'kd': ([kd(4.0, 0.9)], 0.1, 0.05, 240, 1),
        'sortkd': ([kd(4.0, 0.9, processors=SORT)], 0.1, 0.05, 240, 1),
        'dkd': ([dkd(8.0, 4.0, 20)], 1.0, 0.05, 240, 1),
        'lskd': ([lskd], 0.1, 0.05, 240, 1),
        'ranking': (ranking(10.0), 1.0, 0.05, 240, 2),
    }
    config = REPO / 'configs/tiny_imagenet.py'
    assert expected.keys() == Config.fromfile(config).methods.keys()
    for method, settings in expected.items():
        assert told(run_config(config, pair=pair, method=method)) == settings, method


def test_every_method_on_the_clothes():
    temperature = dict(type='LearnableTemperature', ramp=10)
    lskd = kd(2.0, 9.0, processors=STANDARDIZE + SORT, student_processors=STANDARDIZE)
    expected = {
        'kd': ([kd(4.0, 0.9)], 0.1, 0.05, 20, 1),
        'sortkd': ([kd(4.0, 0.9, processors=SORT)], 0.1, 0.05, 20, 1),
        'sortctkd': ([kd(temperature, 0.9, processors=SORT)], 0.1, 0.05, 20, 1),
        'dkd': ([dkd(2.0, 4.0, 5)], 1.0, 0.05, 20, 1),
        'sortdkd': ([dkd(2.0, 4.0, 5, processors=SORT)], 1.0, 0.05, 20, 1),
        'sortlskd': ([lskd], 0.1, 0.05, 20, 1),
        'ranking': (ranking(5.0), 1.0, 0.025, 20, 2),
        'sld': (sld(0.9, 13), 0.1, 0.025, 20, 2),
    }
    config = REPO / 'configs/clothing/student.py'
    assert expected.keys() == Config.fromfile(config).methods.keys()
    for method, settings in expected.items():
        cfg = run_config(config, method=method)
        audit = cfg.custom_hooks[1:]
        cfg.custom_hooks = cfg.custom_hooks[:1]
        assert told(cfg) == settings, method
        watched = [dict(type='sortkd_det.TeacherAuditHook', interval=20)]
        assert audit == (watched if method == 'sortctkd' else [])
    assert cfg.custom_hooks[0].teacher.config.model.type == 'sortkd_det.cifar/resnet20'


# -- how the tables are read -------------------------------------------------


def test_a_users_settings_win_over_published_ones():
    cfg = run_config(
        REPO / 'configs/cifar100.py',
        pair='resnet32x4-resnet8x4',
        method='dkd',
        cfg_options={'method.0.loss.beta': 1.5, 'optim_wrapper.optimizer.lr': 0.1},
    )
    assert cfg.custom_hooks[0].method[0].loss.to_dict() == dict(
        type='DKDLoss', alpha=1.0, beta=1.5, temperature=4.0
    )
    assert cfg.optim_wrapper.optimizer.lr == 0.1


def test_a_method_without_published_settings_is_as_its_file_says():
    cfg = run_config(REPO / 'configs/cifar100.py', pair='vgg13-MobileNetV2', method='nkd')
    loss = dict(type='NKDLoss', gamma=1.5, temperature=1.0)
    assert told(cfg) == ([dict(loss=loss)], 1.0, 0.01, 240, 1)


def test_tables_know_nothing_of_a_method_of_ones_own(tmp_path):
    own = tmp_path / 'dkd.py'
    own.write_text("method = [dict(loss=dict(type='DKDLoss', beta=3.0))]\nstudent_weight = 0.7\n")
    cfg = run_config(REPO / 'configs/cifar100.py', pair='vgg13-vgg8', method=str(own))
    assert told(cfg) == ([dict(loss=dict(type='DKDLoss', beta=3.0))], 0.7, 0.05, 240, 1)


def test_no_table_is_left_in_the_config_of_a_run():
    cfg = run_config(REPO / 'configs/cifar100.py', pair='vgg13-vgg8', method='kd')
    assert not {'pairs', 'methods'} & set(cfg)
