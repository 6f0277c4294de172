#!/usr/bin/env bash
# Takes the pictures of docs/screenshots: plays the demo, leaves it running,
# and looks at its pages with Chromium at the width of a desk and of a phone,
# light and dark. About five minutes; what it started is removed at the end.
#
#   scripts/screenshots.sh          into docs/screenshots
#   scripts/screenshots.sh FOLDER   into another folder
set -euo pipefail
cd "$(dirname "$0")/.."
into=${1:-docs/screenshots}
mkdir -p "$into"
into=$(realpath "$into")

# The pages show where Bosman's data lies, and so do the pictures.
scratch=/srv/bosman
mkdir -p /srv
mkdir "$scratch" || {
    echo "screenshots: $scratch is somebody's already; move it away for a while" >&2
    exit 1
}
chmod 755 "$scratch"
program=$(realpath bin/bosman)
finish() {
    "$program" demo --clean --data "$scratch/demo" >/dev/null || echo "screenshots: look what is left in $scratch" >&2
    rm -rf "$scratch"
}
trap finish EXIT

echo "screenshots: playing the demo" >&2
"$program" demo --data "$scratch/demo" >"$scratch/said" || {
    cat "$scratch/said" >&2
    exit 1
}
address=$(sed -n "s/^ *Bosman's pages *//p" "$scratch/said")

echo "screenshots: looking at $address" >&2
mkdir "$scratch/pictures"
go test -count 1 -tags pictures -timeout 20m ./browser -run '^TestPictures$' \
    -into "$scratch/pictures" -bosman "$program" -data "$scratch/demo/data" -address "$address" -password anna-of-rms
rm -f "$into"/*.png
cp "$scratch/pictures"/*.png "$into/"
total=$(cat "$into"/*.png | wc -c)
echo "screenshots: $(find "$into" -name '*.png' | wc -l) pictures, $((total / 1024)) KB in $into" >&2
[ "$total" -lt 4000000 ] || {
    echo "screenshots: more than 4 MB is too much for a repository" >&2
    exit 1
}
