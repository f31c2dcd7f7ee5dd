"""Turn a data set in PASCAL VOC's layout (Annotations, JPEGImages, ImageSets/Main) into COCO's.

The work is done by MMDetection's own converter, which by itself knows VOC's twenty classes and
folder names only.
"""

import argparse

from sortkd_det.run import make_folder, run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='folder with Annotations, JPEGImages and ImageSets/Main')
    parser.add_argument('--classes', nargs='+', required=True, help='class names, in order')
    parser.add_argument('--out', required=True, help='folder to make: annotations and images')
    parser.add_argument('--splits', nargs='+', default=['train', 'val', 'test'])
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Convert."""
    from sortkd_det.detection.voc import voc_to_coco

    make_folder(args.out, '--out')
    for path in voc_to_coco(args.source, args.out, args.classes, args.splits):
        print(f'wrote {path}')


if __name__ == '__main__':
    run_tool(main, get_parser())
