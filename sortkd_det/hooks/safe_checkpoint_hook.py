"""MMEngine's checkpoint hook, which deletes nothing before what replaces it is on the disk."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from sortkd_det.checkpoints import note_last_checkpoint
from sortkd_det.registry import HOOKS

#: Entry of the message hub, and so of checkpoints: the iteration that was validated last.
VALIDATED = 'last_validated_iter'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that first writes, then deletes; takes the same arguments.

    Where a checkpoint cannot be written (a full disk) the error is logged, the
    earlier ones stay, training goes on, and the next interval tries again.
    """

    _lost: OSError | None = None  # why the newest checkpoint could not be written

    def before_train(self, runner: Runner) -> None:
        """Take over the record of a resumed run's checkpoints."""
        super().before_train(runner)
        name = Path(runner.message_hub.runtime_info.get('last_ckpt', '')).name
        path = self.file_backend.join_path(self.out_dir, name)
        if name and self.file_backend.isfile(path):
            self.last_ckpt = path  # MMEngine's saves it anew with the record of a better score
        if is_main_process() and Path(self.out_dir).is_dir():
            for left in Path(self.out_dir).glob('.*.partial'):  # of a run that was killed
                left.unlink(missing_ok=True)

    def after_train(self, runner: Runner) -> None:
        """Publish the best checkpoint if the config asks for that.

        Raises:
            OSError: the last checkpoint of the run could not be written.
        """
        if self._lost is not None:
            raise OSError(
                f'the run is over and its last checkpoint was lost: {self._lost}. '
                + (f'{self.last_ckpt} is the newest; m' if self.last_ckpt else 'M')
                + 'ake room and go on with --resume'
            )
        super().after_train(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Save what is best; note for a resumed run that this iteration is validated."""
        runner.message_hub.update_info(VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        hub = runner.message_hub
        before = list(getattr(self, 'keep_ckpt_ids', []))
        last = self.last_ckpt
        kept = [*(old for old in before if old != step), step]
        if self.max_keep_ckpts > 0:
            kept = kept[-self.max_keep_ckpts :]
            hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', path)
        stopped = hub.runtime_info.pop('stopped_ckpt', None)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError as error:
            self._lost = error
            runner.logger.error(
                f'{error}; {f"{last} stays" if last else "there is no earlier one"}, training goes '
                'on, and the next interval tries again'
            )
            if self.max_keep_ckpts > 0:
                hub.update_info('keep_ckpt_ids', before)
            if last is not None:
                hub.update_info('last_ckpt', last)
            if stopped is not None:
                hub.update_info('stopped_ckpt', stopped)
            return
        self.last_ckpt = path
        self._lost = None
        if not is_main_process():
            if self.max_keep_ckpts > 0:
                self.keep_ckpt_ids.clear()
                self.keep_ckpt_ids.extend(kept)
            return
        note_last_checkpoint(runner.work_dir, path)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept)
            for old in before:
                if old not in kept:
                    self._remove(
                        self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                    )
        if stopped is not None:
            self._remove(stopped)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # MMEngine's removes the best so far before it saves the better one: it is not told
        # of it, and it is removed here, once the better one and the record of it are saved.
        if not self.save_best:
            return
        unknown = [key for key in self.key_indicators if key not in metrics and key != 'auto']
        if metrics and unknown:
            saved = f', and go on from {self.last_ckpt} with --resume' if self.last_ckpt else ''
            raise ValueError(
                f'default_hooks.checkpoint.save_best={unknown[0]!r} is none of the metrics of the '
                f'validation: {", ".join(metrics)}; name one of these{saved}'
            )
        hub = runner.message_hub
        before = self._best()
        info = {key: hub.get_info(key) for key in hub.runtime_info if key.startswith('best_')}
        self._set_best(dict.fromkeys(before))
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            runner.logger.error(f'{error}; the best checkpoint so far stays')
            for key in [key for key in hub.runtime_info if key.startswith('best_')]:
                hub.runtime_info.pop(key)
            for key, value in info.items():
                hub.update_info(key, value)
            self._set_best(before)
            return
        after = self._best()
        for key, old in before.items():
            if after.get(key) is None:
                after[key] = old
            elif old is not None and old != after[key] and is_main_process():
                self._remove(old)
        self._set_best(after)

    def _best(self) -> dict[str, Any]:
        if hasattr(self, 'best_ckpt_path_dict'):
            return dict(self.best_ckpt_path_dict)
        return {'': self.best_ckpt_path}

    def _set_best(self, paths: dict[str, Any]) -> None:
        if hasattr(self, 'best_ckpt_path_dict'):
            self.best_ckpt_path_dict = paths
        else:
            self.best_ckpt_path = paths['']

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
