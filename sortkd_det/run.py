"""What the command-line tools share: from a config file and options to a run."""

import argparse
import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

# MMEngine imports pkg_resources for each `mmdet::` base file and is told off each time.
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

# Importing the room also makes MMEngine's checkpoint loaders weights-only.
from .distill import PlainCheckpointHook, read_config  # noqa: E402
from .hooks import FitCheckHook  # noqa: E402
from .registry import (  # noqa: E402
    ADAPTERS,
    DATASETS,
    HOOKS,
    LOGIT_PROCESSORS,
    METRICS,
    MODELS,
    find_similar,
)
from .settings import check_launcher, check_settings  # noqa: E402
from .training import EXIT_STOPPED, ResumableRunner  # noqa: E402

_VARIABLES = ('teacher', 'method', 'pairs', 'pair')
_DISTILL_HOOK = 'DistillHook'
_FORMAT_WARNING = warnings.formatwarning
# What a user can mend. Others are mistakes of the program, which a traceback serves better.
_MENDABLE = (
    ArithmeticError,
    AssertionError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every tool that runs a model takes, named as MMDetection names them."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and results')
    parser.add_argument('--data-root', help="folder of the data set, in place of the config's")
    parser.add_argument(
        '--pair', help="teacher and student, of the config's `pairs` (classification)"
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value, nested by dots; lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')


def registered() -> dict[str, dict[str, str]]:
    """What configs can name: by kind, each name with its docstring's first line."""
    for room in ('detection', 'classification'):
        with contextlib.suppress(ImportError):  # without MMDetection there are no detectors
            import_module(f'sortkd_det.{room}')
    kinds = {
        'Processors': (LOGIT_PROCESSORS, ''),
        'Losses and temperatures': (MODELS, 'sortkd_det.losses'),
        'Networks': (MODELS, 'sortkd_det.classification.networks'),
        'Data sets': (DATASETS, ''),
        'Metrics': (METRICS, ''),
        'Adapters': (ADAPTERS, ''),
        'Hooks': (HOOKS, ''),
    }
    for registry, _ in kinds.values():
        registry.import_from_location()
    return {
        kind: {
            name: cls.__doc__.strip().splitlines()[0].replace('``', '')
            for name, cls in sorted(registry.module_dict.items())
            if cls.__module__.startswith(module)
        }
        for kind, (registry, module) in kinds.items()
    }


def load_config(args: argparse.Namespace) -> Config:
    """The config of a run, with the common options applied.

    Raises:
        FileNotFoundError: no such config file.
        ValueError: a config that cannot be read; an option that would be without effect.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    choose_pair(cfg, getattr(args, 'pair', None))
    cfg.launcher = args.launcher
    if args.cfg_options:
        _merge_options(cfg, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        folders = [Path(args.config).parent.name, args.pair] if args.pair else []
        cfg.work_dir = os.path.join('work_dirs', *folders, Path(args.config).stem)
    return cfg


def _merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Apply ``--cfg-options``; refuse those that would be without effect or find no place."""
    for key in options:
        name = key.split('.')[0]
        if name in _VARIABLES and find_distill_hook(cfg) is not None:
            raise ValueError(
                f'--cfg-options {key}=… would be without effect: {name} has been copied into '
                'custom_hooks by now; write custom_hooks.0.… instead, or --teacher-checkpoint for '
                'the weights'
            )
        if name == 'data_root':
            raise ValueError(
                '--cfg-options data_root=… would be without effect: it has been copied into the '
                'data sets by now; write --data-root DIR'
            )
        meant = get_close_matches(name, cfg, n=1, cutoff=0.85)
        if name not in cfg and meant:
            raise ValueError(f'--cfg-options {key}=…: no setting {name}; is {meant[0]} meant?')
        try:
            cfg.merge_from_dict({key: options[key]})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'--cfg-options {key}=… finds no place: {error}') from error


def choose_pair(cfg: Config, name: str | None) -> None:
    """Fill a config for many pairs of teacher and student in for one of them.

    ``cfg.pairs`` holds, by name, what differs between them: ``{'student': …, 'lr': …}``.
    Wherever a value of the config is the string ``'{lr}'``, that pair's value takes its
    place, and its text within longer strings. ``cfg.pair`` names the pair unless ``name`` does.

    Raises:
        ValueError: no such pair, one that lacks what the config asks for, or a name
            for a config without pairs.
    """
    pairs = cfg.get('pairs')
    if pairs is None:
        if name is not None:
            raise ValueError(f'--pair {name}: this config has no table of pairs')
        return
    name = name or cfg.get('pair')
    if name not in pairs:
        raise ValueError(f'--pair must be one of {", ".join(pairs)}; got {name!r}')
    values = dict(pairs[name])

    def filled(value: Any) -> Any:
        if isinstance(value, str) and '{' in value:
            try:
                whole = value[1:-1]
                return values[whole] if whole in values else value.format(**values)
            except KeyError as error:
                raise ValueError(
                    f'the pair {name} has no {error}, which this config asks for; '
                    f'it has {", ".join(values)}'
                ) from error
        if isinstance(value, dict):
            return type(value)({key: filled(item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(filled(item) for item in value)
        return value

    for key in list(cfg.keys()):
        if key != 'pairs':
            cfg[key] = filled(cfg[key])
    cfg.pair = name


def uses_mmdet(cfg: Config) -> bool:
    """Whether the run is one of MMDetection's; a classifier needs neither it nor mmcv."""
    kind = (cfg.get('model') or {}).get('type')  # a class, in configs of the new style
    return cfg.get('default_scope') == 'mmdet' or _package_of(kind) == 'mmdet'


def prepare(cfg: Config, loaders: tuple[str, ...]) -> None:
    """What MMDetection wants done before its runs: registries, and annotation files checked.

    A classifier needs none of it, neither MMDetection nor mmcv.

    Args:
        cfg: the config of a run.
        loaders: names of the data loaders whose files are checked.

    Raises:
        FileNotFoundError, ValueError: as
            :func:`~sortkd_det.detection.data_checks.check_annotations`.
    """
    if not uses_mmdet(cfg):
        return
    from .detection.data_checks import check_annotations
    from .detection.registries import register_mmdet

    register_mmdet()
    if is_main_process():
        check_annotations(cfg, loaders)


def set_data_root(cfg: Config, data_root: str) -> None:
    """Put ``data_root`` in place of the config's own, wherever a path begins with it.

    Raises:
        ValueError: the config names no data root.
    """
    old = cfg.get('data_root') or _first_data_root(cfg)
    if not old:
        raise ValueError('--data-root: this config names no data_root that could be replaced')
    new = os.path.join(data_root, '')
    old = os.path.join(old, '')

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            if os.path.join(value, '') == old:
                return new
            return new + value[len(old) :] if value.startswith(old) else value
        if isinstance(value, dict):
            for key in value:
                value[key] = replaced(value[key])
            return value
        if isinstance(value, list | tuple):
            return type(value)(replaced(item) for item in value)
        return value

    for key in list(cfg.keys()):
        if key != 'custom_hooks':  # a teacher's files lie where they lie
            cfg[key] = replaced(cfg[key])


def _first_data_root(cfg: Config) -> str | None:
    for loader in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        root = (cfg.get(loader) or {}).get('dataset', {}).get('data_root')
        if root:
            return root
    return None


def find_distill_hook(cfg: Config) -> dict | None:
    """The entry of ``custom_hooks`` that distils, or None."""
    for hook in cfg.get('custom_hooks') or []:
        kind = hook.get('type')
        name = kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]
        if name == _DISTILL_HOOK:
            return hook
    return None


def set_teacher_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Name the teacher's weights.

    Raises:
        ValueError: nothing in the config distils.
    """
    hook = find_distill_hook(cfg)
    if hook is None:
        raise ValueError(
            '--teacher-checkpoint: this config has no sortkd_det.DistillHook in custom_hooks'
        )
    if isinstance(hook.get('teacher'), Mapping):  # of what else it is, the hook complains
        hook.teacher.checkpoint = checkpoint


def student_config(cfg: Config) -> Config:
    """The plain student's config: all that stock MMDetection needs, and nothing of ours."""
    plain = Config({key: value for key, value in cfg.items() if key not in _VARIABLES})
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is_ours(hook.get('type'))]
    plain.pop('custom_hooks', None)
    if hooks:
        plain.custom_hooks = hooks
    imports = plain.pop('custom_imports', None)
    if imports:
        names = imports['imports']
        names = [names] if isinstance(names, str) else names
        imports['imports'] = [name for name in names if not _is_ours(name)]
        if imports['imports']:
            plain.custom_imports = imports
    return plain


def _is_ours(kind: Any) -> bool:
    return _package_of(kind) == 'sortkd_det'


def _package_of(kind: Any) -> str:
    """The package, or scope, of a type in a config: a name, or a class."""
    return str(kind.__module__ if isinstance(kind, type) else kind).split('.')[0]


def build_runner(cfg: Config, strict: bool = False) -> Runner:
    """The runner of ``cfg``: resumable, checkpoints of plain types, gloo where there is no GPU.

    Args:
        cfg: the config of a run.
        strict: ``cfg.load_from`` must hold all weights of the model and no others.

    Raises:
        KeyError, TypeError, ValueError: a setting out of its range, or an unknown type.
        OSError: the work dir cannot be written to.
    """
    check_settings(cfg)
    check_launcher(cfg.launcher)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        _start_gloo(cfg)
    make_folder(cfg.work_dir, '--work-dir')
    if 'runner_type' in cfg:
        if cfg.get('resume') == 'auto':  # others look into the work dir where nothing is named
            cfg.resume, cfg.load_from = True, None
        runner = RUNNERS.build(cfg)
    else:
        runner = ResumableRunner.from_cfg(cfg)
    runner.register_hook(PlainCheckpointHook())
    runner.register_hook(FitCheckHook(strict))
    return runner


def make_folder(path: str | Path, option: str) -> None:
    """Make a folder that is to be written to.

    Raises:
        OSError: it cannot be; the message names ``option``, which gave it.
    """
    try:
        os.makedirs(path, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, 'Permission denied')
    except OSError as error:
        raise type(error)(
            f'{option}: {path} cannot be a folder to write to ({error.strerror}); name another'
        ) from error


def _start_gloo(cfg: Config) -> None:
    """Open the process group that MMEngine cannot open on CPUs: it would set a CUDA device."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def is_main_process() -> bool:
    """Whether this is the process that checks data and prints, known before the runner is."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0


def run_tool(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line and run ``main``; an error a user can mend is one line, exit 1."""
    try:
        args = parser.parse_args()
    except (AssertionError, ValueError) as error:  # MMEngine's DictAction
        parser.error(f'--cfg-options takes key=value, lists as key="[a,b]" ({error})')
    warnings.formatwarning = _format_warning
    try:
        with _process_group_left_in_order():
            main(args)
    except KeyboardInterrupt as interrupt:
        print(f'\n{str(interrupt) or "interrupted"}', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # OpenCV's own, of an image that it refuses, is not imported for this.
        if not isinstance(error, _MENDABLE) and type(error).__module__ != 'cv2':
            raise
        message = _explain(error)
        if args.debug or ' ' not in message:  # a bare key is no explanation
            raise
        log = _log_traceback(error)
        place = f'the traceback is in {log}' if log else '--debug shows the traceback'
        print(f'\nerror: {message} ({place})', file=sys.stderr)
        sys.exit(1)


def _format_warning(
    message: Warning | str, category: type[Warning], *place: Any, **kwargs: Any
) -> str:
    """A warning for users as one line; others are for those who know the line of code."""
    if category is UserWarning:
        return f'warning: {message}\n'
    return _FORMAT_WARNING(message, category, *place, **kwargs)


@contextlib.contextmanager
def _process_group_left_in_order() -> Iterator[None]:
    """Close the group of processes where all of them get here, at the end or told to stop.

    After an error the others may still wait for this one, and closing (NCCL's waits for
    them) would keep the launcher from seeing that it died; so there it is left to exit.
    """
    together = False
    try:
        yield
        together = True
    except SystemExit as stopped:
        together = stopped.code == EXIT_STOPPED
        raise
    finally:
        group = torch.distributed
        is_open = group.is_available() and group.is_initialized()
        if is_open and (together or group.get_world_size() == 1):
            group.destroy_process_group()


def _log_traceback(error: Exception) -> str | None:
    """Keep a traceback that may have taken days to come up; the path of the log, or None."""
    logger = MMLogger.get_current_instance()
    details = (type(error), error, error.__traceback__)
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, 'this ended the run', (), details
    )
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
            return min(handler.baseFilename, os.path.relpath(handler.baseFilename), key=len)
    return None


def _explain(error: Exception) -> str:
    """What to tell a user of an error: without a worker's traceback, with names that exist."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    message = re.sub(r'<(?:\w+\.)*(\w+) object at 0x[0-9a-fA-F]+>', r'\1', message)
    if 'Original Traceback' in message:  # from a worker of a data loader
        message = message.splitlines()[-1]
    unknown = re.search(r'(\S+) is not in the (?:\S+::)?(.+?) registry', message)
    if unknown is None:
        return message
    name, kind = unknown.groups()
    similar = find_similar(kind, name)
    return f'{message[: unknown.start()]}unknown {kind} {name!r}; ' + (
        f'is one of these meant: {", ".join(similar)}?'
        if similar
        else 'tools/list_methods.py lists those of this package, and a module of your own is to be '
        'named in custom_imports'
    )
