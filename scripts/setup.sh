#!/usr/bin/env bash
# Prepares a Debian-like machine: system packages for headless rendering, then the virtual environment.
# usage: scripts/setup.sh demo|test     (test adds the development tools, a browser for the report's tests and a compiler)
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    demo) extras=sim ;;
    test) extras=sim,hod,train,dev ;;
    *) echo "usage: scripts/setup.sh demo|test" >&2; exit 2 ;;
esac

# Package by package, because one that is there must not hide that another is missing.
declare -A probes=(
    [libegl1]="ldconfig -p | grep -q 'libEGL\.so\.1'"
    [libegl-mesa0]="ldconfig -p | grep -q 'libEGL_mesa\.so\.0'"
    [libgl1-mesa-dri]="find /usr/lib -name 'swrast_dri.so' -o -name 'libgallium*.so' 2>/dev/null | grep -q ."
    [libosmesa6]="ldconfig -p | grep -q 'libOSMesa\.so'"
    [python3-venv]="$(command -v python3) -c 'import ensurepip, venv'"
    # robosuite brings evdev (keyboards to steer robots with), which is built from source.
    [gcc]="command -v gcc"
    [libc6-dev]="test -f /usr/include/stdio.h"
    [linux-libc-dev]="test -f /usr/include/linux/input.h"
    [python3-dev]="$(command -v python3.11 || command -v python3) -c 'import pathlib, sysconfig, sys; sys.exit(not pathlib.Path(sysconfig.get_path(\"include\"), \"Python.h\").exists())'"
)
if [ "$1" = test ]; then
    probes[chromium]="command -v chromium"
    # egl_probe, which robomimic brings, is built from source.
    for tool in cmake g++ make; do probes[$tool]="command -v $tool"; done
fi

missing=()
for package in "${!probes[@]}"; do
    bash -c "${probes[$package]}" >/dev/null 2>&1 || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
        echo "These system packages are missing. Install them as root, then run this again:" >&2
        echo "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "installing system packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

python=$(command -v python3.11 || command -v python3)
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "egorep needs Python 3.11 or 3.12, but $python is $("$python" --version)" >&2
    exit 1
}

# The environment is kept while what it was made from is unchanged; `test` includes all of `demo`.
wanted=$({ "$python" --version; cat pyproject.toml; } | sha256sum | cut -d' ' -f1)
stamp=".venv/egorep-$1"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    echo "installing egorep[$extras] into .venv (minutes, several GB with torch's CUDA build)"
    # One call: torch installed from another call would bring another build.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
    echo "$wanted" > "$stamp"
    if [ "$1" = test ]; then echo "$wanted" > .venv/egorep-demo; fi
fi
