#!/usr/bin/env bash
# Makes sure that what Bosman, its demo and its tests need is installed:
# Debian packages and a new enough Go. Run it as often as you like; with all in
# place it only looks.
#
#   scripts/deps.sh                  install what is missing, asking first
#   scripts/deps.sh --with-chromium  also a browser, for make test and make screenshots
#   scripts/deps.sh --check          only say what is missing; exit 1 if anything is
#   BOSMAN_YES=1 scripts/deps.sh     do not ask (nor without a terminal)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'deps: %s\n' "$*" >&2; }

# Bosman itself
packages=(git bubblewrap postgresql postgresql-client ca-certificates curl zstd)
# the demo's application (examples/rms) and its tests
packages+=(python3-venv python3-django python3-djangorestframework python3-psycopg2
    python3-bleach python3-factory-boy python3-whitenoise python3-sentry-sdk
    gunicorn python3-gunicorn uwsgi uwsgi-plugin-python3
    python3-xmlrunner python3-coverage flake8 pylint)
# Bosman's tests: small disks, whose files share blocks
packages+=(xfsprogs btrfs-progs)
# Bosman's tests: MariaDB, and Django's way to it
packages+=(mariadb-server mariadb-client python3-mysqldb)
# Bosman's tests: an extension that keeps data in tables of its own
packages+=(postgresql-postgis)
# Bosman's tests: what Alembic itself writes and refuses
packages+=(alembic)
# Any node and npm will do, wherever they come from.
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

check=
for argument in "$@"; do
    case $argument in
    --with-chromium) packages+=(chromium fonts-dejavu-core) ;;
    --check) check=1 ;;
    *)
        say "unknown option $argument; try --with-chromium or --check"
        exit 2
        ;;
    esac
done

go_needed=$(sed -n 's/^go //p' go.mod)
check_go() {
    if ! command -v go >/dev/null; then
        say "Go $go_needed or newer is needed and not in PATH: get it from https://go.dev/dl (Debian's may be older)"
        return 1
    fi
    local have
    have=$(GOTOOLCHAIN=local go env GOVERSION)
    have=${have#go}
    if [ "$(printf '%s\n%s\n' "$go_needed" "${have%%[- ]*}" | sort -V | head -n 1)" != "$go_needed" ]; then
        say "Go $have is here, $go_needed or newer is needed: get it from https://go.dev/dl"
        return 1
    fi
}

# Prints those of its arguments that are not installed.
missing() {
    dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        awk -v wanted="$*" '
            $2 == "installed" { here[$1] = 1 }
            END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in here)) print w[i] }'
}

status=0
check_go || status=1

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not Debian or a relative; install what these packages hold in your system's way:"
    printf '%s\n' "${packages[@]}" | fmt -w 76 | sed 's/^/  /' >&2
    exit "$status"
fi

mapfile -t lack < <(missing "${packages[@]}")
if [ ${#lack[@]} -eq 0 ]; then
    [ "$status" -eq 0 ] && say "all there"
    exit "$status"
fi
say "missing: ${lack[*]}"
[ -z "$check" ] || exit 1

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "installing needs root; run this as root:"
        say "  apt-get install -y --no-install-recommends ${lack[*]}"
        exit 1
    fi
    as_root=(sudo)
fi

if [ -t 0 ] && [ -t 2 ] && [ "${BOSMAN_YES:-}" != 1 ]; then
    read -r -p "deps: install them now with apt-get? [Y/n] " answer
    case $answer in
    '' | y | Y | yes) ;;
    *)
        say "nothing was installed; to do it yourself:"
        say "  ${as_root[*]} apt-get install -y --no-install-recommends ${lack[*]}"
        exit 1
        ;;
    esac
fi

# Debian starts a server that it installs; Bosman runs servers of its own.
# While packages are installed nothing may start, unless somebody said before
# what may.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" </dev/null; }

# A package that the lists know a candidate of can be installed without asking for new lists.
known() {
    apt-cache policy "$@" 2>/dev/null | awk '/Candidate:/ { n++; if ($2 == "(none)") bad = 1 } END { exit bad || n < '$#' }'
}

if ! known "${lack[@]}"; then
    say "fetching the package lists"
    apt -q update >&2 || say "the package lists could not be fetched; going on with those that are here"
fi
if ! apt -q install -y --no-install-recommends "${lack[@]}" >&2; then
    # Lists that are too old name files that are gone.
    say "that failed; once more with new package lists, one package at a time"
    apt -q update >&2 || say "the package lists could not be fetched"
    for package in "${lack[@]}"; do
        apt -q install -y --no-install-recommends "$package" >&2 || say "could not get $package"
    done
fi

case " ${lack[*]} " in
*" mariadb-server "*) # nor after the next boot
    if [ -d /run/systemd/system ]; then "${as_root[@]}" systemctl disable --quiet mariadb || true; fi
    ;;
esac

mapfile -t lack < <(missing "${lack[@]}")
if [ ${#lack[@]} -gt 0 ]; then
    say "still missing: ${lack[*]}"
    say "see the messages of apt-get above; is the network there, and are Debian's main sources enabled?"
    exit 1
fi
[ "$status" -eq 0 ] && say "all there"
exit "$status"
