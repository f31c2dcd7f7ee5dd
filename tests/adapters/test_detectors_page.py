"""docs/detectors.md says what the adapters do."""

import pytest
from detectors_page import families, row_of, rows_in_page
from thin_detectors import EXEMPLARS, rows_of


def test_the_page_has_a_row_for_each_family():
    assert [row.split(' | ')[0].lstrip('| ') for row in rows_in_page()] == families()


@pytest.mark.parametrize('name', rows_of(families(), EXEMPLARS))
def test_a_row_is_what_a_run_of_the_family_gets(name):
    assert row_of(name) in rows_in_page(), 'python tests/adapters/detectors_page.py'
