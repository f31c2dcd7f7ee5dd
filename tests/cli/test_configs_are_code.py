"""A config is code, whatever its format."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import FUNCTIONS


def config_that_writes(path, canary):
    """A config that makes ``canary``: where the file is read, or where what it says is built."""
    if path.suffix == '.py':
        path.write_text(f'open({str(canary)!r}, "w")\n')
    elif path.suffix == '.yaml':
        path.write_text(f'x: !!python/object/apply:os.system ["touch {canary}"]\n')
    else:
        path.write_text(json.dumps({'x': {'type': 'os.system', 'command': f'touch {canary}'}}))
    return path


@pytest.mark.parametrize('suffix', ['.py', '.yaml', '.json'])
def test_a_config_is_code_whatever_its_format(tmp_path, suffix):
    """Why docs/security.md says: read a stranger's config before it is used."""
    canary = tmp_path / 'canary'
    cfg = Config.fromfile(config_that_writes(tmp_path / f'config{suffix}', canary))
    if suffix == '.json':
        FUNCTIONS.build(cfg.x)
    assert canary.exists()
