#!/usr/bin/env bash
# Brings a fresh checkout to life: `setup.sh python` (environment in .venv), `setup.sh broker` (mosquitto), `setup.sh lock`.
# Uses the system's package manager only where that needs no password, and says what to do where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly UV_REQUIREMENTS=scripts/uv.lock.txt

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs apt-get as root when that needs no password; fails quietly otherwise.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

apt_install() {
  command -v apt-get >/dev/null || return 1
  as_root true || return 1
  say "installing $* with apt"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2
}

find_python() {
  local name
  for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "Python 3.11 or newer is needed (Debian: apt install python3); or name one: make PYTHON=/path/to/python3"
}

# A small environment for uv alone, so that uv never manages the environment it runs in.
make_tools() {
  local python=$1
  [ -x .tools/venv/bin/pip ] && return
  rm -rf .tools/venv
  if "$python" -c 'import ensurepip' 2>/dev/null && "$python" -m venv .tools/venv >&2; then return; fi
  rm -rf .tools/venv
  local version
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if apt_install "python$version-venv" && "$python" -m venv .tools/venv >&2; then return; fi
  rm -rf .tools/venv
  if "$python" -m pip --version >/dev/null 2>&1; then
    say "the venv module is missing, using virtualenv from pip"
    "$python" -m pip install -q --target .tools/virtualenv virtualenv >&2 &&
      PYTHONPATH=.tools/virtualenv "$python" -m virtualenv -q .tools/venv >&2 && return
  fi
  die "no way to make a virtual environment: install python$version-venv (Debian: apt install python$version-venv)"
}

install_python() {
  local python
  python=$(find_python)
  make_tools "$python"
  .tools/venv/bin/pip install -q --disable-pip-version-check --require-hashes -r "$UV_REQUIREMENTS" >&2
  export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$PWD/.venv"
  [ -x .venv/bin/python ] || uv venv -q --python "$python" .venv
  uv pip sync -q --compile-bytecode --require-hashes requirements.lock
  uv pip install -q --no-deps --no-build-isolation -e .
}

# uv trusts its own list of authorities; behind a company's proxy only the system's list will do, and a bare system has none.
uv() {
  local uv=.tools/venv/bin/uv
  "$uv" "$@" && return
  say "trying once more with the system's list of authorities"
  UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true "$uv" "$@"
}

lock() {
  [ -x .tools/venv/bin/uv ] || install_python
  # --no-header: the header would quote the command line and, with it, this machine's paths.
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --all-extras --no-annotate \
    --no-header pyproject.toml -o requirements.lock
}

have_broker() {
  [ -n "${MQTT_URL:-}" ] || PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto >/dev/null ||
    [ -x .tools/bin/mosquitto ]
}

# Without root: the distribution's own packages, unpacked below .tools. Works where the libraries fit the system.
unpack_broker() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  local base=$PWD/.tools/mosquitto
  rm -rf "$base"
  mkdir -p "$base/lists/partial" "$base/cache/archives/partial" "$base/debs" "$base/root"
  local apt=(apt-get -qq -o "Dir::State::lists=$base/lists" -o "Dir::Cache=$base/cache" -o Debug::NoLocking=1)
  say "fetching mosquitto without root into .tools"
  "${apt[@]}" update >&2 || return 1
  local packages
  packages=$("${apt[@]}" -s --no-install-recommends install mosquitto | awk '/^Inst/ {print $2}') || return 1
  [ -n "$packages" ] || return 1
  # shellcheck disable=SC2086  # a list of words
  (cd "$base/debs" && "${apt[@]}" download $packages >&2) || return 1
  local deb
  for deb in "$base"/debs/*.deb; do dpkg-deb -x "$deb" "$base/root"; done
  mkdir -p .tools/bin
  # The wrapper finds its libraries beside itself, wherever this checkout is moved.
  cat >.tools/bin/mosquitto <<'WRAPPER'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../mosquitto/root
for folder in "$root"/usr/lib/* "$root"/lib/*; do
  [ -d "$folder" ] && LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
exec "$root/usr/sbin/mosquitto" "$@"
WRAPPER
  chmod +x .tools/bin/mosquitto
  rm -rf "$base/lists" "$base/cache" "$base/debs"
  # Asking for help ends with an error code of its own.
  local help
  help=$(.tools/bin/mosquitto -h 2>/dev/null || true)
  [[ $help == "mosquitto version"* ]] || { rm -f .tools/bin/mosquitto; return 1; }
}

install_broker() {
  have_broker && return
  apt_install mosquitto && have_broker && { stop_system_broker; return; }
  unpack_broker && return
  die "mosquitto is missing: install it (Debian: apt install mosquitto; others: their package manager), or give MQTT_URL"
}

# Debian starts the service on installation; ours listens elsewhere, and nobody asked for that one.
stop_system_broker() {
  [ -d /run/systemd/system ] || return 0
  as_root systemctl disable --now mosquitto >/dev/null 2>&1 || true
}

case "${1:-}" in
  python) install_python ;;
  broker) install_broker ;;
  lock) lock ;;
  *) die "usage: setup.sh python|broker|lock" ;;
esac
