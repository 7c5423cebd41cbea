#!/usr/bin/env bash
# The whole check, on a fresh machine too: set-up, style, every test, the plug-ins' own tests. CI runs exactly this.
#   bash tools/check.sh           everything; under half an hour on two cores
#   bash tools/check.sh --fast    without the tests marked `slow`; under five minutes
# Every part runs even when an earlier one failed; the exit status is 0 only when all of them passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

select=()
case "${1:-}" in
    '') ;;
    --fast) select=(-m 'not slow') ;;
    *)
        printf 'usage: bash tools/check.sh [--fast]\n' >&2
        [ "$1" = --help ] || [ "$1" = -h ]
        exit $(($? * 2))
        ;;
esac

compiler="${CXX:-}"
for name in c++ g++ clang++; do
    [ -n "$compiler" ] || compiler="$(command -v "$name")"
done
if ! command -v "${compiler%% *}" >/dev/null; then
    printf 'check: a C++ compiler is needed (DeepSpeed compiles its CPU optimizer at first use) and none is on PATH.\n' >&2
    printf 'Install one (apt install g++; xcode-select --install), or name it with CXX=...\n' >&2
    exit 1
fi

bash tools/setup_env.sh || exit
venv="$(cd "${COINKIT_VENV:-.venv}" && pwd)"
export PATH="$venv/bin:$PATH"  # ninja, ruff and java are in there
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
if ! python -c 'import pathlib, sysconfig, sys
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'; then
    printf 'check: the headers of Python are missing; DeepSpeed compiles against them (apt install python3-dev).\n' >&2
    exit 1
fi
cores="$(python -c 'import os; print(min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()))')"

failed=()
part() {  # part LABEL COMMAND...
    local label="$1" start=$SECONDS
    shift
    printf '\n== %s\n' "$label"
    "$@" || failed+=("$label")
    printf '== %s: %d s\n' "$label" "$((SECONDS - start))"
}

part 'style (ruff)' ruff check .
part 'tests' python -m pytest -n "$cores" --dist loadfile --timeout 1200 --ignore tests/bench \
    --durations 10 ${select[@]+"${select[@]}"}
part 'ratios (tests/bench)' python -m pytest tests/bench ${select[@]+"${select[@]}"}  # alone: they measure time
for tests in plugins/*/tests; do
    [ -d "$tests" ] || continue
    plugin="$(dirname "$tests")"
    part "plug-in ${plugin#plugins/}" env PYTHONPATH="$PWD/$plugin" python -m pytest "$tests" -c "$plugin/pyproject.toml" \
        --rootdir "$plugin" ${select[@]+"${select[@]}"}
done

printf '\n'
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'check: FAILED after %d min %02d s:' "$((SECONDS / 60))" "$((SECONDS % 60))"
    printf ' %s;' "${failed[@]}"
    printf '\n'
    exit 1
fi
printf 'check: all passed in %d min %02d s on %s cores.\n' "$((SECONDS / 60))" "$((SECONDS % 60))" "$cores"
