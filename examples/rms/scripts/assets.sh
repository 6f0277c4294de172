#!/bin/sh
# Bundles the assets as ASSETS_MODE says (development or production) and
# collects all static files, with hashed names, into staticfiles/.
set -eu
cd "$(dirname "$0")/.."
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund --prefer-offline
    cp package-lock.json node_modules/.installed
fi
node_modules/.bin/webpack
"${PYTHON:-.venv/bin/python}" manage.py collectstatic --noinput --clear --verbosity 0
echo "assets: $(ls staticfiles/dist | wc -l) files in staticfiles/dist, mode ${ASSETS_MODE:-development}"
