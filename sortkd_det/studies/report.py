"""The table of results, a row per model."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

#: Column → key of MMDetection's COCO metric.
METRICS = {
    'AP': 'coco/bbox_mAP',
    'AP50': 'coco/bbox_mAP_50',
    'AP75': 'coco/bbox_mAP_75',
    'APs': 'coco/bbox_mAP_s',
    'APm': 'coco/bbox_mAP_m',
    'APl': 'coco/bbox_mAP_l',
}


def results_table(rows: Mapping[str, Mapping[str, float | None]], title: str) -> Table:
    """A rich table of AP, its parts, parameters and speed.

    Args:
        rows: model → its numbers: the columns of :data:`METRICS` in [0, 1], or
            negative or None where there is nothing to measure; ``params``, a count;
            ``img_per_s``.
        title: stands above the table.
    """
    table = Table(
        title=title,
        title_justify='left',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column('model', no_wrap=True)
    for column in [*METRICS, 'params', 'img/s']:
        table.add_column(column, justify='right', no_wrap=True)
    for model, numbers in rows.items():
        cells = [_percent(numbers.get(column)) for column in METRICS]
        params, speed = numbers.get('params'), numbers.get('img_per_s')
        cells.append('–' if params is None else f'{params / 1e6:.2f} M')
        cells.append('–' if speed is None else f'{speed:.1f}')
        table.add_row(model, *cells)
    return table


def _percent(value: float | None) -> str:
    return '–' if value is None or value < 0 else f'{100 * value:.1f}'
