#!/usr/bin/env bash
# Makes .venv with the pinned stack, step by step; each finished step leaves a
# stamp, so that a second call costs nothing and a failed one is taken up where
# it stopped. PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

VENV=.venv
STAMPS=$VENV/.setup
LOG=$VENV/setup.log
MMCV_LOG=$VENV/setup-mmcv.log
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

why_pip_failed() { # why_pip_failed LOG
    if grep -qiE 'NewConnectionError|Temporary failure in name resolution|ConnectTimeout|Max retries|Network is unreachable|ProxyError' "$1"; then
        echo 'pip could not reach its package index: check the network or proxy, then run make again.'
    elif grep -qi 'No space left' "$1"; then
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
        die "$step" "$(why_pip_failed "$LOG")" "The whole log: $LOG"
    fi
    mark_done "$step" "$key"
}

# mmcv's operators: pip keys its own cache by mmcv's source alone, so those built against another
# torch would come back; the wheels lie in a folder of our own, named after what they were built for.
wheels_of_mmcv() {
    local torch_info=$(basename "$VENV"/lib/python*/site-packages/torch-*.dist-info .dist-info)
    echo "$CACHE/$torch_info-$(basename "$VENV"/lib/python*)-$(uname -m)$([ "$1" = 1 ] && echo -cuda)"
}

for_cuda() { # 1 where torch and nvcc have it and it is known for which GPU, else 0
    command -v nvcc >/dev/null &&
        "$VENV/bin/python" -c 'import os, sys, torch
known = torch.cuda.is_available() or os.environ.get("TORCH_CUDA_ARCH_LIST")
sys.exit(not (torch.version.cuda and known))' 2>/dev/null && echo 1 || echo 0
}

start_mmcv() { # start_mmcv WHEELS CUDA: compiles in the background, as process group $compiling
    local wheels=$1 cuda=$2 jobs cxx=${CXX:-g++} faster=()
    command -v "$cxx" >/dev/null || die mmcv \
        "No C++ compiler: $cxx is not on the PATH, and mmcv's operators must be compiled." \
        'Install one (Debian, Ubuntu: apt-get install g++), then run make again.'
    # Clang and nvcc know other precompiled headers: they compile each file by itself.
    if [ $cuda = 0 ] && "$cxx" --version | grep -q 'Free Software Foundation' && command -v flock >/dev/null; then
        precompiled=$PWD/$VENV/precompiled
        rm -rf "$precompiled" && mkdir "$precompiled"
        install -m 755 tools/mmcv_cxx.sh "$precompiled/mmcv-g++" # by PATH: CXX may hold no space
        faster=(PATH="$precompiled:$PATH" CXX=mmcv-g++ MMCV_CXX="$cxx" MMCV_PCH="$precompiled")
    fi
    jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
    say "compiling the operators of $(pinned mmcv), once, on $jobs cores$([ $cuda = 1 ] && echo ', for CUDA')"
    mkdir -p "$wheels"
    : >"$MMCV_LOG"
    set -m # a group of its own, so that its compilers end with it
    env MMCV_WITH_OPS=1 FORCE_CUDA=$cuda MAX_JOBS=$jobs ${faster[@]+"${faster[@]}"} "$VENV/bin/python" -m pip \
        --disable-pip-version-check wheel -v --no-deps --no-cache-dir --no-build-isolation \
        --no-binary mmcv -w "$wheels" "$(pinned mmcv)" >"$MMCV_LOG" 2>&1 &
    compiling=$!
    set +m
    trap stop_mmcv EXIT
    # mmcv's setup looks at which packages there are: the next ones come when it has looked.
    while kill -0 $compiling 2>/dev/null && ! grep -q "building 'mmcv._ext'" "$MMCV_LOG"; do sleep 0.2; done
}

stop_mmcv() {
    kill -- -$compiling 2>/dev/null
    rm -rf "$precompiled"
}

finish_mmcv() { # waits for the operators, showing what ninja compiles
    local start=$SECONDS line next=0
    while kill -0 $compiling 2>/dev/null; do
        line=$(tr '\r' '\n' <"$MMCV_LOG" | grep -oE '^ *\[[0-9]+/[0-9]+\]' | tail -n 1 | tr -d ' ')
        line="        compiling ${line:-…} $((SECONDS - start)) s"
        if [ -t 1 ]; then
            printf '\r%s' "$line"
        elif [ $((SECONDS - start)) -ge $next ]; then
            echo "$line"
            next=$((SECONDS - start + 30))
        fi
        sleep 1
    done
    [ -t 1 ] && printf '\n'
    wait $compiling || {
        grep -iE 'error|fatal' "$MMCV_LOG" | tail -n 15 >&2
        die mmcv "$(why_pip_failed "$MMCV_LOG")" "The whole log: $MMCV_LOG"
    }
    stop_mmcv
    trap - EXIT
}

install_mmcv() { # install_mmcv WHEELS
    local wheels=$1
    # Twice: the wheel, also over one of the same version; then what it needs to be imported.
    {
        "$VENV/bin/python" -m pip --disable-pip-version-check install --no-deps --force-reinstall \
            "$wheels"/mmcv-*.whl &&
            "$VENV/bin/python" -m pip --disable-pip-version-check install -c "$CONSTRAINTS" \
                "$wheels"/mmcv-*.whl
    } >"$LOG" 2>&1 || die mmcv "$(why_pip_failed "$LOG")" "The whole log: $LOG"
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
compiling='' precompiled=''
if ! is_done mmcv "$mmcv_key"; then
    cuda=$(for_cuda)
    wheels=$(wheels_of_mmcv "$cuda")
    ls "$wheels"/mmcv-*.whl >/dev/null 2>&1 || start_mmcv "$wheels" "$cuda"
fi
# Without mmcv, which MMDetection does not ask for: it is compiled meanwhile.
pip_step project "$torch_key $(key_of setup.py sortkd_det/version.py $CONSTRAINTS)" \
    'installing MMDetection, sortkd_det (editable) and what demo and tests need' \
    --no-build-isolation -e '.[dev,demo,fast]' "$(pinned mmdet)"
if ! is_done mmcv "$mmcv_key"; then
    [ -z "$compiling" ] || finish_mmcv
    install_mmcv "$wheels"
    mark_done mmcv "$mmcv_key"
fi
