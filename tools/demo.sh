#!/usr/bin/env bash
# See forgetting happen: sets up .venv, trains the mini stream (eight drawn tasks, one after the other, on a small
# vision-language model that comes with coinkit), measures every task after every stage, and shows the matrix.
#   bash tools/demo.sh                               one LoRA, tuned task after task: some minutes on two cores
#   bash tools/demo.sh --methods finetune,moelora    several methods of configs/mini/, then side by side
# Nothing but Python packages is downloaded. Killed and started again, it continues where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    local names
    names="$(cd configs/mini && printf '%s ' *.py)"
    printf 'usage: bash tools/demo.sh [--methods NAME[,NAME...]]     names: %s\n' "${names//.py/}"
}

methods=finetune
case "${1:-}" in
    '') ;;
    --methods) methods="${2:-}" ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
names=()
IFS=, read -ra names <<<"$methods"
if [ "${#names[@]}" -eq 0 ]; then
    usage >&2
    exit 2
fi
for name in "${names[@]}"; do
    if [ ! -f "configs/mini/$name.py" ]; then
        printf "demo: there is no configs/mini/%s.py.\n" "$name" >&2
        usage >&2
        exit 2
    fi
done

bash tools/setup_env.sh
python="${COINKIT_VENV:-.venv}/bin/python"

started=$SECONDS
runs=()
for name in "${names[@]}"; do
    run="work_dirs/demo-$name"
    printf '\n== %s: eight tasks in sequence; after each, every task so far is measured\n\n' "$name"
    "$python" tools/train.py "configs/mini/$name.py" --work-dir "$run"
    runs+=("$run")
done
if [ "${#runs[@]}" -gt 1 ]; then
    printf '\n== side by side\n\n'
    "$python" tools/analyze_forgetting.py "${runs[@]}" --out work_dirs/demo-comparison
fi
took=$((SECONDS - started))

printf '\nDone in %d min %02d s.\n' "$((took / 60))" "$((took % 60))"
for run in "${runs[@]}"; do
    printf '  %s/report.html      the matrix, curves and per-task forgetting in one page\n' "$run"
    printf '  %s/figures/         the heat map as PNG and SVG\n' "$run"
done
if [ "${#runs[@]}" -gt 1 ]; then
    printf '  work_dirs/demo-comparison/report.html      the methods side by side\n'
fi
cat <<END

Each row of the matrix is the model after one more task; read down a column to watch a task being forgotten. Next:
  bash tools/demo.sh --methods finetune,moelora,joint    a mixture of experts, and training on all tasks at once
  $python tools/train.py configs/coin/llava_moelora.py --mini    a 7B recipe, on the mini model
  $python tools/train.py configs/coin/llava_moelora.py --dry-run    what the real one needs
  README.md, docs/write-a-method.md    the real run; your own method
END
