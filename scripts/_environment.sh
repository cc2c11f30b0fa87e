# Sourced by scripts/setup, demo and test, never run by itself. Gives the checkout its own Python
# in .venv, with the packages of the requirement files:
#
#   fedsms_environment requirements.txt [requirements-dev.txt]   # sets $python, or ends the script
#
# A set-up that is complete and unchanged costs milliseconds. One that was interrupted, or whose
# requirement files have changed, is done again. Talks on stderr only.
#
# Where pyproject.toml is there as well, the commands fedsms and fedsms-node are installed.
#
#   FEDSMS_PYTHON   the Python to use, 3.11 to 3.14; otherwise those of these names are tried, and where
#                   none fits, uv fetches one into .venv.python
#   FEDSMS_WHEELS   a folder of wheels to prefer to the package index; otherwise wheels/, if it is there

fedsms_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fedsms_venv=$fedsms_root/.venv
python=$fedsms_venv/bin/python

# pip 24.1 and later refuse syft 0.2.5: its metadata has a comma too few, in an extra nobody uses.
fedsms_pip=24.0
fedsms_uv=0.13.9
# Those that the pinned torch has CPU builds for; shared/starting.py has the same. The first is the one
# that most was measured with.
fedsms_pythons=(3.11 3.12 3.13 3.14)
fedsms_range="${fedsms_pythons[0]} to ${fedsms_pythons[${#fedsms_pythons[@]}-1]}"

# Shows the comment that a script begins with, and ends it, where its arguments ask for help.
fedsms_help() {
  local argument
  for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 0
    fi
  done
}

fedsms_environment() {
  fedsms_is_current "$@" && return
  exec 9>"$fedsms_root/.venv.lock"
  local base
  base=$(fedsms_find_python) || exit 1
  "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'  # held by this shell until fd 9 closes
  fedsms_is_current "$@" || fedsms_set_up "$base" "$@"
  exec 9>&-
}

fedsms_is_current() {
  local file
  [[ -x $python ]] || return 1
  for file in "$@"; do
    cmp -s "$fedsms_root/$file" "$fedsms_venv/installed/$file" || return 1
  done
  fedsms_has_commands
}

fedsms_has_commands() {
  [[ ! -e $fedsms_root/pyproject.toml ]] ||
    cmp -s "$fedsms_root/pyproject.toml" "$fedsms_venv/installed/pyproject.toml"
}

fedsms_set_up() {
  local base=$1 file
  shift
  if [[ ! -x $python ]] || ! cmp -s "$fedsms_root/$1" "$fedsms_venv/installed/$1"; then
    fedsms_say "setting up .venv (once; about a minute)"
    fedsms_make_venv "$base"
  fi
  for file in "$@"; do
    cmp -s "$fedsms_root/$file" "$fedsms_venv/installed/$file" && continue
    fedsms_say "installing $file"
    fedsms_pip_install -r "$fedsms_root/$file"
    # syft's wheel brings its tests and examples along as top-level packages; `test` would hide
    # the standard library's and ours
    rm -rf "$fedsms_venv"/lib/python3.*/site-packages/{test,examples}
    cp "$fedsms_root/$file" "$fedsms_venv/installed/$file"
  done
  fedsms_has_commands && return
  fedsms_say "installing the commands fedsms and fedsms-node"
  fedsms_pip_install --no-build-isolation --editable "$fedsms_root"
  cp "$fedsms_root/pyproject.toml" "$fedsms_venv/installed/pyproject.toml"
}

fedsms_make_venv() {
  if [[ -e $fedsms_venv && ! -e $fedsms_venv/installed ]]; then
    fedsms_fail "$fedsms_venv is there, but fedsms did not make it" \
      "Move it away and run this again."
  fi
  rm -rf "$fedsms_venv"
  mkdir -p "$fedsms_venv/installed"
  fedsms_quietly "Python cannot make a virtual environment" \
    "On Debian and Ubuntu: apt install python3-venv, or python3.11-venv for another than the system's" "$1" -m venv "$fedsms_venv"
  if ! "$python" -c "import pip, sys; sys.exit(tuple(map(int, pip.__version__.split('.')[:2])) > (24, 0))"; then
    fedsms_pip_install "pip==$fedsms_pip"
  fi
  fedsms_install_torch
}

