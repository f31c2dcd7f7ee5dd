#!/usr/bin/env bash
# Makes .venv with the pinned stack, step by step; each finished step leaves a
# stamp, so that a second call costs nothing and a failed one is taken up where
# it stopped. PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

VENV=.venv
STAMPS=$VENV/.setup
LOG=$VENV/setup.log
CONSTRAINTS=requirements/constraints.txt
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sortkd_det/wheels

say() { printf '[setup] %s\n' "$*"; }

die() { # die STEP WHAT-TO-DO…
    local step=$1
    shift
    printf '\n[setup] FAILED at step "%s".\n' "$step" >&2
    printf '        %s\n' "$@" >&2
    exit 1
}

pinned() { sed -n "s/^\($1==[^ ;#]*\).*/\1/p" "$CONSTRAINTS"; }

key_of() { cat "$@" | cksum; }

is_done() { [ "$(cat "$STAMPS/$1" 2>/dev/null)" = "$2" ]; }

mark_done() { mkdir -p "$STAMPS" && printf '%s\n' "$2" >"$STAMPS/$1"; }

works() { # a supported Python that can make virtual environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
        >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" && echo "$PYTHON" && return
        die python "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 | tail -n 1)." \
            'Expected a Python 3.11 or 3.12 with the venv and ensurepip modules.'
    fi
    for candidate in python3.11 python3.12 python3 python; do
        works "$candidate" && echo "$candidate" && return
    done
    die python 'No Python 3.11 or 3.12 with the venv module was found on the PATH.' \
        'Install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv python3.11-dev)' \
        'or name one: make test PYTHON=/path/to/python3.11'
}

why_pip_failed() { # reads the log of the last step
    if grep -qiE 'NewConnectionError|Temporary failure in name resolution|ConnectTimeout|Max retries|Network is unreachable|ProxyError' "$LOG"; then
        echo 'pip could not reach its package index: check the network or proxy, then run make again.'
    elif grep -qi 'No space left' "$LOG"; then
        echo 'The disk is full (about 3 GB are needed), then run make again.'
    else
        echo 'Mend what the lines above say, then run make again.'
    fi
}

pip_step() { # pip_step STEP KEY MESSAGE pip-arguments…
    local step=$1 key=$2 message=$3
    shift 3
    is_done "$step" "$key" && return
    say "$message"
    if ! "$VENV/bin/python" -m pip --disable-pip-version-check install -c "$CONSTRAINTS" "$@" \
        >"$LOG" 2>&1; then
        grep -v '^WARNING' "$LOG" | tail -n 15 >&2
        die "$step" "$(why_pip_failed)" "The whole log: $LOG"
    fi
    mark_done "$step" "$key"
}

show_progress() { # show_progress PID: what ninja compiles, until PID ends
    local pid=$1 start=$SECONDS line last='' pause=30
    [ -t 1 ] && pause=2
    while kill -0 "$pid" 2>/dev/null; do
        line=$(tr '\r' '\n' <"$LOG" | grep -oE '^ *\[[0-9]+/[0-9]+\]' | tail -n 1 | tr -d ' ')
        line="        compiling ${line:-…} $((SECONDS - start)) s"
        if [ -t 1 ]; then printf '\r%s' "$line"; elif [ "$line" != "$last" ]; then echo "$line"; fi
        last=$line
        sleep "$pause" &
        wait -n "$pid" $! 2>/dev/null
    done
    [ -t 1 ] && printf '\n'
}

build_mmcv() {
    local torch_info python_tag wheels spec cuda=0 jobs pid
    spec=$(pinned mmcv)
    torch_info=$(basename "$VENV"/lib/python*/site-packages/torch-*.dist-info .dist-info)
    python_tag=$(basename "$VENV"/lib/python*)
    if command -v nvcc >/dev/null &&
        "$VENV/bin/python" -c 'import sys, torch; sys.exit(not torch.version.cuda)' 2>/dev/null; then
        cuda=1
    fi
    # pip keys its own cache by mmcv's source alone, so operators built against
    # another torch would come back: the wheels lie in a folder of our own,
    # named after what they were built against.
    wheels=$CACHE/$torch_info-$python_tag-$(uname -m)$([ $cuda = 1 ] && echo -cuda)
    if ! ls "$wheels"/mmcv-*.whl >/dev/null 2>&1; then
        command -v "${CXX:-g++}" >/dev/null || die mmcv \
            "No C++ compiler: ${CXX:-g++} is not on the PATH, and mmcv's operators must be compiled." \
            'Install one (Debian, Ubuntu: apt-get install g++), then run make again.'
        jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
        say "compiling the operators of $spec, once, on $jobs cores$([ $cuda = 1 ] && echo ', for CUDA') (about 8 minutes on 2)"
        mkdir -p "$wheels"
        MMCV_WITH_OPS=1 FORCE_CUDA=$cuda MAX_JOBS=$jobs "$VENV/bin/python" -m pip \
            --disable-pip-version-check wheel -v --no-deps --no-cache-dir --no-build-isolation \
            --no-binary mmcv -w "$wheels" "$spec" >"$LOG" 2>&1 &
        pid=$!
        trap 'kill $pid 2>/dev/null' EXIT
        show_progress $pid
        wait $pid || {
            grep -iE 'error|fatal' "$LOG" | tail -n 15 >&2
            die mmcv "$(why_pip_failed)" "The whole log: $LOG"
        }
        trap - EXIT
    fi
    # Twice: the wheel, also over one of the same version; then what it needs to be imported.
    {
        "$VENV/bin/python" -m pip --disable-pip-version-check install --no-deps --force-reinstall \
            "$wheels"/mmcv-*.whl &&
            "$VENV/bin/python" -m pip --disable-pip-version-check install -c "$CONSTRAINTS" \
                "$wheels"/mmcv-*.whl
    } >"$LOG" 2>&1 || die mmcv "$(why_pip_failed)" "The whole log: $LOG"
    (cd / && "$OLDPWD/$VENV/bin/python" -c 'import mmcv.ops') >"$LOG" 2>&1 || {
        tail -n 5 "$LOG" >&2
        grep -q '_ext' "$LOG" || die mmcv 'mmcv does not load, see above.' "The whole log: $LOG"
        rm -rf "$wheels"
        die mmcv 'The operators were built but do not load; the build was thrown away.' \
            'Run make again to build them afresh.'
    }
}

if ! [ -x $VENV/bin/python ] || ! is_done venv "$(key_of /dev/null)"; then
    python=$(find_python) || exit 1
    say "making $VENV with $($python --version 2>&1)"
    "$python" -m venv $VENV || die venv "Making the virtual environment with $python failed." \
        'Debian, Ubuntu: apt-get install python3-venv; then run make again.'
    mark_done venv "$(key_of /dev/null)"
fi

torch_key=$(pinned torch)
pip_step torch "$torch_key" "installing $torch_key" "$torch_key"
pip_step build-tools "$torch_key $(key_of requirements/build.txt)" \
    'installing build tools' -r requirements/build.txt
mmcv_key="$torch_key $(pinned mmcv)"
if ! is_done mmcv "$mmcv_key"; then
    build_mmcv
    mark_done mmcv "$mmcv_key"
fi
pip_step project "$mmcv_key $(key_of setup.py sortkd_det/version.py $CONSTRAINTS)" \
    'installing MMDetection, sortkd_det (editable) and what demo and tests need' \
    --no-build-isolation -e '.[detection,dev,demo,fast]'
