#!/bin/sh
# Gets the peers into .tools/: an own Python environment, Restate's server, Temporal's (five minutes, once).
# What cannot be had here is left out, with the reason in .tools/<name>.missing; the table of the results then says so.
cd "$(dirname "$0")/../.." || exit 1
mkdir -p .tools

have() { # name, what makes it, ...
    name=$1
    shift
    if "$@" >".tools/$name.log" 2>&1; then rm -f ".tools/$name.missing"; else tail -n 1 ".tools/$name.log" >".tools/$name.missing"; fi
}

python_packages() {
    lock=tests/benchmarks/requirements.lock
    [ .tools/bench-venv/.installed -nt $lock ] && return 0
    .venv/bin/python -m venv --clear .tools/bench-venv &&
        .tools/bench-venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $lock &&
        touch .tools/bench-venv/.installed
}

restate() {
    [ .tools/restate/package-lock.json -nt tests/benchmarks/peers/restate/package-lock.json ] && return 0
    mkdir -p .tools/restate && cp tests/benchmarks/peers/restate/package*.json .tools/restate/ &&
        npm ci --prefix .tools/restate --ignore-scripts --no-audit --no-fund && touch .tools/restate/package-lock.json
}

have bench-venv python_packages
have restate restate
have temporal sh tools/go.sh temporal
