"""Files of results: JSON that is written whole or not at all."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, data: Any) -> None:
    """Write valid JSON in one go: a kill leaves the old file or the new one.

    NaN and infinity, which JSON does not know, become null.
    """
    partial = path.with_name(f'.{path.name}.partial')
    text = json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + '\n', encoding='utf-8')
    os.replace(partial, path)


def finite(value: Any) -> Any:
    """Copy of ``value`` with NaN and infinity, which JSON does not know, as None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
