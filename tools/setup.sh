#!/usr/bin/env bash
# Installs what the project's commands need: Debian packages (as root) and .venv with pinned hashes.
# `setup.sh browser` installs what only the browser tests need, and no more.
set -euo pipefail
cd "$(dirname "$0")/.."

# command the package brings:package
needed=(prometheus:prometheus cmake:cmake cc:gcc make:make)
[ "${1:-}" = browser ] && needed=(chromium:chromium nginx:nginx-light)
missing=()
for pair in "${needed[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if ((${#missing[@]})); then
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "setup: these packages are missing: ${missing[*]}; install them and run this again" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  # The packages' own services must not start: the cluster runs its own.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "${1:-}" = browser ] && exit 0
for tool in cargo npm; do
  command -v "$tool" >/dev/null || { echo "setup: $tool is missing; install Rust (>= 1.90) and Node (>= 20)" >&2; exit 1; }
done

python=
for candidate in python3 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || { echo "setup: no Python >= 3.11 was found; install one" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing Python packages into .venv"
.venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.txt
