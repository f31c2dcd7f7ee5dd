"""What tests of pages share: names that would break a page, and where axe-core lies."""

import base64
import sys
from pathlib import Path

import cv2
import numpy as np

BREAKING = '</script><script>document.title = "broken"</script>'
CLASSES = [BREAKING, '<img src=x onerror="document.title=1">', 'cat & \'dog\' "x"', 'nothing']
AXE = Path(sys.prefix) / 'browser/node_modules/axe-core/axe.min.js'


def decoded(example) -> np.ndarray:
    """(H, W, 3) BGR of a row's picture, which it holds as a URI."""
    data = base64.b64decode(example.picture.partition('base64,')[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
