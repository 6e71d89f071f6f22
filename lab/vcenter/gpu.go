// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// inventoryGPU is one simulated PCI device. It is for DirectPath (passthrough) or for vGPU (profiles), as on a real host,
// where the vGPU manager cannot use a device that is passed through.
type inventoryGPU struct {
	Address     string             `json:"address"`     // "0000:3b:00.0"
	Name        string             `json:"name"`        // "NVIDIA A10"
	PCIName     string             `json:"pci_name"`    // "GA102GL [A10]"
	VendorID    uint16             `json:"vendor_id"`   // 0x10de
	DeviceID    uint16             `json:"device_id"`   // 0x2236
	MemoryMB    int64              `json:"memory_mb"`   // of the device
	Passthrough string             `json:"passthrough"` // off, enabled (a host reboot is due) or active
	Label       string             `json:"label"`       // hardware label, by which dynamic DirectPath can ask for it
	Graphics    string             `json:"graphics"`    // the host's graphics type: shared or sharedDirect
	Profiles    []inventoryProfile `json:"profiles"`
}

type inventoryProfile struct {
	Name           string `json:"name"` // "nvidia_a10-4c"
	MemoryGB       int64  `json:"memory_gb"`
	DiskSnapshot   bool   `json:"disk_snapshot"`
	MemorySnapshot bool   `json:"memory_snapshot"`
	Suspend        bool   `json:"suspend"`
	Migrate        bool   `json:"migrate"`
}

// gpu is a device of a host. Everything but users is fixed.
type gpu struct {
	inventoryGPU
	host     types.ManagedObjectReference
	hostName string
	systemID string
}

const sharedDirect = "sharedDirect"

func (g *gpu) active() bool { return g.Passthrough == "active" }

// offers says whether the device can carry vGPUs of that profile as the host is configured now.
func (g *gpu) offers(profile string) bool {
	return g.Graphics == sharedDirect && !g.active() && g.profile(profile) != nil
}

func (g *gpu) profile(name string) *inventoryProfile {
	at := slices.IndexFunc(g.Profiles, func(p inventoryProfile) bool { return p.Name == name })
	if at < 0 {
		return nil
	}
	return &g.Profiles[at]
}

func (g inventoryGPU) check() error {
	var domain, bus, slot, function int
	if n, err := fmt.Sscanf(g.Address, "%4x:%2x:%2x.%1x", &domain, &bus, &slot, &function); n != 4 || err != nil {
		return fmt.Errorf("gpu address %q, expected the form 0000:3b:00.0", g.Address)
	}
	if g.Name == "" || g.PCIName == "" || g.VendorID == 0 || g.DeviceID == 0 || g.MemoryMB <= 0 {
		return fmt.Errorf("gpu %s: name, pci_name, vendor_id, device_id and memory_mb are needed", g.Address)
	}
	if !slices.Contains([]string{"off", "enabled", "active"}, g.Passthrough) {
		return fmt.Errorf("gpu %s: passthrough is %q, expected off, enabled or active", g.Address, g.Passthrough)
	}
	if !slices.Contains([]string{"", "shared", sharedDirect}, g.Graphics) {
		return fmt.Errorf("gpu %s: graphics is %q, expected shared or sharedDirect", g.Address, g.Graphics)
	}
	return nil
}

// systemIDOf is what ESXi calls its system UUID: made at installation, another one than the BIOS UUID of the machine.
func systemIDOf(host string) string {
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte("system."+host)).String()
}

// pciDevice is the device as HostSystem.hardware.pciDevice shows it. PCI numbers are signed 16-bit numbers there.
func (g inventoryGPU) pciDevice() types.HostPciDevice {
	device := types.HostPciDevice{
		Id: g.Address, ClassId: 0x0302, VendorId: int16(g.VendorID), DeviceId: int16(g.DeviceID),
		SubVendorId: int16(g.VendorID), SubDeviceId: 0x1482, VendorName: "NVIDIA Corporation", DeviceName: g.PCIName,
		DeviceClassName: "3D controller",
	}
	var domain int
	_, _ = fmt.Sscanf(g.Address, "%4x:%2x:%2x.%1x", &domain, &device.Bus, &device.Slot, &device.Function)
	return device
}

