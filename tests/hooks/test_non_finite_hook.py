"""Numbers that go wrong: seen before the step, named, and by option left out."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from small_runs import assert_same

from sortkd_det.hooks import DistillHook, NonFiniteHook
from sortkd_det.hooks.non_finite_hook import image_names


class Spoil(Hook):
    """Makes the loss of some iterations, or a gradient, what it should not be."""

    priority = 'VERY_HIGH'

    def __init__(self, iterations, value=math.nan, what='loss'):
        self.iterations, self.value, self.what = iterations, value, what

    def before_train(self, runner):
        model = runner.model
        self.weight = model.get_parameter('fc.weight')

        def spoil(module, args, output):
            if isinstance(output, dict) and runner.iter + 1 in self.iterations:
                output['loss_cls'] = output['loss_cls'] * self.value
            return output

        if self.what == 'loss':
            model.register_forward_hook(spoil)
        else:
            self.weight.register_hook(
                lambda g: g * (self.value if runner.iter + 1 in self.iterations else 1)
            )


def weights_before(runner, iteration):
    """Fill a dict with the weights before an iteration."""
    kept = {}

    class Keep(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter + 1 == iteration:
                kept.update({k: v.clone() for k, v in runner.model.state_dict().items()})

    runner.register_hook(Keep())
    return kept


@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('what', ['loss', 'gradient'])
def test_a_run_stops_before_the_step_and_says_where(classifier, start, tmp_path, what, value):
    runner = start(classifier)
    runner.register_hook(Spoil({5}, value, what))
    kept = weights_before(runner, 5)
    loss = r'losses loss_cls = (nan|inf)'
    expected = {'loss': rf'{loss}.*', 'gradient': r'gradients of fc\.weight; '}[what]
    with pytest.raises(FloatingPointError, match=rf'iteration 5: {expected}images: \d+, \d+, '):
        runner.train()
    after = runner.model.state_dict()
    for name, parameter in runner.model.named_parameters():
        assert torch.equal(parameter, kept[name])
    assert after.keys() == kept.keys()
    assert [path.name for path in (tmp_path / 'classifier').glob('epoch_*')] == ['epoch_1.pth']


@pytest.mark.parametrize('what', ['loss', 'gradient'])
def test_a_step_left_out_changes_no_bit_and_is_counted(classifier, start, what):
    classifier.custom_hooks.append(dict(type='sortkd_det.NonFiniteHook', action='skip'))
    runner = start(classifier)
    assert sum(isinstance(hook, NonFiniteHook) for hook in runner.hooks) == 1
    runner.register_hook(Spoil({2, 5}, what=what))
    before, after = weights_before(runner, 5), weights_before(runner, 6)
    runner.train()
    assert_same(before, after)  # batch norm's statistics too
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    assert runner.message_hub.get_info('skipped_steps') == 2
    (log,) = Path(runner.log_dir).glob('*.log')
    text = log.read_text()
    assert 'the step is left out (2 so far)' in text
    assert '2 steps were left out' in text


def test_momentum_is_not_moved_by_a_step_left_out(classifier, start):
    """A run whose every step from the third on is left out keeps the optimizer's state."""
    classifier.custom_hooks.append(dict(type='sortkd_det.NonFiniteHook', action='skip'))
    runner = start(classifier)
    runner.register_hook(Spoil(set(range(3, 99))))
    states = []

    class Keep(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            state = runner.optim_wrapper.optimizer.state_dict()['state']
            states.append({k: v['momentum_buffer'].clone() for k, v in state.items()})

    runner.register_hook(Keep())
    runner.train()
    assert_same(states[1], states[-1])


def test_the_count_survives_a_resume(classifier, start):
    classifier.custom_hooks.append(dict(type='sortkd_det.NonFiniteHook', action='skip'))
    classifier.train_cfg.max_epochs = 1
    runner = start(classifier)
    runner.register_hook(Spoil({2}))
    runner.train()
    classifier.train_cfg.max_epochs = 2
    resumed = start(classifier, resume=True)
    resumed.register_hook(Spoil({6}))
    resumed.train()
    assert resumed.message_hub.get_info('skipped_steps') == 2


def test_the_scalers_own_skips_are_not_mistaken_for_it(classifier, start):
    """Under AMP a gradient that overflows is the scaler's affair: it skips and halves its scale."""
    runner = start(classifier)
    runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, NonFiniteHook))
    hook.before_train(runner)
    optimizer = runner.optim_wrapper.optimizer
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    loss = scaler.scale(sum((p**2).sum() for p in runner.model.parameters()))
    loss.backward()
    runner.model.get_parameter('fc.weight').grad[0, 0] = math.inf
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    scaler.step(optimizer)  # no error, no step
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert_same(before, {name: p.detach() for name, p in runner.model.named_parameters()})
    optimizer.zero_grad()
    runner.model.get_parameter('fc.weight').grad = torch.full((3, 64), math.nan)
    with pytest.raises(FloatingPointError):
        optimizer.step()


