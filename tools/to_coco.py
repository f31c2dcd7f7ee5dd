"""Turn a data set in PASCAL VOC's or YOLO's format into COCO's: annotations/*.json and images."""

import argparse

from sortkd_det.cli.errors import run_tool


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    formats = parser.add_subparsers(dest='format', required=True, metavar='{voc,yolo}')
    voc = formats.add_parser('voc', help='an XML file for each image')
    voc.add_argument(
        'source',
        help='folder with Annotations, JPEGImages and ImageSets/Main, or with folders of images '
        'and XML files',
    )
    voc.add_argument('--classes', nargs='+', required=True, help='class names, in order')
    voc.add_argument(
        '--first-pixel',
        type=int,
        choices=(0, 1),
        help='what the data set calls the first pixel of a row: 1 as VOC, the default, or 0',
    )
    yolo = formats.add_parser('yolo', help='a text file for each image')
    yolo.add_argument('source', help='data.yaml or its folder; or one with classes.txt')
    yolo.add_argument(
        '--data-root', help='folder that the paths in data.yaml start from, if it is not its own'
    )
    for each in (voc, yolo):
        each.add_argument('--out', required=True, help='folder to make: annotations and images')
        each.add_argument(
            '--splits', nargs='+', help='splits to convert; by default train, val and test'
        )
        each.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Convert."""
    from sortkd_det.detection.formats import describe, read_voc, read_yolo, write_coco
    from sortkd_det.files import make_folder

    make_folder(args.out, '--out')
    if args.format == 'voc':
        classes = args.classes
        splits = read_voc(args.source, classes, args.splits, args.first_pixel)
    else:
        classes, splits = read_yolo(args.source, args.splits, args.data_root)
    written = write_coco(splits, classes, args.out)
    for path, images in zip(written, splits.values(), strict=True):
        print(f'wrote {path}: {describe(images, classes)}')


if __name__ == '__main__':
    run_tool(main, get_parser())