func (g inventoryGPU) graphicsType() string {
	switch {
	case g.Passthrough == "active":
		return string(types.HostGraphicsInfoGraphicsTypeDirect)
	case g.Graphics != "":
		return g.Graphics
	}
	return string(types.HostGraphicsInfoGraphicsTypeBasic)
}

// equipHost gives a host its devices in all places where a vCenter shows them.
func (l *lab) equipHost(host *simulator.HostSystem, wish inventoryHost) {
	host.Hardware.PciDevice = slices.Clone(esx.HostHardwareInfo.PciDevice)
	config := host.Config
	config.PciPassthruInfo, config.GraphicsInfo = nil, nil
	for _, device := range host.Hardware.PciDevice {
		config.PciPassthruInfo = append(config.PciPassthruInfo, &types.HostPciPassthruInfo{Id: device.Id})
	}
	config.GraphicsConfig = &types.HostGraphicsConfig{
		HostDefaultGraphicsType:        string(types.HostGraphicsConfigGraphicsTypeShared),
		SharedPassthruAssignmentPolicy: string(types.HostGraphicsConfigSharedPassthruAssignmentPolicyPerformance),
	}
	for _, wished := range wish.GPUs {
		device := &gpu{inventoryGPU: wished, host: host.Self, hostName: wish.Name, systemID: systemIDOf(wish.Name)}
		l.gpus.add(device)
		showGPU(host, device)
	}
	l.putGraphicsManager(host)
}

func showGPU(host *simulator.HostSystem, device *gpu) {
	config := host.Config
	host.Hardware.PciDevice = append(host.Hardware.PciDevice, device.pciDevice())
	config.PciPassthruInfo = append(config.PciPassthruInfo, &types.HostPciPassthruInfo{
		Id: device.Address, DependentDevice: device.Address, PassthruCapable: true,
		PassthruEnabled: device.Passthrough != "off", PassthruActive: device.active(), HardwareLabel: device.Label,
	})
	config.GraphicsInfo = append(config.GraphicsInfo, types.HostGraphicsInfo{
		DeviceName: device.Name, VendorName: "NVIDIA Corporation", PciId: device.Address,
		GraphicsType: device.graphicsType(), MemorySizeInKB: device.MemoryMB << 10,
	})
	if device.Graphics == "" {
		return
	}
	config.GraphicsConfig.DeviceType = append(config.GraphicsConfig.DeviceType, types.HostGraphicsConfigDeviceType{
		DeviceId: device.Address, GraphicsType: device.Graphics,
	})
	for _, profile := range device.Profiles {
		if !device.offers(profile.Name) || slices.Contains(config.SharedPassthruGpuTypes, profile.Name) {
			continue
		}
		config.SharedPassthruGpuTypes = append(config.SharedPassthruGpuTypes, profile.Name)
		config.SharedGpuCapabilities = append(config.SharedGpuCapabilities, types.HostSharedGpuCapabilities{
			Vgpu: profile.Name, DiskSnapshotSupported: profile.DiskSnapshot,
			MemorySnapshotSupported: profile.MemorySnapshot, SuspendSupported: profile.Suspend,
			MigrateSupported: profile.Migrate,
		})
	}
}

func (l *lab) putGraphicsManager(host *simulator.HostSystem) {
	graphics := &mo.HostGraphicsManager{
		GraphicsInfo: host.Config.GraphicsInfo, GraphicsConfig: host.Config.GraphicsConfig,
		SharedPassthruGpuTypes: host.Config.SharedPassthruGpuTypes,
		SharedGpuCapabilities:  host.Config.SharedGpuCapabilities,
	}
	graphicsRef := l.registry.Put(graphics).Reference()
	passthru := &mo.HostPciPassthruSystem{PciPassthruInfo: host.Config.PciPassthruInfo}
	passthruRef := l.registry.Put(passthru).Reference()
	host.ConfigManager.GraphicsManager, host.ConfigManager.PciPassthruSystem = &graphicsRef, &passthruRef
}