# The default Linux build of torch wants gigabytes of GPU libraries that nothing here uses, and
# cannot be imported without them. Where that is the build pip would choose, the CPU build is taken.
fedsms_install_torch() {
  local torch report needs_gpu=0
  torch=$(grep -E '^torch==' "$fedsms_root/requirements.txt" | cut -d' ' -f1)
  fedsms_say "installing $torch"
  report=$fedsms_venv/torch.json
  fedsms_pip_install --dry-run --report "$report" "$torch"
  "$python" - "$report" <<'PYTHON' || needs_gpu=1
import json, sys
from pip._vendor.packaging.requirements import Requirement
with open(sys.argv[1], encoding="utf-8") as report:
    needs = json.load(report)["install"][0]["metadata"].get("requires_dist", [])
here = [r for r in map(Requirement, needs) if not r.marker or r.marker.evaluate({"extra": ""})]
sys.exit(any(r.name.lower().startswith(("nvidia", "cuda", "triton")) for r in here))
PYTHON
  rm -f "$report"
  if [[ $needs_gpu == 0 ]]; then
    fedsms_pip_install "$torch"
    return
  fi
  fedsms_pip_install "uv==$fedsms_uv"
  fedsms_quietly "the CPU build of torch cannot be installed" \
    "Check the network, or put a CPU wheel of $torch into wheels/ and run this again." \
    "$python" -m uv pip install --quiet --python "$python" --no-deps --torch-backend=cpu "$torch"
}

fedsms_pip_install() {
  local wheels=${FEDSMS_WHEELS:-$fedsms_root/wheels} links=()
  if [[ -n ${FEDSMS_WHEELS:-} && ! -d $wheels ]]; then
    fedsms_fail "FEDSMS_WHEELS names $wheels, which is not a folder" "Name a folder of wheels, or unset it."
  fi
  [[ -d $wheels ]] && links=(--find-links "$wheels")
  fedsms_quietly "pip cannot install ${*: -1}" \
    "Check the network or the free space, then run this again; it starts where it is safe to." \
    "$python" -m pip --disable-pip-version-check --no-input install --quiet --no-deps "${links[@]+"${links[@]}"}" "$@"
}

fedsms_find_python() {
  local candidate
  if [[ -n ${FEDSMS_PYTHON:-} ]]; then
    fedsms_fits "$FEDSMS_PYTHON" || fedsms_fail \
      "FEDSMS_PYTHON names $FEDSMS_PYTHON, which is not a Python $fedsms_range" "Name one, or unset it."
    echo "$FEDSMS_PYTHON"
    return
  fi
  for candidate in "${fedsms_pythons[@]/#/python}" python3 python; do
    if fedsms_fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fedsms_fetch_python
}

fedsms_fits() {
  "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] not in '${fedsms_pythons[*]}'.split())" \
    >/dev/null 2>&1
}

# A Python of its own, for this checkout alone. uv is a program of one file, which any Python 3 with pip
# can install.
fedsms_fetch_python() {
  local folder=$fedsms_root/.venv.python version=${fedsms_pythons[0]} uv found
  local advice="Install one, or name it: FEDSMS_PYTHON=/path/to/python$version"
  found=$(compgen -G "$folder/cpython-$version*/bin/python$version" | head -n 1) || true
  if [[ -z $found ]]; then
    fedsms_say "there is no Python $fedsms_range here; uv fetches $version into $folder"
    uv=$(fedsms_find_uv) || fedsms_fail "there is no Python $fedsms_range here, and no uv to fetch one" "$advice"
    fedsms_quietly "uv cannot fetch Python $version" "$advice" \
      "$uv" python install --no-config --no-bin --install-dir "$folder" "$version"
    found=$(compgen -G "$folder/cpython-$version*/bin/python$version" | head -n 1) || true
  fi
  fedsms_fits "$found" || fedsms_fail "the Python that uv fetched into $folder does not run" "$advice"
  echo "$found"
}

fedsms_find_uv() {
  local candidate venv=$fedsms_root/.venv.uv links=()
  if command -v uv; then
    return
  fi
  if [[ -d ${FEDSMS_WHEELS:-$fedsms_root/wheels} ]]; then
    links=(--find-links "${FEDSMS_WHEELS:-$fedsms_root/wheels}")
  fi
  for candidate in python3 python; do
    if "$candidate" -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/python" -m pip install --quiet \
      --disable-pip-version-check --no-input "${links[@]+"${links[@]}"}" "uv==$fedsms_uv" >&2; then
      echo "$venv/bin/uv"
      return
    fi
  done
  return 1
}

# Runs a command and shows what it printed only if it fails: quietly FACT NEXT_STEP COMMAND...
fedsms_quietly() {
  local fact=$1 next_step=$2 log
  shift 2
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fedsms_fail "$fact" "$next_step"
  fi
  rm -f "$log"
}

fedsms_say() { echo "fedsms: $*" >&2; }

fedsms_fail() {
  printf 'error: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}
