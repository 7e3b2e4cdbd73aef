#!/bin/sh
# Installs the programs that the end-to-end tests use, as root on Debian; elsewhere it says which tests are
# skipped.
"$(dirname "$0")/programs.sh" chromium node:nodejs npm redis-server prometheus nginx:nginx-light \
    prometheus-alertmanager prometheus-node-exporter ||
    echo "Tests that need them will be SKIPPED." >&2
