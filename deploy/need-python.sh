#!/bin/sh
# Says what is missing before pip does so less clearly.
"$1" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit("hamlet needs Python 3.11 or newer; set PYTHON=path/to/python3.11")
try:
    import ensurepip, venv
except ImportError:
    sys.exit("hamlet needs Python's venv module: apt-get install python3-venv")
PY
