#!/bin/sh
# The programs outside Python that the end-to-end tests use. As root on Debian they are installed;
# elsewhere their tests are skipped, and this says so.
"$(dirname "$0")/programs.sh" chromium node:nodejs npm redis-server prometheus nginx:nginx-light \
    prometheus-alertmanager prometheus-node-exporter ||
    echo "Tests that need them will be SKIPPED." >&2
