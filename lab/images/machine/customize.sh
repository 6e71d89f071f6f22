#!/bin/sh
# mmdebstrap calls this with the folder of the new root file system, after the packages and the overlays are in.
# In the environment: ROOT_UUID of the root file system, and OUT, the folder for what is not a file of that.
set -eu
root=$1
here=$(dirname "$0")
. "$here/../common.sh"

chmod 0755 "$root/usr/lib/nanobanana-lab/"* "$root/etc/grub.d/09_nanobanana-lab"
for name in vmware-rpctool vmtoolsd; do
    ln -s ../lib/nanobanana-lab/guestinfo "$root/usr/bin/$name"
done
ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
sed -i "s/ROOT_UUID/$ROOT_UUID/" "$root/etc/fstab"

# Everything that a generator would find out at every power-on is known here.
for generator in cloud-init-generator systemd-bless-boot-generator systemd-cryptsetup-generator \
    systemd-debug-generator systemd-getty-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator \
    systemd-integritysetup-generator systemd-rc-local-generator systemd-run-generator \
    systemd-system-update-generator systemd-sysv-generator systemd-veritysetup-generator; do
    mkdir -p "$root/etc/systemd/system-generators"
    ln -s /dev/null "$root/etc/systemd/system-generators/$generator"
done
chroot "$root" systemctl --quiet enable systemd-networkd.service serial-getty@ttyS0.service \
    nanobanana-lab-grow.service
chroot "$root" systemctl --quiet disable getty@tty1.service systemd-network-generator.service
chroot "$root" systemctl --quiet add-wants multi-user.target cloud-init.target
mask_units proc-sys-fs-binfmt_misc.automount systemd-binfmt.service systemd-pstore.service \
    systemd-random-seed.service systemd-sysusers.service systemd-repart.service systemd-pcrphase.service \
    systemd-pcrphase-sysinit.service systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-network-generator.service cloud-init.service cloud-config.service cloud-final.service
# Filters of system calls are programs that systemd writes anew at each start of a service, and that run at each call.
for unit in systemd-journald systemd-udevd systemd-networkd systemd-logind; do
    mkdir -p "$root/etc/systemd/system/$unit.service.d"
    cp "$here/unfiltered.conf" "$root/etc/systemd/system/$unit.service.d/nanobanana-lab-unfiltered.conf"
done
# Four processes at each login, which tell whoever logs in the kernel's name.
rm -r "$root/etc/update-motd.d"
# Devices that a virtual machine never has.
for rules in 60-autosuspend 60-drm 60-fido-id 60-infiniband 60-persistent-alsa 60-persistent-storage-tape \
    60-persistent-v4l 60-sensor 66-azure-ephemeral 70-camera 70-joystick 70-memory 70-mouse 70-touchpad 75-probe_mtd \
    78-sound-card 96-e2scrub; do
    ln -s /dev/null "$root/etc/udev/rules.d/$rules.rules"
done

# The boot loader. update-grub asks grub-probe about a disk that is not there yet.
probe=$root/usr/sbin/grub-probe
mv "$probe" "$probe.real"
sed "s/ROOT_UUID/$ROOT_UUID/" "$here/grub-probe" > "$probe"
chmod 0755 "$probe"
mkdir -p "$root/boot/grub"
chroot "$root" update-grub
mv "$probe.real" "$probe"

# One core for each firmware, with all that the generated menu asks for, which then need not be read from disk.
modules="part_gpt part_msdos ext2 search_fs_uuid normal linux gzio configfile echo test loadenv serial terminal setpci"
sed "s/ROOT_UUID/$ROOT_UUID/" "$here/core.cfg" > "$root/tmp/core.cfg"
core() {
    mkdir -p "$root/boot/grub/$1"
    cp "$root/usr/lib/grub/$1"/*.mod "$root/usr/lib/grub/$1"/*.lst "$root/boot/grub/$1/"
    chroot "$root" grub-mkimage --format "$1" --config /tmp/core.cfg --prefix /boot/grub --output /tmp/core $modules "$3"
    mv "$root/tmp/core" "$OUT/$2"
}
core i386-pc core.img biosdisk
core x86_64-efi bootx64.efi efi_gop
cp "$root/usr/lib/grub/i386-pc/boot.img" "$OUT/boot.img"
rm "$root/tmp/core.cfg"
