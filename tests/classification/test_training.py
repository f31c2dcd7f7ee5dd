"""Classifiers in real runs of MMEngine's runner: every recipe, resuming, workers, checkpoints."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from small_runs import assert_same, weights

from sortkd_det.cli.config import run_config
from sortkd_det.cli.runner import build_runner
from sortkd_det.distill import load_weights
from sortkd_det.registry import MODELS

REPO = Path(__file__).parents[2]
RECIPES = [
    'clothing/teacher',
    *(
        f'{name}/{method}'
        for name, path in (
            ('cifar100', 'cifar100.py'),
            ('clothing', 'clothing/student.py'),
            ('imagenet', 'imagenet.py'),
            ('tiny_imagenet', 'tiny_imagenet.py'),
        )
        for method in ('student', *Config.fromfile(REPO / 'configs' / path).methods)
    ),
]
TWO_VIEWS = {
    'cifar100/mlkd',
    'cifar100/sld',
    'cifar100/ranking',
    'clothing/ranking',
    'clothing/sld',
    'imagenet/sld',
    'tiny_imagenet/ranking',
}


def watched(cfg, train):
    """Run it; the pairs and distillation losses of each batch, and the runner."""
    seen = []
    runner = train(
        cfg, watcher=lambda batch: seen.append((batch.logits, dict(batch.distill_losses)))
    )
    return seen, runner


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_recipe_trains_validates_and_saves_a_plain_student(recipe, make_config, train):
    runner = train(make_config(recipe))
    assert runner.epoch == 1
    saved = torch.load(f'{runner.work_dir}/epoch_1.pth', weights_only=True)
    network = 'cifar/resnet14' if recipe.endswith('teacher') else 'cifar/resnet8'
    plain = MODELS.get(network)(3)
    assert list(saved['state_dict']) == list(plain.state_dict())
    load_weights(plain, f'{runner.work_dir}/epoch_1.pth')
    assert_same(plain.state_dict(), weights(runner))
    assert ('sortkd_det' in saved) == ('ctkd' in recipe)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert re.search(r'accuracy/top1: \d', log.read_text())
    distils = bool(runner.cfg.get('custom_hooks'))
    assert ('loss_distill' in log.read_text()) == distils


@pytest.mark.parametrize('recipe', sorted(TWO_VIEWS))
def test_a_method_of_two_views_is_given_both(recipe, make_config):
    cfg = make_config(recipe)
    assert cfg.model.data_preprocessor.num_views == 2


def test_teacher_and_student_see_the_same_images(make_config, train, teacher_weights):
    """The teacher's logits are those of its network on the student's very batch."""
    cfg = make_config('cifar100/sld')
    seen, runner = watched(cfg, train)
    assert len(seen) == 2
    pairs, losses = seen[0]
    assert pairs.second is not None
    assert not torch.equal(pairs.student, pairs.second.student)
    assert not torch.equal(pairs.teacher, pairs.second.teacher)
    assert torch.equal(pairs.labels, pairs.second.labels)
    assert losses['loss_distill_0'] > 0
    assert losses['loss_distill_1'] == 0  # from epoch 151 on
    # The batch again, from its indices, through a teacher of the test's own.
    teacher = MODELS.get('cifar/resnet14')(3).eval()
    load_weights(teacher, str(teacher_weights))
    batches = runner.train_dataloader.batch_sampler
    batches.sampler.set_epoch(0)
    batch = runner.train_dataloader.dataset.__getitems__(next(iter(batches)))
    views = runner.model.data_preprocessor(batch, training=True)['inputs']
    with torch.no_grad():
        torch.testing.assert_close(teacher(views[0]), pairs.teacher)
        torch.testing.assert_close(teacher(views[1]), pairs.second.teacher)


def test_a_teacher_with_another_normalisation_sees_it(make_config, train, teacher_weights):
    cfg = make_config('cifar100/kd')
    cfg.custom_hooks[0].teacher.config.model.data_preprocessor.mean = (0.1, 0.2, 0.3)
    cfg.custom_hooks[0].teacher.config.model.data_preprocessor.std = (0.5, 0.6, 0.7)
    seen, runner = watched(cfg, train)
    batches = runner.train_dataloader.batch_sampler
    batches.sampler.set_epoch(0)
    batch = runner.train_dataloader.dataset.__getitems__(next(iter(batches)))
    own = runner.model.data_preprocessor
    images = own(batch, training=True)['inputs'] * own.std[:, None, None] + own.mean[:, None, None]
    images = (images - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.6, 0.7]
    )[:, None, None]
    teacher = MODELS.get('cifar/resnet14')(3).eval()
    load_weights(teacher, str(teacher_weights))
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), seen[0][0].teacher, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('form', 'prefix'),
    [
        ('net', 'module.student.'),
        ('ema', '_orig_mod.'),
        ('safetensors', 'model.'),
        (None, ''),
    ],
)
def test_weights_teach_begin_and_are_tested_in_whatever_form_they_come(
    make_config, train, teacher_weights, tmp_path, form, prefix
):
    """To the bit as the same weights in the plain form do."""

    def save(name, network):
        prefixed = {f'{prefix}{key}': value for key, value in network.items()}
        if form == 'safetensors':
            save_file(prefixed, tmp_path / f'{name}.safetensors')
            return str(tmp_path / f'{name}.safetensors')
        content = {'net': {'net': prefixed}, 'ema': {'ema': {'module': prefixed}}}
        torch.save(content.get(form, prefixed), tmp_path / f'{name}.pth')
        return str(tmp_path / f'{name}.pth')

    cfg = make_config('cifar100/kd')
    cfg.custom_hooks.append(dict(type='EMAHook'))
    network = MODELS.get('cifar/resnet8')(3)
    plain = tmp_path / 'plain.pth'
    torch.save({'state_dict': network.state_dict()}, plain)
    cfg.load_from = str(plain)
    expected = train(cfg, 'plain')
    odd = copy.deepcopy(cfg)
    odd.load_from = save('student', network.state_dict())
    teacher = torch.load(teacher_weights, weights_only=True)['model']
    odd.custom_hooks[0].teacher.checkpoint = save('teacher', teacher)
    runner = train(odd, 'odd')
    assert_same(weights(expected), weights(runner))
    (log,) = Path(runner.log_dir).glob('*.log')
    for name in ('student', 'teacher'):
        said = f"{name}.* the prefix '{prefix}' is taken off all"
        assert bool(re.search(said, log.read_text())) == bool(prefix)
    tested = []
    for number, checkpoint in enumerate((str(plain), odd.load_from)):
        alone = make_config('cifar100/student')
        alone.load_from, alone.work_dir = checkpoint, str(tmp_path / f'test{number}')
        alone.experiment_name = f'{tmp_path.name}-{number}'
        tested.append(build_runner(alone, strict=True).test())
    assert tested[0] == tested[1]


def test_the_teacher_can_be_tested_before_training(make_config, train):
    cfg = make_config('cifar100/kd')
    cfg.custom_hooks[0].check_teacher = 5
    cfg.val_dataloader.batch_size = 2
    runner = train(cfg)
    (log,) = Path(runner.log_dir).glob('*.log')
    expected = r'teacher on 5 images of the validation set: accuracy/top1 \d'  # in batches of 2
    assert re.search(expected, log.read_text())


def test_weight_zero_is_bit_equal_to_the_student_alone(make_config, train):
    cfg = make_config('cifar100/sortkd')
    cfg.custom_hooks[0].student_weight = 1.0
    cfg.custom_hooks[0].method[0].weight = 0.0
    distilled = weights(train(cfg, 'distilled'))
    assert_same(distilled, weights(train(make_config('cifar100/student'), 'alone')))


@pytest.mark.parametrize('recipe', ['cifar100/sortdkd', 'cifar100/ctkd', 'cifar100/sld'])
def test_a_resumed_run_ends_bit_equal(recipe, make_config, train):
    cfg = make_config(recipe)
    cfg.train_cfg.max_epochs = 3
    cfg.default_hooks.checkpoint.max_keep_ckpts = 5
    cfg.param_scheduler.milestones = [2]
    whole = train(cfg, 'whole')
    cfg.resume, cfg.load_from = True, f'{whole.work_dir}/epoch_1.pth'
    assert_same(weights(train(cfg, 'resumed')), weights(whole))


def test_the_number_of_workers_changes_nothing(make_config, train):
    cfg = make_config('cifar100/sld')
    cfg.train_cfg.max_epochs = 2
    alone = weights(train(cfg, 'alone'))
    cfg.train_dataloader.num_workers = 2
    cfg.train_dataloader.persistent_workers = True
    assert_same(weights(train(cfg, 'workers')), alone)


def test_another_seed_gives_another_run(make_config, train):
    cfg = make_config('cifar100/student')
    first = train(cfg, 'first')
    cfg.randomness.seed = 1
    second = train(cfg, 'second')
    seeds = [runner.model.data_preprocessor.seed for runner in (first, second)]
    assert seeds == [0, 1]
    assert not torch.equal(first.model.conv1.weight, second.model.conv1.weight)


def test_the_audit_watches_classifiers_too(make_config, train):
    cfg = make_config('cifar100/sortkd')
    cfg.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=1))
    runner = train(cfg)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert re.search(r'teacher/fg_top1: \d.*teacher/sorted: \d', log.read_text())
    assert 'green' in log.read_text().split('teacher on the training samples, per class')[1]


@pytest.mark.parametrize(
    'recipe', [pytest.param('cifar100/student', marks=pytest.mark.slow), 'cifar100/sortkd']
)
def test_a_run_may_be_compiled(recipe, make_config, train):
    cfg = make_config(recipe)
    plain = weights(train(cfg, 'plain'))
    torch.compiler.reset()  # what an earlier run compiled knows nothing of this one's hooks
    cfg.compile = dict(backend='eager')
    compiled = weights(train(cfg, 'compiled'))
    assert plain.keys() == compiled.keys()
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value, rtol=1e-3, atol=1e-4)


# -- bad input ---------------------------------------------------------------


def test_a_two_view_method_on_one_view_is_refused(make_config, train):
    cfg = make_config('cifar100/mlkd')
    cfg.model.data_preprocessor.num_views = 1
    with pytest.raises(ValueError, match="has views='second', and the data gives one view"):
        train(cfg)


def test_a_teacher_of_other_classes_is_refused_before_training(make_config, train, tmp_path):
    cfg = make_config('cifar100/kd')
    cfg.custom_hooks[0].teacher.config.model.num_classes = 4
    torch.save(MODELS.get('cifar/resnet14')(4).state_dict(), tmp_path / 'four.pth')
    cfg.custom_hooks[0].teacher.checkpoint = str(tmp_path / 'four.pth')
    with pytest.raises(ValueError, match='number of classes: 4 and 3'):
        train(cfg)


def test_a_checkpoint_of_another_network_is_named(make_config, train, tmp_path):
    cfg = make_config('cifar100/kd')
    torch.save(MODELS.get('cifar/resnet20')(3).state_dict(), tmp_path / 'other.pth')
    cfg.custom_hooks[0].teacher.checkpoint = str(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'do not fit .*unexpected: layer1\.2'):
        train(cfg)


# -- the tools ---------------------------------------------------------------

BLOCKED = (
    'import runpy, sys; sys.modules.update(mmdet=None, mmcv=None, torchvision=None); '
    'sys.argv = sys.argv[1:]; sys.path.insert(0, "tools"); '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
)


def run_tool(*arguments):
    """A tool in a process where neither MMDetection nor mmcv can be imported."""
    done = subprocess.run(
        [sys.executable, '-c', BLOCKED, *map(str, arguments)], cwd=REPO, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_tools_train_and_test_without_mmdetection(make_config, tmp_path):
    cfg = make_config('cifar100/sortkd')
    cfg.test_evaluator.per_class = True
    cfg.test_evaluator.confusion = str(tmp_path / 'confusion.png')
    path = tmp_path / 'mine.py'
    cfg.dump(path)
    printed = run_tool('tools/train.py', path, '--work-dir', tmp_path / 'work')
    assert 'wrote ' in printed
    printed = run_tool(
        'tools/test.py', path, tmp_path / 'work/epoch_1.pth', '--work-dir', tmp_path / 'test'
    )
    assert re.search(r'accuracy/top1: \d', printed)
    assert re.search(r'accuracy/top1/green: \d', printed)
    assert (tmp_path / 'confusion.png').stat().st_size > 1000


@pytest.mark.parametrize('name', ['cifar100', 'imagenet', 'tiny_imagenet'])
def test_every_pair_of_every_method_names_networks_that_there_are(name):
    config = REPO / f'configs/{name}.py'
    tables = Config.fromfile(config)
    for pair in tables.pairs:
        for method in (None, *tables.methods):
            cfg = run_config(config, pair=pair, method=method)
            models = [cfg.model]
            models += [hook.teacher.config.model for hook in cfg.get('custom_hooks') or []]
            assert len(models) == (1 if method is None else 2)
            for model in models:
                assert MODELS.get(model.type) is not None, model.type
                assert model.type.startswith(f'sortkd_det.{name.removesuffix("100")}/')
