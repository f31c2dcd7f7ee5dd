"""Test a model on the test set of a config; builds and needs no teacher."""

import argparse

from sortkd_det.cli.arguments import add_common_arguments
from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line, as MMDetection's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint to test')
    parser.add_argument('--out', help='write the predictions to this file (.pkl)')
    parser.add_argument('--show', action='store_true', help='show each prediction in a window')
    parser.add_argument('--show-dir', help='paint predictions into <work dir>/<time>/<show dir>')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between two windows')
    parser.add_argument('--tta', action='store_true', help='test with flipped images as well')
    return parser


def main(args: argparse.Namespace) -> None:
    """Test."""
    import os

    from sortkd_det.cli.config import load_config
    from sortkd_det.cli.launcher import is_main_process
    from sortkd_det.cli.packages import uses_mmdet
    from sortkd_det.cli.runner import build_runner, prepare
    from sortkd_det.files import make_folder

    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out must name a .pkl or .pickle file, got {args.out}')
    cfg = load_config(args)
    if '://' not in args.checkpoint and not os.path.isfile(args.checkpoint):
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    cfg.load_from = args.checkpoint
    if not uses_mmdet(cfg) and (args.show or args.show_dir or args.tta):
        raise ValueError('--show, --show-dir and --tta are for detectors; this config has none')
    if args.show or args.show_dir:
        from mmdet.engine.hooks.utils import trigger_visualization_hook

        cfg = trigger_visualization_hook(cfg, args)
    if args.tta:
        use_flips(cfg)
    prepare(cfg, ('test_dataloader',))
    if args.out:
        make_folder(os.path.dirname(args.out) or '.', '--out')
    runner = build_runner(cfg, strict=True)
    if args.out:
        if uses_mmdet(cfg):  # masks in a form that takes less room
            from mmdet.evaluation import DumpDetResults as DumpResults
        else:
            from mmengine.evaluator import DumpResults
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    runner.test()
    if is_main_process():
        metrics = os.path.join(runner.log_dir, f'{runner.timestamp}.json')
        print(f'wrote {", ".join(filter(None, (args.out, metrics)))}; log in {runner.log_dir}')


def use_flips(cfg) -> None:
    """Average the detections of each image and of its mirror image."""
    cfg.setdefault(
        'tta_model',
        dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
    )
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    flips = dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))],
        ],
    )
    for dataset in _unwrapped(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or [*dataset.pipeline[:-1], flips]
    cfg.model = dict(**cfg.tta_model, module=cfg.model)


def _unwrapped(dataset) -> list:
    """The configs of the data sets within wrappers: repeated, balanced, concatenated."""
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    return [each for part in inner for each in _unwrapped(part)] or [dataset]


if __name__ == '__main__':
    run_tool(main, get_parser())
