#!/bin/sh
# Installs missing programs as root on Debian: PROGRAM or PROGRAM:PACKAGE ... Elsewhere it lists what is missing
# and exits with 1.
set -u
missing=""
for pair; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    # shellcheck disable=SC2086
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "MISSING:$missing." >&2
exit 1
