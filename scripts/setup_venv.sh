#!/usr/bin/env bash
# Make a virtual environment with inmf_flow (editable) and its dev extra, under constraints.txt.
# Usage: PYTHON=python3 scripts/setup_venv.sh .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${1:-.venv}
python=${PYTHON:-python3}
log=$venv/setup.log

fail() {
  printf 'make setup: %s\n' "$@" >&2
  exit 1
}

check_python() {
  command -v "$python" >/dev/null \
    || fail "there is no $python here; inmf_flow needs Python 3.11 or later" \
            "install it, or name another one: PYTHON=/path/to/python3 make setup"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$python is $("$python" --version 2>&1); inmf_flow needs Python 3.11 or later" \
            "name another one: PYTHON=/path/to/python3.11 make setup"
}

check_venv_module() {
  "$python" -c 'import ensurepip, venv' 2>/dev/null \
    || fail "$python has no venv module" "on Debian and Ubuntu: apt-get install python3-venv"
}

usable() {
  # An environment of this very Python is brought up to date; any other is made anew.
  local version='import sys; print(sys.version)'
  [[ -x $venv/bin/python ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 \
    && [[ $("$venv/bin/python" -c "$version") == "$("$python" -c "$version")" ]]
}

# Whoever has local wheels has uv read them too: it does so in a fraction of pip's time.
with_uv() {
  local links=()
  read -ra links <<<"${PIP_FIND_LINKS//$'\n'/ }"
  usable || { rm -rf "$venv" && uv venv --quiet --seed --python "$python" "$venv"; } || return
  uv pip install --python "$venv/bin/python" "${links[@]/#/--find-links=}" \
    --constraint constraints.txt --editable '.[dev]' >"$log" 2>&1
}

with_pip() {
  usable || { check_venv_module && rm -rf "$venv" && "$python" -m venv "$venv"; } || return
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[dev]' >"$log" 2>&1
}

install() {
  if command -v uv >/dev/null && [[ -n ${PIP_FIND_LINKS:-} ]]; then
    with_uv && return
    # uv reads none of pip's settings: where they name more places, pip may find what uv did not.
    printf 'uv could not install the packages; trying pip\n'
  fi
  with_pip
}

check_python
started=$SECONDS
printf 'Making %s with %s (some minutes the first time)\n' "$venv" "$("$python" --version)"
install || {
  [[ -f $log ]] && tail -n 20 "$log" >&2
  fail "the packages could not be installed; the whole log is in $log"
}
printf '%s is ready after %d s\n' "$venv" $((SECONDS - started))
