#!/bin/sh
# Makes .venv. Debian's packages are taken when they satisfy requirements.txt,
# so that no package index is needed; else pip installs what is missing.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -m venv --system-site-packages --without-pip .venv
if .venv/bin/python scripts/satisfied.py requirements.txt; then
    echo "environment: the system's packages suffice"
    exit 0
fi
echo "environment: installing what is missing"
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
.venv/bin/python -m pip install --disable-pip-version-check --no-input -r requirements.txt
.venv/bin/python scripts/satisfied.py requirements.txt
