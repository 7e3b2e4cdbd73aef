#!/bin/sh
# The programs outside Python that the end-to-end tests use. As root on Debian they are installed;
# elsewhere their tests are skipped, and this says so.
set -u
missing=""
for pair in chromium:chromium node:nodejs npm:npm redis-server:redis-server \
    prometheus:prometheus nginx:nginx-light prometheus-alertmanager:prometheus-alertmanager \
    prometheus-node-exporter:prometheus-node-exporter; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "MISSING:$missing. Tests that need them will be SKIPPED." >&2
