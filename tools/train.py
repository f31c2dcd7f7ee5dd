"""Train a model, alone or taught by another: --teacher and --method beside any student's config."""

import argparse

from sortkd_det.cli.arguments import add_common_arguments, add_distillation_arguments
from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line, as MMDetection's own, and the three flags of distillation."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    add_distillation_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from a checkpoint; without a path, from the latest in the work dir',
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Train."""
    import torch

    from sortkd_det.cli.config import load_config
    from sortkd_det.cli.distillation import find_distill_hook
    from sortkd_det.cli.launcher import is_main_process
    from sortkd_det.cli.runner import build_runner, prepare
    from sortkd_det.distill.teacher_trial import check_validation

    cfg = load_config(args)
    if args.amp:
        if not torch.cuda.is_available():
            raise ValueError('--amp needs a GPU, and torch sees none')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError('--auto-scale-lr: this config has no auto_scale_lr.base_batch_size')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = args.resume if args.resume == 'auto' else True
        cfg.load_from = cfg.get('load_from') if args.resume == 'auto' else args.resume
    if (find_distill_hook(cfg) or {}).get('check_teacher'):
        check_validation(cfg)
    prepare(cfg, ('train_dataloader', 'val_dataloader'))
    runner = build_runner(cfg)
    runner.train()
    if is_main_process():
        print(f'wrote {last_checkpoint(runner.work_dir)}; log and config in {runner.log_dir}')


def last_checkpoint(work_dir: str) -> str:
    """Path of the newest checkpoint of a run."""
    from sortkd_det.checkpoints import noted_checkpoint

    return str(noted_checkpoint(work_dir) or f'no checkpoint in {work_dir}')


if __name__ == '__main__':
    run_tool(main, get_parser())
