"""What tests of pages share: names that would break a page, and where axe-core lies."""

import sys
from pathlib import Path

BREAKING = '</script><script>document.title = "broken"</script>'
CLASSES = [BREAKING, '<img src=x onerror="document.title=1">', 'cat & \'dog\' "x"', 'nothing']
AXE = Path(sys.prefix) / 'browser/node_modules/axe-core/axe.min.js'
