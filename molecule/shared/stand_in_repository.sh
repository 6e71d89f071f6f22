#!/bin/sh
# Make an empty package of each name (or one of what lies in FOLDER.files/NAME) and a signed repository of them, laid out as NVIDIA's; runs on a Debian guest as root.
# Usage: stand_in_repository.sh FOLDER KEY_NAME NAME=VERSION[=DEPENDS] ...
set -eu
folder=$1 key=$2
shift 2
export GNUPGHOME="$folder.keys"
install -d -m 0755 "$folder"
install -d -m 0700 "$GNUPGHOME"
cd "$folder"
for package; do
  name=${package%%=*} rest=${package#*=}
  version=${rest%%=*} depends=
  [ "$version" = "$rest" ] || depends=${rest#*=}
  rm -rf root && mkdir -p root/DEBIAN
  [ ! -d "$folder.files/$name" ] || cp -a "$folder.files/$name/." root/
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: amd64\n' "$name" "$version"
    printf 'Maintainer: nobody <nobody@example.com>\nDescription: an empty stand-in\n'
    [ -z "$depends" ] || printf 'Depends: %s\n' "$depends"
  } > root/DEBIAN/control
  case $name in cuda-toolkit-*)
    tool=root/usr/local/cuda-$(echo "${name#cuda-toolkit-}" | tr - .)/bin/nvcc
    install -D -m 0755 /dev/null "$tool"
    printf '#!/bin/sh\necho "stand-in of %s"\n' "$name" > "$tool" ;;
  esac
  dpkg-deb --root-owner-group --build root "${name}_${version}_amd64.deb" > /dev/null
done
rm -rf root
for file in *.deb; do
  dpkg-deb --field "$file"
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)"
done > Packages
{
  printf 'Origin: stand-in\nDate: %s\nSHA256:\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')"
  printf ' %s %s Packages\n' "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)"
} > Release
gpg --batch --list-secret-keys stand-in@example.com > /dev/null 2>&1 ||
  gpg --batch --quiet --passphrase '' --quick-generate-key stand-in@example.com ed25519 sign never
gpg --batch --yes --clearsign --output InRelease Release
gpg --batch --armor --export > "$key"