// showUsers writes to the hosts which VMs use which device.
func (l *lab) showUsers(ctx *simulator.Context) {
	users := l.gpus.users()
	for _, ref := range l.places.hosts {
		host, ok := l.registry.Get(ref).(*simulator.HostSystem)
		if !ok {
			continue
		}
		ctx.WithLock(host, func() {
			infos := slices.Clone(host.Config.GraphicsInfo)
			changed := false
			for i := range infos {
				vms := users[gpuKey{ref, infos[i].PciId}]
				changed = changed || !slices.Equal(vms, infos[i].Vm)
				infos[i].Vm = vms
			}
			if !changed {
				return
			}
			ctx.Update(host, []types.PropertyChange{{Name: "config.graphicsInfo", Val: infos}})
			if ref := host.ConfigManager.GraphicsManager; ref != nil {
				if manager, ok := l.registry.Get(*ref).(*mo.HostGraphicsManager); ok {
					manager.GraphicsInfo = infos
				}
			}
		})
	}
}

// configTarget is what a VM on one of these hosts may be given.
func configTarget(gpus []*gpu, target *types.ConfigTarget) {
	var labels, profiles, models []string
	for _, g := range gpus {
		if g.active() {
			target.PciPassthrough = append(target.PciPassthrough, &types.VirtualMachinePciPassthroughInfo{
				VirtualMachineTargetInfo: types.VirtualMachineTargetInfo{Name: g.Address},
				PciDevice:                g.pciDevice(), SystemId: g.systemID,
			})
			label := fmt.Sprintf("%x:%x:%s", g.VendorID, g.DeviceID, g.Label)
			if !slices.Contains(labels, label) {
				labels = append(labels, label)
				target.DynamicPassthrough = append(target.DynamicPassthrough, types.VirtualMachineDynamicPassthroughInfo{
					VirtualMachineTargetInfo: types.VirtualMachineTargetInfo{Name: g.PCIName},
					VendorName:               "NVIDIA Corporation", DeviceName: g.PCIName, CustomLabel: g.Label,
					VendorId: int32(g.VendorID), DeviceId: int32(g.DeviceID),
				})
			}
		}
		for _, profile := range g.Profiles {
			if !g.offers(profile.Name) || slices.Contains(profiles, profile.Name) {
				continue
			}
			profiles = append(profiles, profile.Name)
			name := types.VirtualMachineTargetInfo{Name: profile.Name}
			target.SharedGpuPassthroughTypes = append(target.SharedGpuPassthroughTypes,
				types.VirtualMachinePciSharedGpuPassthroughInfo{VirtualMachineTargetInfo: name, Vgpu: profile.Name})
			target.VgpuProfileInfo = append(target.VgpuProfileInfo, types.VirtualMachineVgpuProfileInfo{
				VirtualMachineTargetInfo: name, ProfileName: profile.Name, DeviceVendorId: g.deviceVendorID(),
				FbSizeInGib: profile.MemoryGB, ProfileSharing: "timeSliced", ProfileClass: profileClass(profile.Name),
			})
		}
		if g.Graphics == sharedDirect && !slices.Contains(models, g.Name) {
			models = append(models, g.Name)
			target.VgpuDeviceInfo = append(target.VgpuDeviceInfo, types.VirtualMachineVgpuDeviceInfo{
				VirtualMachineTargetInfo: types.VirtualMachineTargetInfo{Name: g.Name}, DeviceName: g.Name,
				DeviceVendorId: g.deviceVendorID(), MaxFbSizeInGib: g.MemoryMB >> 10, TimeSlicedCapable: true,
				ComputeProfileCapable: true, QuadroProfileCapable: true,
			})
		}
	}
}

func (g *gpu) deviceVendorID() int64 { return int64(g.DeviceID)<<16 | int64(g.VendorID) }

func profileClass(profile string) string {
	if strings.HasSuffix(profile, "q") {
		return "quadro"
	}
	return "compute"
}

// gpuKey is a device's place: addresses are the same on many hosts.
type gpuKey struct {
	host    types.ManagedObjectReference
	address string
}

func sortRefs(refs []types.ManagedObjectReference) []types.ManagedObjectReference {
	slices.SortFunc(refs, func(a, b types.ManagedObjectReference) int { return cmp.Compare(a.Value, b.Value) })
	return refs
}
