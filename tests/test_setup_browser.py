"""tools/setup_browser.sh: what is missing and what to do; nothing is installed here."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / 'tools/setup_browser.sh'
NEEDED = ('bash', 'dirname', 'mkdir', 'sed', 'id', 'tail', 'env')


@pytest.fixture
def setup(tmp_path):
    """Run a copy of the script where a few programs, and those that are given, are on the PATH."""
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'bin').mkdir()
    shutil.copy(SCRIPT, tmp_path / 'tools')
    for name in NEEDED:
        (tmp_path / 'bin' / name).symlink_to(shutil.which(name))

    def run(**programs):
        for name, text in programs.items():
            path = tmp_path / 'bin' / name.replace('_', '-')
            path.write_text(f'#!{shutil.which("bash")}\n{text}\n')
            path.chmod(0o755)
        return subprocess.run(
            [shutil.which('bash'), 'tools/setup_browser.sh'],
            cwd=tmp_path,
            env={'PATH': str(tmp_path / 'bin')},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


NPM = """
mkdir -p $3/node_modules/axe-core
echo "  \\"version\\": \\"${@: -1}\\"," | sed s/axe-core@// > $3/node_modules/axe-core/package.json
"""


def test_what_is_there_is_not_fetched_again(setup):
    done = setup(chromium='', chromedriver='', npm=NPM)
    assert done.returncode == 0, done.stderr
    assert 'installing axe-core' in done.stdout
    again = setup(npm='exit 1')
    assert (again.returncode, again.stdout) == (0, '')


def test_a_browser_is_installed_where_there_is_apt(setup, tmp_path):
    done = setup(apt_get='echo "$@" >> calls', sudo='"$@"', npm=NPM)
    assert done.returncode == 0, done.stderr
    assert 'installing chromium and chromium-driver' in done.stdout
    update, install = (tmp_path / 'calls').read_text().splitlines()
    assert update == 'update'
    assert install.startswith('install -y --no-install-recommends chromium chromium-driver')


@pytest.mark.parametrize(
    ('programs', 'says'),
    [
        ({}, 'there is no chromium and chromedriver on the PATH, and no apt-get'),
        (
            dict(apt_get='echo no route; exit 1', sudo='"$@"'),
            'apt-get did not install chromium and chromium-driver',
        ),
        (dict(chromium='', chromedriver=''), 'there is no npm on the PATH'),
        (
            dict(chromium='', chromedriver='', npm='echo no route; exit 1'),
            'npm did not install axe-core',
        ),
    ],
)
def test_what_is_missing_is_named(setup, programs, says):
    done = setup(**programs)
    assert done.returncode == 1
    assert f'FAILED: {says}' in done.stderr
    assert ('no route' in done.stderr) == ('no route' in str(programs))
