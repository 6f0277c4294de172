#!/bin/sh
# Runs the tests; leaves reports/*.xml (xunit) and coverage.xml also when they fail.
cd "$(dirname "$0")/.." || exit 2
python="${PYTHON:-.venv/bin/python}"
rm -rf reports coverage.xml
TEST_REPORTS=reports "$python" -m coverage run manage.py test --noinput "$@"
code=$?
"$python" -m coverage xml -q || exit 2
"$python" -m coverage report --skip-covered || exit 2
exit $code
