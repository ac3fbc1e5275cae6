#!/bin/sh
# Festoon on a fresh Debian (12 or later) or Ubuntu (24.04 or later) machine, as root.
#
#   vm/install.sh [--from SOURCE] [--to FOLDER]    install, and start it; called again, bring it up to date (containers go on)
#   vm/install.sh --uninstall [--to FOLDER]        take everything away, but for Debian's packages
#
# SOURCE is anything that pip takes: a folder, an archive's URL, git+https://… (default: the checkout that this file is in). FOLDER (default
# /opt/festoon) gets a virtual environment; units, links and the group are made by `festoon system install`.
set -eu

from= to=/opt/festoon uninstall=
usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case "$1" in
        --from) [ $# -gt 1 ] || usage; from=$2; shift ;;
        --to) [ $# -gt 1 ] || usage; to=$2; shift ;;
        --uninstall) uninstall=1 ;;
        *) usage ;;
    esac
    shift
done
fail() { echo "install.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
case "$to" in /?*) ;; *) fail "--to $to: an absolute path" ;; esac

if [ -n "$uninstall" ]; then
    [ -x "$to/bin/festoon" ] || fail "there is no Festoon in $to"
    "$to/bin/festoon" system uninstall --force
    rm -rf "$to"
    exit 0
fi
if [ -e "$to" ] && [ ! -f "$to/pyvenv.cfg" ]; then
    fail "$to exists and is no virtual environment: choose another with --to"
fi
if [ -z "$from" ]; then
    from=$(cd "$(dirname "$0")/.." && pwd)
    [ -f "$from/pyproject.toml" ] || fail "this file is not in a checkout: say --from SOURCE"
fi

missing=
need() { missing="$missing $1"; }
python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
command -v ip >/dev/null || need iproute2
command -v nft >/dev/null || need nftables
ldconfig -p | grep -q libnftables.so.1 || need libnftables1
command -v ps >/dev/null || need procps
command -v modprobe >/dev/null || need kmod
case "$from" in git+*) command -v git >/dev/null || need git ;; esac
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "missing:$missing: install them with this system's package manager"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing ca-certificates >/dev/null
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Festoon needs Python 3.11 or later: Debian 12 and Ubuntu 24.04 have it"

fresh=
[ -x "$to/bin/python" ] || fresh=1
undo() { [ -z "$fresh" ] || rm -rf "$to"; }
trap undo EXIT
[ -z "$fresh" ] || python3 -m venv "$to"
"$to/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$from"
trap - EXIT
"$to/bin/festoon" system install
