#!/usr/bin/env bash
# Runs Bosman's tests and says in few lines what came of it; the last line is
# the count. Without arguments all of them, with root and services:
#
#   scripts/test.sh                    everything, nothing may be skipped
#   scripts/test.sh -short             what needs neither root nor services
#   scripts/test.sh ./edge/... -run X  some, as go test takes them
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(./serve ./database/postgres ./deploy ./...) # the longest first, so that they do not run alone at the end
for argument in "$@"; do
    case $argument in ./* | .) packages=() ;; esac
done
# Some tests wait most of their time, others keep a processor busy. The time
# limit is for a test that hangs: on a slow day a package takes half of it.
limits=(-timeout 40m -p 3)
# Linking takes most of the time of short tests; without symbols for a debugger
# it takes half.
limits+=(-ldflags=-s)
limits+=(-vet=off) # make lint looks for the same and more
scratch=$(mktemp -d)
case " $* " in
*" -short "*)
    [ ${#packages[@]} -eq 0 ] || packages=(./deploy ./helm ./...) # here these take longest
    ;;
*)
    # What a full run finds must not come from an earlier one: Go's cache does
    # not know which PostgreSQL, git or Django stands on the machine.
    limits+=(-count 1)
    ;;
esac
trap 'rm -rf "$scratch"' EXIT
go build -o "$scratch/testsum" ./internal/testsum
"$scratch/testsum" -skips scripts/expected-skips.txt -- "${limits[@]}" "$@" "${packages[@]}" </dev/null
