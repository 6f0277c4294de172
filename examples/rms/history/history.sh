#!/bin/sh
# Makes a git repository with the past of this application and its branches:
#
#     history.sh TARGET_DIR
#
# main ends in exactly the files of the folder above. Its past is that tree with
# past/N.patch and past/N.remove taken off one by one; the branches are patches
# on it. Names, dates and modes are fixed, so the same files give the same commits.
set -eu

[ $# -eq 1 ] || { echo "usage: history.sh TARGET_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
app=$(dirname "$here")
if [ -e "$1" ] && [ -n "$(ls -A "$1")" ]; then
    echo "history.sh: $1 is not empty; give a new folder" >&2
    exit 2
fi
mkdir -p "$1"
target=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY || true
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES="$work:$(dirname "$target")"
export LC_ALL=C TZ=UTC

# --- trees ---------------------------------------------------------------
last=8
mkdir "$work/$last"
tar -C "$app" -c --exclude=./history --exclude=./node_modules --exclude=./.venv \
    --exclude=./static/dist --exclude=./staticfiles --exclude=./media --exclude=./reports \
    --exclude=./.coverage --exclude=./coverage.xml --exclude=./flake8.txt \
    --exclude=./db.sqlite3 --exclude=__pycache__ . | tar -C "$work/$last" -x
find "$work/$last" -type f -exec chmod 644 {} +
chmod 755 "$work/$last/manage.py" "$work/$last"/scripts/*
number=$last
while [ "$number" -gt 1 ]; do
    older=$((number - 1))
    cp -R -p "$work/$number" "$work/$older"
    while IFS= read -r path; do rm "$work/$older/$path"; done <"$here/past/$older.remove"
    if [ -s "$here/past/$older.patch" ]; then
        (cd "$work/$older" && git apply "$here/past/$older.patch")
    fi
    find "$work/$older" -mindepth 1 -type d -empty -delete
    number=$older
done

# --- commits -------------------------------------------------------------
git init -q -b main "$target"
cd "$target"
git config user.name "Marta Zielinska"
git config user.email marta@example.org

commit() { # name, e-mail, date; the message on stdin
    git add -A
    GIT_AUTHOR_NAME=$1 GIT_AUTHOR_EMAIL=$2 GIT_AUTHOR_DATE=$3 \
    GIT_COMMITTER_NAME=$1 GIT_COMMITTER_EMAIL=$2 GIT_COMMITTER_DATE=$3 \
        git commit -q -F -
}
past() { # number, name, date, subject
    find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
    (cd "$work/$1" && tar c .) | tar x
    echo "$4" | commit "$2" "$(author_mail "$2")" "$3"
}
author_mail() { echo "$(echo "$1" | cut -d' ' -f1 | tr '[:upper:]' '[:lower:]')@example.org"; }
branch() { # name, from
    git checkout -q -b "$1" "$2"
}
patched() { # branch's folder, number, name, date
    git apply --index "$here/branches/$1/$2.patch"
    commit "$3" "$(author_mail "$3")" "$4" <"$here/branches/$1/$2.message"
}

marta="Marta Zielinska" kamil="Kamil Wrona" julia="Julia Sowa" tomasz="Tomasz Lis"
past 1 "$marta" "2026-10-05T09:12:00+02:00" "Candidates: list, page, road to employment, login"
past 2 "$kamil" "2026-10-09T14:40:00+02:00" "REST interface, its description, type-ahead search"
past 3 "$julia" "2026-10-14T11:05:00+02:00" "Notes on a candidate: rich but clean"
past 4 "$marta" "2026-10-20T15:21:00+02:00" "CV: uploaded, kept private"
past 5 "$kamil" "2026-10-27T10:02:00+01:00" "Digest for the recruiters each morning"
past 6 "$tomasz" "2026-11-03T13:30:00+01:00" "Indexes for status and city"
past 7 "$marta" "2026-11-10T09:48:00+01:00" "Bosman builds, tests and deploys"
past 8 "$julia" "2026-11-16T12:15:00+01:00" "List: 20 candidates a page"

branch feature main
patched feature 1 "$kamil" "2026-11-17T10:20:00+01:00"
patched feature 2 "$kamil" "2026-11-18T16:04:00+01:00"
branch drop-column feature
patched drop-column 1 "$tomasz" "2026-11-19T11:31:00+01:00"
branch failing main
patched failing 1 "$julia" "2026-11-17T15:45:00+01:00"
branch migration-a main
patched migration-a 1 "$marta" "2026-11-18T09:10:00+01:00"
branch migration-b main
patched migration-b 1 "$tomasz" "2026-11-18T09:55:00+01:00"
branch conflict main~1
patched conflict 1 "$tomasz" "2026-11-13T14:00:00+01:00"
branch bad-500 main
patched bad-500 1 "$kamil" "2026-11-19T17:20:00+01:00"
git checkout -q main

if [ -n "$(git status --porcelain)" ]; then
    echo "history.sh: the work tree of $target is not clean" >&2
    exit 1
fi
git for-each-ref --format='%(refname:short) %(objectname:short=12) %(subject)' refs/heads
