#!/bin/sh
# mmdebstrap calls this with the folder of the new root file system, after the packages and the overlays are in.
set -eu
root=$1
here=$(dirname "$0")
. "$here/../common.sh"

chmod 0755 "$root/usr/lib/nanobanana-lab/"*
ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"
chroot "$root" systemctl --quiet enable systemd-networkd.service

mask_units systemd-networkd-wait-online.service

# The boot loader: update-grub asks grub-probe about a disk that is not there yet.
mv "$root/usr/sbin/grub-probe" "$root/usr/sbin/grub-probe.real"
sed "s/\$ROOT_UUID/$ROOT_UUID/" "$here/grub-probe" > "$root/usr/sbin/grub-probe"
chmod 0755 "$root/usr/sbin/grub-probe"
mkdir -p "$root/boot/grub"
chroot "$root" update-grub
mv "$root/usr/sbin/grub-probe.real" "$root/usr/sbin/grub-probe"
sed "s/ROOT_UUID/$ROOT_UUID/" "$here/core.cfg" > "$root/tmp/core.cfg"
for target in i386-pc x86_64-efi; do
    mkdir -p "$root/boot/grub/$target"
    cp "$root/usr/lib/grub/$target"/*.mod "$root/usr/lib/grub/$target"/*.lst "$root/boot/grub/$target/"
done
modules="part_gpt part_msdos ext2 search_fs_uuid normal linux gzio configfile echo test loadenv serial terminal minicmd"
chroot "$root" grub-mkimage -O i386-pc -o /tmp/core.img -c /tmp/core.cfg -p /boot/grub $modules biosdisk
chroot "$root" grub-mkimage -O x86_64-efi -o /tmp/bootx64.efi -c /tmp/core.cfg -p /boot/grub $modules efi_gop
cp "$root/tmp/core.img" "$root/tmp/bootx64.efi" "$root/usr/lib/grub/i386-pc/boot.img" "$OUT/"
rm -f "$root/tmp/core.cfg" "$root/tmp/core.img" "$root/tmp/bootx64.efi"
