"""Letters of pictures."""

import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.image import imread

from sortkd_det.figures import save_figure

NOWHERE = '\U000fabcd'  # of private use: a letter of no script


def drawn(path, text, **options):
    """The picture of a text as the name of a tick, which is made while it is drawn."""
    figure = Figure(figsize=(2, 2))
    figure.subplots().set_xticks([0], [text])
    save_figure(figure, path, **options)
    return imread(path)


def has_letter(letter):
    def has(path):
        try:
            return ord(letter) in FT2Font(path).get_charmap()
        except (OSError, RuntimeError):
            return False

    return any(map(has, font_manager.findSystemFonts()))


@pytest.mark.parametrize('letter', ['\u7ea2', '\uae00', '\u0e44'])
def test_letters_that_the_first_font_lacks_come_from_another(tmp_path, letter):
    if not has_letter(letter):
        pytest.skip('no font of this machine has it')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = drawn(tmp_path / 'letter.png', letter)
    with pytest.warns(UserWarning, match=f'Glyph {ord(NOWHERE)} '):
        box = drawn(tmp_path / 'box.png', NOWHERE)
    assert found.shape == box.shape
    assert not np.array_equal(found, box)


def test_a_letter_that_no_font_has_is_told_of(tmp_path):
    with pytest.warns(UserWarning, match=f'Glyph {ord(NOWHERE)} .*missing'):
        drawn(tmp_path / 'box.png', f'a{NOWHERE}')
    assert (tmp_path / 'box.png').is_file()


def test_options_and_other_warnings_are_handed_on(tmp_path):
    large = drawn(tmp_path / 'large.png', 'a', dpi=200)
    assert large.shape[:2] == (400, 400)
    figure = Figure(layout='tight', figsize=(0.1, 0.1))
    figure.subplots().set_title('far too long for this')
    with pytest.warns(UserWarning, match='[Tt]ight layout not applied'):
        save_figure(figure, tmp_path / 'small.png')
