#!/bin/sh
# Installs buildah for `make image`, and mmdebstrap, which builds a base image without a registry.
"$(dirname "$0")/programs.sh" buildah mmdebstrap || {
    echo "make image needs root on Debian; elsewhere: docker build ." >&2
    exit 1
}
