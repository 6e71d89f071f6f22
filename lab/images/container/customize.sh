#!/bin/sh
# mmdebstrap calls this with the folder of the new root file system, after the packages and the overlays are in.
set -eu
root=$1
. "$(dirname "$0")/../common.sh"

rm -f "$root/etc/resolv.conf" # podman brings one
chmod 0755 "$root/usr/lib/nanobanana-lab/own-files"
chroot "$root" systemctl --quiet enable nanobanana-lab-own-files.service

# A guest is a privileged container: these would turn knobs of the machine below it.
mask_units systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service systemd-remount-fs.service \
    systemd-random-seed.service dev-hugepages.mount sys-kernel-debug.mount
# Nobody sits before a container.
mask_units getty.target console-getty.service
