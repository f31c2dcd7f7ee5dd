"""Look at the data of a detector's config before a night's training: files, images, metrics."""

import argparse

from sortkd_det.cli.arguments import add_common_arguments, add_distillation_arguments
from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    add_distillation_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Print two tables: what each data set holds, and what was found."""
    from sortkd_det.cli.config import load_config
    from sortkd_det.cli.distillation import find_distill_hook
    from sortkd_det.cli.packages import uses_mmdet

    cfg = load_config(args)
    if not uses_mmdet(cfg):
        raise ValueError(
            f'{args.config} is no config of MMDetection: tools/check_data.py looks at COCO files'
        )
    from sortkd_det.detection.data_checks import check_data, check_teacher
    from sortkd_det.detection.registries import register_mmdet

    register_mmdet()
    loaders = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    report = check_data(cfg, [name for name in loaders if cfg.get(name)], every_size=True)
    hook = find_distill_hook(cfg)
    if hook is not None:
        check_teacher(cfg, hook.get('teacher'), report)
    print(report.count_table)
    print(report.table or 'nothing found that is wrong')
    report.raise_errors()


if __name__ == '__main__':
    run_tool(main, get_parser())
