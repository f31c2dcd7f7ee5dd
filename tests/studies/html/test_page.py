"""What stands in the file of a page, and what does not."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_pages import BREAKING
from rich.table import Table as RichTable

from sortkd_det.studies.html import Cell, Page, Section, Table, write_page
from sortkd_det.studies.html.page import Chart, Curve, shown_path


class Tags(HTMLParser):
    """The names of all tags and their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.names, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs


def test_what_users_name_is_text(written):
    for path in written.values():
        text = path.read_text()
        assert BREAKING not in text
        tags = Tags(text)
        assert 'b' not in tags.names
        assert not [name for name, _ in tags.attributes if name.startswith('on')]
        boxes = [value for _, value in tags.attributes if value == 'application/json']
        assert tags.names.count('script') == 1 + len(boxes)


def test_a_page_asks_for_nothing_and_names_no_folder(written, annotations):
    for path in written.values():
        text = path.read_text()
        links = {value for name, value in Tags(text).attributes if name in ('src', 'href')}
        assert [link for link in links if not link.startswith(('data:', '#'))] == []
        assert 'http:' not in text.replace('http://www.w3.org/2000/svg', '')
        assert 'https:' not in text
        for folder in (annotations.parent, Path.home(), Path.cwd()):
            assert f'{folder}/' not in text


def test_its_policy_allows_its_own_style_and_script_alone(written):
    for path in written.values():
        text = path.read_text()
        (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
        assert policy.startswith("default-src 'none'; img-src data:; ")
        for tag, kind in (('style', 'style-src'), ('script', 'script-src')):
            own = re.findall(rf'<{tag}>(.*?)</{tag}>', text, re.DOTALL)
            digests = [hashlib.sha256(part.encode()).digest() for part in own]
            assert f"{kind} 'sha256-{b64encode(digests[0]).decode()}'" in policy
            assert len(own) == 1


def test_the_same_page_is_the_same_file(comparison, written, tmp_path):
    path = write_page(comparison, tmp_path / 'new/folder/page.html')
    assert path.read_bytes() == written['comparison'].read_bytes()


def test_a_table_is_what_the_terminal_shows():
    rich = RichTable(title='rows')
    for column in ('', 'all'):
        rich.add_column(column)
    rich.add_row('error, %', '12.5')
    rich.add_row('  of it', '–')
    table = Table.of(rich, is_sortable=False)
    assert (table.title, table.columns, table.is_sortable) == ('rows', ['', 'all'], False)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ['error, %', '12.5'],
        ['  of it', '–'],
    ]
    assert [row[1].value for row in table.rows] == [12.5, None]


def test_intervals_of_a_column_are_drawn_on_one_scale_with_0():
    cells = [Cell('a', 1, (1.0, 3.0), 2.0), Cell('b', 2, (2.0, 5.0), 3.0), Cell('–')]
    table = Table('t', ['x'], [[cell] for cell in cells])
    ((low, high),) = table.scales
    assert low < 0 < 5 < high
    assert Table('t', ['x'], [[Cell('–')]]).scales[0][0] < 0


@pytest.mark.parametrize(
    ('x', 'y'), [([1, 2, 3], [5, 7, 6]), ([8], [42.0]), ([0], [0.0]), ([1, 2], [3.0, 3.0])]
)
def test_curves_lie_in_their_frame(x, y):
    chart = Chart('c', 'step', [Curve('a', x, y, [v - 1 for v in y], [v + 1 for v in y])])
    for step, value in zip(x, y, strict=True):
        assert chart.left <= chart.x_of(step) <= chart.right
        assert chart.top <= chart.y_of(value + 1) < chart.y_of(value - 1) <= chart.bottom
    assert len(chart.band(chart.curves[0]).split()) == 2 * len(x)
    assert chart.y_ticks[0] <= min(y) - 1 < max(y) + 1 <= chart.y_ticks[-1]


def test_a_flat_curve_without_a_band_has_a_height():
    chart = Chart('c', 'step', [Curve('a', [1, 2], [3.0, 3.0], [3.0, 3.0], [3.0, 3.0])])
    assert chart.top < chart.y_of(3.0) < chart.bottom


def test_of_a_full_path_only_what_is_here_is_shown(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shown_path('configs/a.py') == 'configs/a.py'
    assert shown_path(tmp_path / 'runs/a.pth') == 'runs/a.pth'
    assert shown_path('/home/somebody/a.pth') == 'a.pth'


def test_a_page_may_hold_little(tmp_path):
    path = write_page(Page('t', [], [Section('s', '')]), tmp_path / 'page.html')
    assert '<h1>t</h1>' in path.read_text()
