"""MMEngine's training loops, repeatable, and going on at the very batch where they were stopped."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.utils import calc_dynamic_intervals

from sortkd_det.hooks.safe_checkpoint_hook import VALIDATED
from sortkd_det.registry import LOOPS

from .batches import SeededBatchSampler, seed_generators

#: Entry of the message hub, and so of checkpoints: batches of the epoch that were trained on,
#: and how many it has.
PROGRESS = 'batches_of_epoch'


class _Repeatable:
    """What both loops add to MMEngine's.

    The global generators are seeded before each iteration by (seed, iteration,
    rank), so nothing that a checkpoint would have to keep is left in them.
    """

    def run_iter(self, *args: Any, **kwargs: Any) -> None:
        """Run one iteration, after seeding the generators."""
        seed_generators(self.runner.seed, self._iter, get_rank())
        super().run_iter(*args, **kwargs)

    @property
    def _batches(self) -> SeededBatchSampler:
        return self.dataloader.batch_sampler

    def _validate_if_due(self, now: int, end: int) -> None:
        """Validate where it is due and, after a resume, was not done."""
        self._decide_current_val_interval()
        hub = self.runner.message_hub
        if (
            self.runner.val_loop is None
            or self._iter == 0
            or now < self.val_begin
            or (now % self.val_interval and now != end)
            or hub.runtime_info.get(VALIDATED) == self._iter
        ):
            return
        self.runner.val_loop.run()


@LOOPS.register_module()
class EpochLoop(_Repeatable, EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` that resumes within an epoch, and before a validation.

    Takes the same arguments; its loader has a :class:`SeededBatchSampler`.
    """

    _done = 0  # batches of the epoch that a resumed run has seen

    def run(self) -> Any:
        """Train, and return the model."""
        done = self._batches_done
        self._count_to_the_end(done)
        self.runner.call_hook('before_train')
        if done == 0:
            self._validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self._done, done = done, 0
            self.run_epoch()
            self._validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    @property
    def past(self) -> tuple[int, int]:
        """Epochs, and iterations, that a run of this config has behind it where this one is."""
        return self._epoch, self._epoch * len(self.dataloader) + self._batches_done

    @cached_property
    def _batches_done(self) -> int:
        """How many batches of the epoch a resumed run has seen, when it goes on."""
        length = len(self.dataloader)
        info = self.runner.message_hub.runtime_info
        # A checkpoint of MMEngine's own loop does not say. One of an epoch's end was saved
        # while the hub still named that epoch.
        at_the_end = info.get('epoch', self._epoch) < self._epoch
        unsaid = (0 if at_the_end else self._iter - self._epoch * length, length)
        done, length_then = info.get(PROGRESS, unsaid)
        if done == length_then:  # saved after the last batch, and before the epoch was closed
            return length
        if done and (length_then != length or not 0 < done <= length):
            self.runner.logger.warning(
                f'epoch {self._epoch + 1} was left after {done} of {length_then} batches and has '
                f'{length} now: the batch size, the number of processes or the data changed; the '
                'epoch is begun anew'
            )
            return 0
        return done

    def _count_to_the_end(self, done: int) -> None:
        """Tell the optimizer's wrapper, which counts iterations, where a resumed run ends now.

        With other batches that is not ``max_iters``, and the last group of iterations
        whose gradients are added up would be taken for another's.
        """
        left = (self._max_epochs - self._epoch) * len(self.dataloader) - done
        if self._iter and left != self._max_iters - self._iter:
            self.runner.optim_wrapper.initialize_count_status(
                self.runner.model, self._iter, self._iter + left
            )

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one iteration, after seeding the generators."""
        self.runner.message_hub.update_info(PROGRESS, (idx + 1, len(self.dataloader)))
        super().run_iter(idx, data_batch)

    def run_epoch(self) -> None:
        """Run an epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._batches.start, self._batches.passes = self._done, self._epoch
        for index, batch in enumerate(self.dataloader, self._done):
            self.run_iter(index, batch)
        self.runner.message_hub.update_info(PROGRESS, (0, len(self.dataloader)))
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class IterLoop(_Repeatable, IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that resumes without loading the batches it has seen.

    Takes the same arguments; its loader has a :class:`SeededBatchSampler`.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # Not IterBasedTrainLoop's own: it starts to load before a resume could say from where.
        super(IterBasedTrainLoop, self).__init__(runner, dataloader)
        self._max_iters = int(max_iters)
        if self._max_iters != max_iters or max_iters < 1:
            raise ValueError(f'max_iters must be a whole number of at least 1, got {max_iters}')
        self._max_epochs = 1
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )

    @property
    def past(self) -> tuple[int, int]:
        """Epochs, and iterations, behind this run; the only epoch ends with the run."""
        return 0, self._iter

    def run(self) -> Any:
        """Train, and return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate_if_due(self._iter, self._max_iters)
        batches = self._endless()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate_if_due(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _endless(self) -> Iterator[Any]:
        """Batches from the current iteration on, pass after pass."""
        passes, start = 0, self._iter
        if self._batches.is_finite:
            passes, start = divmod(self._iter, len(self.dataloader))
        while True:
            if self._batches.is_finite:
                self._batches.sampler.set_epoch(passes)
            self._batches.start, self._batches.passes = start, passes
            yield from self.dataloader
            passes, start = passes + 1, 0
