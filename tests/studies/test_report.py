import io

from rich.console import Console

from sortkd_det.studies.report import results_table


def rendered(rows, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(results_table(rows, 'title'))
    return console.file.getvalue()


def test_the_table_gives_metrics_in_percent():
    text = rendered(
        {'SortKD': dict(AP=0.1234, AP50=0.5, AP75=0.0, APs=-1.0, params=1234567, img_per_s=12.34)}
    )
    row = next(line for line in text.splitlines() if 'SortKD' in line)
    assert row.split() == ['SortKD', '12.3', '50.0', '0.0', '–', '–', '–', '1.23', 'M', '12.3']


def test_the_table_has_a_row_per_model_and_fits_80_columns():
    numbers = dict.fromkeys(['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'], 1.0)
    numbers |= dict(params=41.3e6, img_per_s=1234.5)
    text = rendered(dict.fromkeys(['teacher', 'student alone', 'KD', 'SortKD'], numbers))
    assert '…' not in text
    assert max(map(len, text.splitlines())) <= 80
    assert [name in text for name in ('teacher', 'student alone', 'KD', 'SortKD')] == [True] * 4
