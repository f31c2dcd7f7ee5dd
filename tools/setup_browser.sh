#!/usr/bin/env bash
# Gets what the tests of reports open pages with: Chromium and its driver, as Debian packages them,
# and axe-core, which looks for what keeps people out. What is there is not fetched again.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

AXE=4.14.1
FOLDER=.venv/browser

die() { # die WHAT WHAT-TO-DO
    printf '\n[browser] FAILED: %s\n          %s\n' "$1" "$2" >&2
    exit 1
}

quietly() { # quietly COMMAND…: shows the end of what it said if it failed
    "$@" >$FOLDER/setup.log 2>&1 || {
        tail -n 15 $FOLDER/setup.log >&2
        return 1
    }
}

mkdir -p $FOLDER || die "$FOLDER cannot be made." 'Run make setup first.'

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    command -v apt-get >/dev/null || die 'there is no chromium and chromedriver on the PATH, and no apt-get.' \
        'Install both as your system packages them, then run make browser again.'
    echo '[browser] installing chromium and chromium-driver'
    quietly "${sudo[@]+"${sudo[@]}"}" apt-get update &&
        quietly "${sudo[@]+"${sudo[@]}"}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core ||
        die 'apt-get did not install chromium and chromium-driver.' \
            'Mend what the lines above say, then run make browser again.'
fi

installed=$(sed -n 's/.*"version": "\(.*\)".*/\1/p' $FOLDER/node_modules/axe-core/package.json 2>/dev/null)
if [ "$installed" != $AXE ]; then
    command -v npm >/dev/null || die 'there is no npm on the PATH, and axe-core is an npm package.' \
        'Install Node.js (Debian, Ubuntu: apt-get install npm), then run make browser again.'
    echo "[browser] installing axe-core $AXE"
    quietly npm install --prefix $FOLDER --no-save --no-audit --no-fund --ignore-scripts axe-core@$AXE ||
        die 'npm did not install axe-core.' 'Mend what the lines above say, then run make browser again.'
fi
