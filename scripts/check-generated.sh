#!/usr/bin/env bash
# Fails when a committed file that is generated is not what its source gives.
# Nothing in the tree is changed; `make generate` renews.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stale=0

# Pages: each page.templ has its page_templ.go.
mapfile -t sources < <(find . -name '*.templ' -not -path '*/node_modules/*' | sort)
if [ ${#sources[@]} -gt 0 ]; then
    go build -modfile=tools/go.mod -o "$scratch/templ" github.com/a-h/templ/cmd/templ
    mkdir "$scratch/tree"
    cp go.mod "$scratch/tree/"
    cp --parents "${sources[@]}" "$scratch/tree/"
    (cd "$scratch/tree" && "$scratch/templ" generate -path web -lazy=false >"$scratch/templ.log" 2>&1) || {
        cat "$scratch/templ.log" >&2
        exit 1
    }
    for source in "${sources[@]}"; do
        generated=${source%.templ}_templ.go
        if ! cmp -s "$generated" "$scratch/tree/$generated"; then
            echo "stale: ${generated#./} (from ${source#./})" >&2
            stale=1
        fi
    done
fi
while read -r generated; do
    if [ ! -e "${generated%_templ.go}.templ" ]; then
        echo "stale: ${generated#./} has no source" >&2
        stale=1
    fi
done < <(find . -name '*_templ.go' -not -path '*/node_modules/*')

# The API's description is compared by its own test, which needs no service.
if [ -e api/openapi.json ]; then
    go test -short ./api -run OpenAPI >"$scratch/api.log" 2>&1 || {
        echo "stale: api/openapi.json" >&2
        cat "$scratch/api.log" >&2
        stale=1
    }
fi

if [ "$stale" -ne 0 ]; then
    echo "generated files are stale: run make generate and commit what changed" >&2
    exit 1
fi
echo "generated files are up to date"
