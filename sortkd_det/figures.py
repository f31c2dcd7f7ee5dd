"""Pictures, saved with letters of every script that a font of this machine has."""

import re
import warnings
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_MISSING = re.compile(r'Glyph (\d+) ')


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Save a figure; what its font has no glyphs for comes from another that is installed.

    Names of classes are in any script, and matplotlib's own font has no Chinese, Japanese or
    Korean letters; it warns of them and draws boxes, which is what is left where no font of
    this machine has them.

    Args:
        figure: which may be saved again.
        path: of the picture.
        options: of ``Figure.savefig``.
    """
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        figure.savefig(path, **options)
    missing = {int(found[1]) for each in seen if (found := _MISSING.match(str(each.message)))}
    families = _families_with(missing) if missing else []
    if not families:
        for each in seen:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        return
    for text in figure.findobj(Text):
        text.set_fontfamily([*rcParams['font.family'], *families])
    figure.savefig(path, **options)


def _families_with(characters: set[int]) -> list[str]:
    """Installed fonts that have them, as few as it takes, those with the most of them first."""
    has = {}
    for path in font_manager.findSystemFonts():  # matplotlib's list is of an earlier day
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):  # no font that FreeType could read
            continue
        has[path] = font.family_name, characters & set(font.get_charmap())
    families = []
    while has:
        path, (family, covered) = max(has.items(), key=lambda item: len(item[1][1] & characters))
        if not covered & characters:
            break
        font_manager.fontManager.addfont(path)
        families.append(family)
        characters = characters - covered
    return families