@OPTIM_WRAPPERS.register_module()
class ScalingWrapper(OptimWrapper):
    """``AmpOptimWrapper``, as far as a CPU can follow: gradients in the scaler's units."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=4.0)

    def backward(self, loss, **_):
        self.loss_scaler.scale(loss).backward()
        self._inner_count += 1

    def step(self, **_):
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()


@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_a_loss_is_not_the_scalers_affair(classifier, start, action):
    classifier.optim_wrapper.type = 'ScalingWrapper'
    classifier.custom_hooks.append(dict(type='sortkd_det.NonFiniteHook', action=action))
    runner = start(classifier)
    runner.register_hook(Spoil({5}))
    before, after = weights_before(runner, 5), weights_before(runner, 6)
    if action == 'stop':
        with pytest.raises(FloatingPointError, match='iteration 5: losses loss_cls = nan; images'):
            runner.train()
        return
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1
    assert_same(before, after)  # statistics of batch norm too


@pytest.mark.parametrize('wrapper', ['ScalingWrapper', 'OptimWrapper'])
def test_the_average_of_weights_takes_nothing_of_it_in(classifier, start, wrapper):
    """A NaN among the pixels of iteration 4, in a group of two under the plain wrapper."""
    groups = 2 if wrapper == 'OptimWrapper' else 1
    classifier.optim_wrapper.update(type=wrapper, accumulative_counts=groups)
    classifier.custom_hooks += [
        dict(type='sortkd_det.NonFiniteHook', action='skip'),
        dict(type='EMAHook', update_buffers=True),
    ]
    runner = start(classifier)

    class SpoilPixels(Hook):
        def before_train(self, runner):
            runner.model.conv1.register_forward_pre_hook(
                lambda module, args: (args[0] * (math.nan if runner.iter == 3 else 1),)
            )

    runner.register_hook(SpoilPixels())
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1
    (average,) = (hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook))
    for model in (runner.model, average):
        assert all(value.isfinite().all() for value in model.state_dict().values())


def test_batches_of_any_kind_are_trained_on():
    assert image_names({'inputs': 1, 'data_samples': torch.zeros(3)}) == []
    assert image_names({'inputs': 1, 'data_samples': None}) == []
    assert image_names([torch.zeros(2), torch.zeros(2)]) == []
    assert image_names({'data_samples': [SimpleNamespace(img_path='a.jpg')]}) == ['a.jpg']


@pytest.mark.parametrize('what', ['loss', 'gradient'])
def test_a_gradient_that_overflows_is_the_scalers_affair(classifier, start, what):
    classifier.optim_wrapper.type = 'ScalingWrapper'
    runner = start(classifier)
    runner.register_hook(Spoil({5} if what == 'gradient' else (), math.inf, 'gradient'))
    runner.train()
    assert runner.optim_wrapper.loss_scaler.get_scale() == (2.0 if what == 'gradient' else 4.0)


def test_a_group_of_iterations_is_left_out_as_one(classifier, start):
    """Gradients of iterations 3 and 4 are added up; the loss of 3 is wrong."""
    classifier.optim_wrapper.accumulative_counts = 2
    classifier.custom_hooks.append(dict(type='sortkd_det.NonFiniteHook', action='skip'))
    runner = start(classifier)
    runner.register_hook(Spoil({3}))
    before, after = weights_before(runner, 3), weights_before(runner, 5)
    runner.train()
    assert_same(before, after)
    (log,) = Path(runner.log_dir).glob('*.log')
    (line,) = re.findall('not finite at.*', log.read_text())
    assert 'not finite at iteration 3: losses loss_cls = nan and gradients of' in line
    assert len(line.split('images: ')[1].split(': the step')[0].split(', ')) == 4


def test_clipping_leaves_a_gradient_without_bound_the_only_one(classifier, start):
    classifier.optim_wrapper.clip_grad = dict(max_norm=1.0)
    runner = start(classifier)
    runner.register_hook(Spoil({5}, math.inf, 'gradient'))
    with pytest.raises(FloatingPointError, match=r'gradients of fc\.weight; images'):
        runner.train()


def test_clipping_blames_no_single_parameter(classifier, start):
    classifier.optim_wrapper.clip_grad = dict(max_norm=1.0)
    runner = start(classifier)
    runner.register_hook(Spoil({5}, what='gradient'))
    with pytest.raises(FloatingPointError, match=r'gradients \(clipping made all of them so\)'):
        runner.train()


def test_detectors_name_their_images(detector, start):
    runner = start(detector)

    class SpoilDetector(Hook):
        def before_train(self, runner):
            runner.model.register_forward_hook(
                lambda module, args, output: (
                    {**output, 'loss_bbox': output['loss_bbox'] * math.nan}
                    if isinstance(output, dict)
                    else None
                )
            )

    runner.register_hook(SpoilDetector())
    with pytest.raises(FloatingPointError, match=r'loss_bbox = nan.*images: \S+\.(png|jpg), \S+'):
        runner.train()


def test_an_unknown_action_is_refused():
    with pytest.raises(ValueError, match="action must be 'stop' or 'skip', got 'ignore'"):
        NonFiniteHook('ignore')


# -- the teacher -----------------------------------------------------------------


@pytest.mark.parametrize('what', ['parameter', 'statistics'])
def test_a_teacher_that_changed_is_noticed(classifier, start, what):
    runner = start(classifier)

    class Train(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            teacher = next(h for h in runner.hooks if isinstance(h, DistillHook)).adapter.teacher
            name = 'fc.bias' if what == 'parameter' else 'bn1.running_mean'
            teacher.model.state_dict()[name][0] += 1e-6

    runner.register_hook(Train())
    with pytest.raises(RuntimeError, match=r'teacher.*changed during training'):
        runner.train()
