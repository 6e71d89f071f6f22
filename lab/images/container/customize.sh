#!/bin/sh
# mmdebstrap calls this with the folder of the new root file system, after the packages and the overlay are in.
set -eu
root=$1

# Each clone makes its own: machine id (systemd) and SSH host keys (cloud-init).
: > "$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# The machine's apt settings came along; files that they name (a CA, a proxy script) did not.
sed -i '\,"/,d' "$root/etc/apt/apt.conf.d/99mmdebstrap"

chmod 0755 "$root/usr/lib/nanobanana-lab/own-files"
chroot "$root" systemctl --quiet enable nanobanana-lab-own-files.service
chroot "$root" systemctl --quiet set-default multi-user.target

# A guest is a privileged container: these would turn knobs of the machine below it ...
mask="systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service systemd-remount-fs.service
    systemd-random-seed.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    sys-kernel-config.mount sys-fs-fuse-connections.mount modprobe@.service"
# ... and these only cost time at every power-on.
mask="$mask getty.target console-getty.service systemd-networkd-wait-online.service systemd-firstboot.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer cloud-init-hotplugd.socket systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-journal-flush.service"
for unit in $mask; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
