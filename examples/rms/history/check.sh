#!/bin/sh
# Makes the history twice and proves what it promises: the same commits each
# time, main equal to the application, and each branch doing what its name says.
# Needs git, Debian's Django and its friends (PYTHON, /usr/bin/python3).
# BRANCHES="main failing" limits the tests to some branches.
set -u
here=$(cd "$(dirname "$0")" && pwd)
app=$(dirname "$here")
python="${PYTHON:-/usr/bin/python3}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GIT_CEILING_DIRECTORIES="$work" DATABASE_URL=sqlite://:memory:
unset BOSMAN_INSTANCE BOSMAN_KIND SECRET_KEY SENTRY_DSN EMAIL_HOST DEBUG || true
failures=0
ok() { echo "ok    $1"; }
bad() { echo "FAIL  $1"; failures=$((failures + 1)); }
holds() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1: expected $2, found $3"; fi; }

"$here/history.sh" "$work/one" >"$work/one.txt" || { echo "history.sh failed"; exit 1; }
"$here/history.sh" "$work/two" >"$work/two.txt" || { echo "history.sh failed"; exit 1; }
if cmp -s "$work/one.txt" "$work/two.txt"; then ok "twice gives the same commits"; else bad "twice gives other commits"; fi
repo="$work/one"
cd "$repo" || exit 1
holds "main has eight commits" 8 "$(git rev-list --count main)"
differ=0
for file in $(git ls-files); do cmp -s "$file" "$app/$file" || { differ=1; echo "      $file differs"; }; done
holds "main is the application" 0 $differ

run_tests() { # branch: counts as "tests failures"
    git checkout -q "$1" || return 1
    "$python" manage.py test --noinput >"$work/out" 2>&1
    "$python" - "$work/out" <<'P'
import re, sys
text = open(sys.argv[1], encoding='utf-8').read()
ran = re.search(r'^Ran (\d+) tests?', text, re.M)
bad = sum(int(n) for n in re.findall(r'(?:failures|errors)=(\d+)', text))
print('%s tests' % ('some' if ran and int(ran.group(1)) >= 39 else 'too few'), bad, 'bad')
P
}

for branch in ${BRANCHES:-main~7 main~6 main~5 main~4 main~3 main~2 main~1 main feature drop-column \
        migration-a migration-b conflict bad-500 failing}; do
    expected="some tests 0 bad"
    [ "$branch" = failing ] && expected="some tests 1 bad"
    holds "tests of $branch" "$expected" "$(run_tests "$branch")"
    if [ "$branch" = failing ]; then
        holds "the test that fails" 1 "$(grep -c '^FAIL: test_foreign_number_keeps_its_prefix' "$work/out")"
    fi
done
git checkout -q main

merges() { git merge-tree --write-tree "$1" "$2" >/dev/null 2>&1 && echo clean || echo conflict; }
holds "conflict conflicts with main" conflict "$(merges main conflict)"
for branch in feature failing migration-a migration-b bad-500 drop-column; do
    holds "$branch merges into main" clean "$(merges main $branch)"
done
holds "migration-a and -b merge as text" clean "$(merges migration-a migration-b)"
git checkout -q --detach migration-a
git -c user.name=x -c user.email=x@example.org merge -q --no-edit migration-b >/dev/null
"$python" manage.py makemigrations --check --dry-run >"$work/out" 2>&1
holds "but not as migrations" 1 "$(grep -c 'Conflicting migrations detected' "$work/out")"

# drop-column: main's code on the new schema, and main's on feature's
export DATABASE_URL="sqlite:///$work/db.sqlite3"
list_on_this_database() { # branch
    git checkout -q "$1"
    "$python" - <<'P' 2>/dev/null
import os, django
os.environ['DJANGO_SETTINGS_MODULE'] = 'rms.settings'
os.environ['DEBUG'] = '1'
django.setup()
from django.test import Client
client = Client(raise_request_exception=False, HTTP_HOST='localhost')
print(client.get('/healthz').status_code, client.get('/candidates/').status_code)
P
}
git checkout -q main && "$python" manage.py migrate -v 0 && "$python" manage.py load_testdata >"$work/out"
holds "507 candidates" "507 candidates made, 507 there now." "$(cat "$work/out")"
git checkout -q feature && "$python" manage.py migrate -v 0
holds "feature on its schema" "200 200" "$(list_on_this_database feature)"
holds "main's code on feature's schema" "200 200" "$(list_on_this_database main)"
git checkout -q drop-column && "$python" manage.py migrate -v 0
holds "drop-column on its schema" "200 200" "$(list_on_this_database drop-column)"
holds "feature's code on drop-column's schema" "200 500" "$(list_on_this_database feature)"
holds "main's code on drop-column's schema" "200 500" "$(list_on_this_database main)"

# bad-500: well at first, then 500 for ever
git checkout -q main && DATABASE_URL="sqlite:///$work/load.sqlite3" "$python" manage.py migrate -v 0
git checkout -q bad-500
holds "bad-500 under load" "30 good, then 10 bad; health 200" "$(DATABASE_URL="sqlite:///$work/load.sqlite3" "$python" - <<'P' 2>/dev/null
import os, django
os.environ['DJANGO_SETTINGS_MODULE'] = 'rms.settings'
os.environ['DEBUG'] = '1'
django.setup()
from django.test import Client
client = Client(raise_request_exception=False, HTTP_HOST='localhost')
codes = [client.get('/candidates/').status_code for _ in range(40)]
print('%d good, then %d bad; health %d' % (
    codes.index(500), codes[30:].count(500), client.get('/healthz').status_code))
P
)"
[ $failures -eq 0 ] && echo "the history holds" || echo "$failures failed"
[ $failures -eq 0 ]
