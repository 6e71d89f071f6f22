#!/bin/sh
# Turns swap off for good. Arguments: services that make swap without a unit of the type swap. Each step may be repeated.
set -eu

if awk '$1 !~ /^#/ && $3 == "swap" { found = 1 } END { exit !found }' /etc/fstab; then
    # Written beside and renamed: an fstab that is cut off keeps the machine from booting. The copy brings owner and mode.
    cp -p /etc/fstab /etc/fstab.nano-banana
    awk '$1 !~ /^#/ && $3 == "swap" { print "# swap is off: " $0; next } { print }' /etc/fstab > /etc/fstab.nano-banana
    sync /etc/fstab.nano-banana
    mv /etc/fstab.nano-banana /etc/fstab
fi
systemctl daemon-reload

# What is left now comes from elsewhere than fstab: units by hand, partitions that systemd finds, compressed memory.
units=$(systemctl list-unit-files --no-legend --no-pager '*.swap' "$@" | awk '$2 !~ /^(masked|transient)/ { print $1 }')
for unit in $units; do
    systemctl stop "$unit"
    # A unit that somebody wrote by hand lies where the mask has to be.
    if [ -f "/etc/systemd/system/$unit" ] && [ ! -L "/etc/systemd/system/$unit" ]; then
        systemctl disable "$unit"
        mv "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.off"
    fi
    systemctl mask "$unit"
done

swapoff --all
left=$(sed 1d /proc/swaps)
if [ -n "$left" ]; then
    echo "swap: expected none in /proc/swaps; found $left" >&2
    exit 1
fi
