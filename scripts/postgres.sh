#!/usr/bin/env bash
# Gets versions of PostgreSQL that Debian has not, for tests: see
# tools/postgres. With all in place it only looks.
set -euo pipefail
cd "$(dirname "$0")/../tools/postgres"

want=$(sha256sum package-lock.json unpack.mjs | sha256sum | cut -c1-16)
if [ "$(cat node_modules/.bosman 2>/dev/null || true)" = "$want" ]; then exit 0; fi

case "$(uname -m)" in
x86_64) ;;
*)
    echo "postgres: there are no further versions for $(uname -m); tests of them will say so" >&2
    exit 0
    ;;
esac
echo "postgres: getting PostgreSQL 13, 14, 16, 17 and 18 for tests" >&2
npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2
node unpack.mjs
printf '%s\n' "$want" >node_modules/.bosman
