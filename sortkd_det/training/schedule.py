"""The schedules of a run that is resumed: where a run of this very config would have them."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import Runner

from sortkd_det.checkpoints import to_plain

from .loops import EpochLoop, IterLoop

# What steps change in a scheduler, the last three by metrics; all else is how it was built.
_MOVES = {'_global_step', 'last_step', '_last_value', 'verbose'}
_BY_METRICS = {'best', 'num_bad_epochs', 'cooldown_counter'}
# What is the config's to say of an optimizer's groups, beside what is scheduled.
_SETTINGS = {'lr', 'momentum', 'betas', 'weight_decay'}
_NAMED = 4  # differences that a message names


class Schedules:
    """Schedulers and settings of optimizers as a config has them, before a checkpoint is loaded.

    MMEngine's schedulers take ``end``, ``T_max``, milestones and all else from the
    checkpoint. Here they go on from its state only where a run with the settings of this
    config has written it; otherwise they are stepped from their beginning to where the run is.

    Args:
        runner: whose optimizers and schedulers are built and not yet loaded.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._optimizers = list(_optimizers_of(runner))

    def go_on(self, saved: Any) -> None:
        """Bring schedulers, and optimizers into which the checkpoint was loaded, to this moment.

        Args:
            saved: the checkpoint's ``param_schedulers``: a list of states, a dict of lists
                by optimizer, or None.

        Raises:
            ValueError: the config differs, and a scheduler depends on past validations.
        """
        loop = self.runner.train_loop
        if not isinstance(loop, EpochLoop | IterLoop):  # the config's own, which resumes as it does
            for each in self._optimizers:
                each.load(saved)
            return
        differences = [d for each in self._optimizers for d in each.differences(saved, *loop.past)]
        if not differences:
            for each in self._optimizers:
                each.load(saved)
            return
        found = '; '.join(differences[:_NAMED]) + (' …' if len(differences) > _NAMED else '')
        for each in self._optimizers:
            each.refuse_metrics(found)
            each.replay(*loop.past, len(loop.dataloader))
        rates = ', '.join(f'{each.settings_now()["lr"]:.4e}' for each in self._optimizers)
        self.runner.logger.warning(
            f'the schedule of this config is not that of the checkpoint ({found}): the learning '
            'rate and other settings go on as in a run of this config from its beginning, after '
            f'{loop.past[1]} iterations: lr {rates}'
        )


class _Optimizer:
    """One optimizer, its schedulers, and its settings as the config begins with them."""

    def __init__(
        self, name: str | None, wrapper: OptimWrapper, schedulers: Sequence[_ParamScheduler]
    ) -> None:
        self.name = name
        self.wrapper = wrapper
        self.schedulers = schedulers
        scheduled = {scheduler.param_name for scheduler in schedulers}
        self.names = sorted(_SETTINGS | scheduled)
        if any(getattr(scheduler, 'use_betas', False) for scheduler in schedulers):
            self.names.remove('betas')  # their first is scheduled as momentum
        self.keys = {
            f'{prefix}{name}'
            for name in {*self.names, 'betas'}
            for prefix in ('', 'initial_', 'max_', 'min_')  # the last two are OneCycleLR's
        }
        self.begins = [
            {key: group[key] for key in self.keys if key in group} for group in wrapper.param_groups
        ]

    def _states_in(self, saved: Any) -> Sequence[dict]:
        if self.name is not None:
            saved = saved.get(self.name) if isinstance(saved, dict) else None
        return saved if isinstance(saved, list | tuple) else []

    def load(self, saved: Any) -> None:
        """Take over the states of the schedulers."""
        for scheduler, state in zip(self.schedulers, self._states_in(saved), strict=False):
            scheduler.load_state_dict(state)

    def differences(self, saved: Any, epochs: int, iterations: int) -> Iterator[str]:
        """How the checkpoint's schedulers and settings differ, each as a text."""
        settings = list(self._differing_settings())
        yield from settings
        states = self._states_in(saved)
        if len(states) != len(self.schedulers):
            yield f'param_scheduler has {len(states)} there and {len(self.schedulers)} here'
            return
        said = {'base_values'} if settings else set()  # what schedules begin with
        for index, (scheduler, state) in enumerate(zip(self.schedulers, states, strict=True)):
            own, other = to_plain(scheduler.state_dict()), to_plain(state)
            for key in sorted({*own, *other} - _MOVES - _BY_METRICS - said):
                if own.get(key) != other.get(key):
                    yield (
                        f'param_scheduler.{index}.{key} is {other.get(key)} there and '
                        f'{own.get(key)} here'
                    )
            steps = epochs if scheduler.by_epoch else iterations
            if other.get('_global_step') != steps:
                yield (
                    f'param_scheduler.{index} has made {other.get("_global_step")} steps there '
                    f'and {steps} here'
                )

    def _differing_settings(self) -> Iterator[str]:
        for name in self.names:
            for own, other in zip(self.begins, self.wrapper.param_groups, strict=True):
                here, there = (g.get(f'initial_{name}', g.get(name)) for g in (own, other))
                if None not in (here, there) and to_plain(here) != to_plain(there):
                    yield f'{name} is {there} there and {here} here'
                    break

    def refuse_metrics(self, differences: str) -> None:
        """Raise if a scheduler depends on more than the number of its steps."""
        for index, scheduler in enumerate(self.schedulers):
            if getattr(scheduler, 'need_val_args', False):
                raise ValueError(
                    f'the schedule of this config is not that of the checkpoint ({differences}), '
                    f'and param_scheduler.{index}, a {type(scheduler).__name__}, depends on the '
                    'validations of the whole run, so that nobody can say where it would be: '
                    'resume with the settings of that run, or leave --resume out and begin with '
                    "the checkpoint's weights by load_from"
                )

    def replay(self, epochs: int, iterations: int, length: int) -> None:
        """Step the schedulers as a run of epochs of ``length`` iterations does."""
        for begin, group in zip(self.begins, self.wrapper.param_groups, strict=True):
            for key in self.keys:
                group.pop(key, None)
            group.update(begin)
        by_iteration = [scheduler for scheduler in self.schedulers if not scheduler.by_epoch]
        by_epoch = [scheduler for scheduler in self.schedulers if scheduler.by_epoch]
        with warnings.catch_warnings():  # the optimizer's steps were made in another process
            warnings.filterwarnings('ignore', message='Detected call of `scheduler')
            for now in range(1, iterations + 1):
                for scheduler in by_iteration:
                    scheduler.step()
                if now % length == 0 and now // length <= epochs:
                    for scheduler in by_epoch:
                        scheduler.step()

    def settings_now(self) -> dict[str, Any]:
        """Return the settings of the optimizer's first group."""
        return self.wrapper.param_groups[0]


def _optimizers_of(runner: Runner) -> Iterator[_Optimizer]:
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    if not isinstance(wrapper, OptimWrapperDict):
        yield _Optimizer(None, wrapper, schedulers)
        return
    for name, each in wrapper.items():
        yield _Optimizer(name, each, schedulers[name] if schedulers else [])
