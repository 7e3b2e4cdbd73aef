#!/bin/sh
# What `make image` needs: buildah, and mmdebstrap, which makes a base where no registry can be asked.
"$(dirname "$0")/programs.sh" buildah mmdebstrap || {
    echo "The image is built as root on Debian; elsewhere: docker build ." >&2
    exit 1
}
