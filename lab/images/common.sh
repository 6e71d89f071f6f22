# Read by the customize.sh of both kinds of guests; $root is the folder of the new root file system.

# Each clone makes its own: machine id (systemd) and SSH host keys (cloud-init).
: > "$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/hostname"

# The machine's apt settings came along; files that they name (a CA, a proxy script) did not.
sed -i '\,"/,d' "$root/etc/apt/apt.conf.d/99mmdebstrap"

chroot "$root" systemctl --quiet set-default multi-user.target

mask_units() {
    for unit in "$@"; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

# These only cost time at every power-on.
mask_units systemd-networkd-wait-online.service systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer cloud-init-hotplugd.socket \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service \
    modprobe@.service sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount
