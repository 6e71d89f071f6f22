#!/bin/sh
# What CentOS 7 needs since its servers were shut down (30 June 2024). First argument:
#   repositories  yum's repositories lead to the archive; those that lead elsewhere are left alone
#   python        the same, and a Python >= 3.8 for Ansible, where none is there
# Environment: MIRROR (a copy of the archive; empty: the archive itself, for dead repositories alone), CHECK (not empty:
# change nothing), ROOT (a folder in place of /, for tests). Prints `changed: WHAT`, `would change: WHAT` and, last,
# `python: PATH`. The system's own Python and yum are used as they are and never changed.
set -eu

ROOT=${ROOT:-} CHECK=${CHECK:-} MIRROR=${MIRROR:-}
archive=${MIRROR:-https://vault.centos.org/7.9.2009}
archive=${archive%/}
repos=$ROOT/etc/yum.repos.d
mark='# nanobanana.testbed: the archive of CentOS 7'
dead='^[^#]*//(mirrorlist|mirror)\.centos\.org'
collection=$ROOT/opt/rh/rh-python38/root/usr
# Among the names that Ansible looks for, in a folder that no package owns.
wrapper=$ROOT/usr/local/bin/python3.8

say() {
  if [ -n "$CHECK" ]; then echo "would change: $1"; else echo "changed: $1"; fi
}

replace() { # FILE MODE: by its standard input, all at once
  if [ -n "$CHECK" ]; then cat > /dev/null; return; fi
  cat > "$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
}

section() { # ID NAME PATH KEY
  # shellcheck disable=SC2016 # $basearch is yum's own variable
  printf '[%s]\nname=%s\nbaseurl=%s/%s\nenabled=1\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/%s\n' \
    "$1" "$2" "$archive" "$3" "$4"
}

base() {
  echo "$mark"
  # shellcheck disable=SC2016
  for part in base:os updates:updates extras:extras; do
    section "${part%:*}" "CentOS-7 - ${part%:*}" "${part#*:}/\$basearch/" RPM-GPG-KEY-CentOS-7
  done
}

collections() {
  echo "$mark"
  section centos-sclo-rh 'CentOS-7 - SCLo rh' "sclo/\$basearch/rh/" RPM-GPG-KEY-CentOS-SIG-SCLo
}

settle() { # FILE FUNCTION: write what the function prints, where the file is dead, ours, or overruled by MIRROR
  wanted=$("$2")
  found=$(cat "$1" 2> /dev/null || true)
  [ "$wanted" != "$found" ] || return 0
  case $found in
    "$mark"*) ;;
    *)
      if [ -z "$MIRROR" ] && ! grep -Eq "$dead" "$1"; then return 0; fi
      # The file as it was, under a name that yum does not read.
      if [ -z "$CHECK" ] && [ ! -e "$1.before" ]; then cp -p "$1" "$1.before"; fi
      ;;
  esac
  say "${1#"$ROOT"}"
  echo "$wanted" | replace "$1" 644
}

repositories() {
  if [ -e "$repos/CentOS-Base.repo" ]; then settle "$repos/CentOS-Base.repo" base; fi
  if [ -e "$repos/CentOS-SCLo-scl-rh.repo" ]; then settle "$repos/CentOS-SCLo-scl-rh.repo" collections; fi
  # One dead repository makes every yum command fail.
  for file in "$repos"/CentOS-*.repo; do
    if grep -Eqs "$dead" "$file" && grep -Eq '^enabled *= *1' "$file"; then
      say "${file#"$ROOT"}"
      sed 's/^enabled *= *1/enabled=0/' "$file" | replace "$file" 644
    fi
  done
}

find_python() {
  for name in "$wrapper" python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 "$ROOT/usr/bin/python3" python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

install() { # PACKAGE...
  for package in "$@"; do
    if ! rpm -q "$package" > /dev/null 2>&1; then
      say "package $package"
      if [ -z "$CHECK" ]; then yum -y install "$package" >&2 < /dev/null; fi
    fi
  done
}

bring_python() {
  repositories
  # Brings the key that signs the collection, and repositories on a server that is dead too.
  install centos-release-scl-rh
  if [ -z "$CHECK" ]; then repositories; fi
  install rh-python38-python
  say "${wrapper#"$ROOT"}"
  if [ -n "$CHECK" ]; then return; fi
  libraries=''
  if ! "$collection/bin/python3.8" -c '' 2> /dev/null; then
    libraries="env LD_LIBRARY_PATH=$collection/lib64 "
  fi
  mkdir -p "${wrapper%/*}"
  printf '#!/bin/sh\nexec %s%s/bin/python3.8 "$@"\n' "$libraries" "$collection" | replace "$wrapper" 755
}

case ${1:-} in
  repositories) repositories ;;
  python)
    if ! find_python > /dev/null; then bring_python; fi
    if path=$(find_python); then
      echo "python: $path"
    elif [ -z "$CHECK" ]; then
      echo "expected Python >= 3.8 from the package rh-python38-python of $archive; found none that runs" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: $0 repositories|python" >&2
    exit 64
    ;;
esac
