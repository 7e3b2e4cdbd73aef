#!/bin/sh
# Makes sure that Python can create virtual environments, or says what is missing.
set -u
"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "hamlet needs Python 3.11 or newer; set PYTHON=path/to/python3.11" >&2
    exit 1
}
"$1" -c 'import ensurepip, venv' 2>/dev/null && exit 0
# On Debian venv is a separate package.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing: python3-venv"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
fi
"$1" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "hamlet needs Python's venv module: apt-get install python3-venv" >&2
    exit 1
}
