#!/usr/bin/env bash
# Runs the benchmarks and prints them as a Markdown table.
#
#   scripts/bench.sh                    all, to the terminal
#   scripts/bench.sh --write            also into docs/BENCHMARKS.md
#   scripts/bench.sh -bench Switch -benchtime 5s ./edge
set -euo pipefail
cd "$(dirname "$0")/.."

write=
if [ "${1:-}" = --write ]; then
    write=1
    shift
fi
arguments=("$@")
pattern=.
packages=()
for ((i = 0; i < ${#arguments[@]}; i++)); do
    case ${arguments[i]} in
    -bench) pattern= ;;
    ./*) packages+=("${arguments[i]}") ;;
    esac
done
[ -z "$pattern" ] || arguments=(-bench "$pattern" "${arguments[@]}")
if [ ${#packages[@]} -eq 0 ]; then
    mapfile -t packages < <(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n 1 dirname | sort -u)
    arguments+=("${packages[@]}")
fi
if [ ${#packages[@]} -eq 0 ]; then
    echo "there are no benchmarks" >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# One package at a time: they would measure each other.
go test -p 1 -run '^$' -benchmem -timeout 60m "${arguments[@]}" </dev/null | tee "$scratch/output" >&2

{
    memory=$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)
    processor=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    printf 'Measured %s: %s × %s, %s, Linux %s, %s, commit %s.\n\n' "$(date -u +%Y-%m-%d)" \
        "$(nproc)" "${processor:-$(uname -m)}" "$memory" "$(uname -r | cut -d- -f1)" \
        "$(go env GOVERSION)" "$(git describe --always --dirty 2>/dev/null || echo unknown)"
    printf '| package | benchmark | rounds | time for each | other |\n|---|---|---:|---:|---|\n'
    awk '
        $1 == "pkg:" { sub("github.com/bosman-cd/bosman/?", "", $2); package = $2 == "" ? "." : $2 }
        /^Benchmark/ && $4 == "ns/op" || /^Benchmark/ && NF > 3 {
            name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
            time = "-"; other = ""
            for (i = 3; i < NF; i += 2) {
                if ($(i + 1) == "ns/op") {
                    t = $i
                    if (t >= 1e9) time = sprintf("%.2f s", t / 1e9)
                    else if (t >= 1e6) time = sprintf("%.2f ms", t / 1e6)
                    else if (t >= 1e3) time = sprintf("%.2f µs", t / 1e3)
                    else time = sprintf("%.1f ns", t)
                } else {
                    other = other (other == "" ? "" : ", ") $i " " $(i + 1)
                }
            }
            printf "| %s | %s | %s | %s | %s |\n", package, name, $2, time, other
        }' "$scratch/output"
} >"$scratch/table"

cat "$scratch/table"
if [ -n "$write" ]; then
    awk -v table="$scratch/table" '
        /<!-- table begins -->/ { print; while ((getline line < table) > 0) print line; skip = 1; next }
        /<!-- table ends -->/ { skip = 0 }
        !skip' docs/BENCHMARKS.md >"$scratch/page"
    cp "$scratch/page" docs/BENCHMARKS.md
fi
