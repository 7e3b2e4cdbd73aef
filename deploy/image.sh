#!/bin/sh
# What `make image` needs: buildah, and mmdebstrap, which makes a base where no registry can be asked.
set -u
missing=""
for program in buildah mmdebstrap; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    # shellcheck disable=SC2086
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "MISSING:$missing. The image is built as root on Debian; elsewhere: docker build ." >&2
exit 1
