#!/bin/sh
# Installs the official Node client for the end-to-end tests, as pinned by its lock file.
cd "$(dirname "$0")/../tests/e2e/node" || exit 1
command -v npm >/dev/null 2>&1 || exit 0
[ node_modules/.package-lock.json -nt package-lock.json ] ||
    npm ci --no-audit --no-fund --silent || echo "MISSING: the Node client; its tests will be SKIPPED." >&2
