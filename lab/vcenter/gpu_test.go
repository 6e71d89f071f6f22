// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	a10 = `"name":"NVIDIA A10","pci_name":"GA102GL [A10]","vendor_id":4318,"device_id":8758,"memory_mb":24576`
	t4  = `"name":"NVIDIA T4","pci_name":"TU104GL [Tesla T4]","vendor_id":4318,"device_id":7864,"memory_mb":16384`
)

// gpuHosts are three hosts as in lab/inventory.yml.
const gpuHosts = `"hosts":[
 {"name":"esx-01.lab","cpus":32,"memory_mb":65536,"gpus":[
  {"address":"0000:3b:00.0",` + a10 + `,"passthrough":"active"},
  {"address":"0000:86:00.0",` + a10 + `,"passthrough":"active"}]},
 {"name":"esx-02.lab","cpus":32,"memory_mb":65536,"gpus":[
  {"address":"0000:3b:00.0",` + a10 + `,"passthrough":"active","label":"render"},
  {"address":"0000:af:00.0",` + t4 + `,"passthrough":"enabled"}]},
 {"name":"esx-03.lab","cpus":32,"memory_mb":65536,"gpus":[
  {"address":"0000:3b:00.0",` + a10 + `,"passthrough":"off","graphics":"sharedDirect","profiles":[
   {"name":"nvidia_a10-4c","memory_gb":4,"disk_snapshot":true,"memory_snapshot":true,"suspend":true,"migrate":true},
   {"name":"nvidia_a10-12c","memory_gb":12,"disk_snapshot":true},
   {"name":"nvidia_a10-24c","memory_gb":24}]},
  {"address":"0000:af:00.0",` + t4 + `,"passthrough":"off","graphics":"shared","profiles":[
   {"name":"nvidia_t4-16c","memory_gb":16,"suspend":true}]}]}],`

func startGPULab(t *testing.T) *testLab {
	t.Helper()
	before, rest, _ := strings.Cut(testInventory, `"hosts":[`)
	_, after, _ := strings.Cut(rest, "}],")
	return startLab(t, func(o *options) { writeFile(t, o.inventory, before+gpuHosts+after) })
}

func directPath(host, address, device string) types.BaseVirtualDeviceBackingInfo {
	return &types.VirtualPCIPassthroughDeviceBackingInfo{
		Id: address, DeviceId: device, SystemId: systemIDOf(host), VendorId: 0x10de,
	}
}

func dynamicPath(label string, devices ...int32) types.BaseVirtualDeviceBackingInfo {
	backing := &types.VirtualPCIPassthroughDynamicBackingInfo{CustomLabel: label}
	for _, device := range devices {
		backing.AllowedDevice = append(backing.AllowedDevice, types.VirtualPCIPassthroughAllowedDevice{VendorId: 0x10de, DeviceId: device})
	}
	return backing
}

func vgpu(profile string) types.BaseVirtualDeviceBackingInfo {
	return &types.VirtualPCIPassthroughVmiopBackingInfo{Vgpu: profile}
}

func gpuSpec(locked bool, backings ...types.BaseVirtualDeviceBackingInfo) *types.VirtualMachineConfigSpec {
	spec := &types.VirtualMachineConfigSpec{MemoryReservationLockedToMax: &locked}
	for i, backing := range backings {
		device := &types.VirtualPCIPassthrough{}
		device.Key, device.Backing = int32(-100-i), backing
		spec.DeviceChange = append(spec.DeviceChange, add(device, ""))
	}
	return spec
}

// cloneOn is a clone on the host of that number.
func (tl *testLab) cloneOn(host int, name string, config *types.VirtualMachineConfigSpec) *object.VirtualMachine {
	tl.t.Helper()
	spec := types.VirtualMachineCloneSpec{Config: config}
	spec.Location.Pool, spec.Location.Host = &tl.lab.places.pool, &tl.lab.places.hosts[host]
	folder := object.NewFolder(tl.client, tl.lab.places.folder)
	task, err := tl.template(baseline).Clone(context.Background(), folder, name, spec)
	if err != nil {
		tl.t.Fatal(err)
	}
	info, err := task.WaitForResult(context.Background())
	if err != nil {
		tl.t.Fatal(err)
	}
	return object.NewVirtualMachine(tl.client, info.Result.(types.ManagedObjectReference))
}

func (tl *testLab) gpusOf(vm *object.VirtualMachine) []*types.VirtualPCIPassthrough {
	tl.t.Helper()
	var found []*types.VirtualPCIPassthrough
	for _, device := range tl.properties(vm).Config.Hardware.Device {
		if gpu, ok := device.(*types.VirtualPCIPassthrough); ok {
			found = append(found, gpu)
		}
	}
	return found
}

func (tl *testLab) host(number int) mo.HostSystem {
	tl.t.Helper()
	var host mo.HostSystem
	ref := tl.lab.places.hosts[number]
	if err := object.NewHostSystem(tl.client, ref).Properties(context.Background(), ref, nil, &host); err != nil {
		tl.t.Fatal(err)
	}
	return host
}

func TestHostsShowTheirGPUs(t *testing.T) {
	tl := startGPULab(t)
	for number, want := range []struct{ active, types, graphics string }{
		{"0000:3b:00.0 0000:86:00.0", "", "direct direct"},
		{"0000:3b:00.0", "", "direct basic"},
		{"", "nvidia_a10-4c nvidia_a10-12c nvidia_a10-24c", "sharedDirect shared"},
	} {
		host := tl.host(number)
		var active, graphics []string
		for _, info := range host.Config.PciPassthruInfo {
			if info.GetHostPciPassthruInfo().PassthruActive {
				active = append(active, info.GetHostPciPassthruInfo().Id)
			}
		}
		for _, info := range host.Config.GraphicsInfo {
			graphics = append(graphics, info.GraphicsType)
		}
		got := []string{strings.Join(active, " "), strings.Join(host.Config.SharedPassthruGpuTypes, " "), strings.Join(graphics, " ")}
		if !slices.Equal(got, []string{want.active, want.types, want.graphics}) {
			t.Errorf("%s: got %q, expected %+v", host.Name, got, want)
		}
	}
	at := slices.IndexFunc(tl.host(0).Hardware.PciDevice, func(d types.HostPciDevice) bool { return d.Id == "0000:86:00.0" })
	if device := tl.host(0).Hardware.PciDevice[at]; device.VendorId != 0x10de || device.DeviceId != 0x2236 || device.Bus != 0x86 {
		t.Errorf("device is %+v", device)
	}
	for _, info := range tl.host(1).Config.PciPassthruInfo {
		if i := info.GetHostPciPassthruInfo(); i.Id == "0000:af:00.0" && (!i.PassthruEnabled || i.PassthruActive) {
			t.Errorf("the device that waits for a reboot: %+v", i)
		}
	}
}

func TestConfigTargetOffersWhatTheHostsHave(t *testing.T) {
	tl := startGPULab(t)
	var cluster mo.ClusterComputeResource
	ref := tl.lab.places.cluster
	if err := object.NewClusterComputeResource(tl.client, ref).Properties(context.Background(), ref, nil, &cluster); err != nil {
		t.Fatal(err)
	}
	ask := func(host *types.ManagedObjectReference) *types.ConfigTarget {
		response, err := methods.QueryConfigTarget(context.Background(), tl.client,
			&types.QueryConfigTarget{This: *cluster.EnvironmentBrowser, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		return response.Returnval
	}
	for _, c := range []struct {
		host                               *types.ManagedObjectReference
		passthrough, dynamic, shared, vgpu int
	}{{nil, 3, 2, 3, 1}, {&tl.lab.places.hosts[0], 2, 1, 0, 0}, {&tl.lab.places.hosts[2], 0, 0, 3, 1}} {
		target := ask(c.host)
		got := []int{len(target.PciPassthrough), len(target.DynamicPassthrough), len(target.SharedGpuPassthroughTypes), len(target.VgpuDeviceInfo)}
		if !slices.Equal(got, []int{c.passthrough, c.dynamic, c.shared, c.vgpu}) {
			t.Errorf("%v: got %v, expected %+v", c.host, got, c)
		}
	}
	if system := ask(&tl.lab.places.hosts[1]).PciPassthrough[0].GetVirtualMachinePciPassthroughInfo().SystemId; system != systemIDOf("esx-02.lab") {
		t.Errorf("systemId is %s", system)
	}
}

func TestEachKindOfGPUIsAttachedAndRemoved(t *testing.T) {
	tl := startGPULab(t)
	for name, backing := range map[string]types.BaseVirtualDeviceBackingInfo{
		"static": directPath("esx-01.lab", "0000:3b:00.0", "2236"), "dynamic": dynamicPath("", 0x2236), "vgpu": vgpu("nvidia_a10-4c"),
	} {
		vm := tl.cloneOn(0, name, gpuSpec(true, backing))
		gpus := tl.gpusOf(vm)
		if len(gpus) != 1 || gpus[0].Key != 13000 || gpus[0].DeviceInfo.GetDescription().Label != "PCI device 0" {
			t.Fatalf("%s: after the clone: %+v", name, gpus)
		}
		remove := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: gpus[0]}
		tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{remove}}), nil)
		tl.must(tl.reconfigure(vm, *gpuSpec(true, backing)), nil)
		if gpus := tl.gpusOf(vm); len(gpus) != 1 {
			t.Errorf("%s: after removing and adding: %+v", name, gpus)
		}
		tl.must(vm.PowerOn(context.Background()))
		found, _ := tl.fault(tl.reconfigure(vm, *gpuSpec(true, vgpu("nvidia_a10-4c"))), nil)
		if !is[*types.InvalidPowerState](found) {
			t.Errorf("%s: hot add gave %#v", name, found)
		}
		tl.must(vm.PowerOff(context.Background()))
	}
}

func TestDynamicAndVGPUStartWhereADeviceIsFree(t *testing.T) {
	tl := startGPULab(t)
	ctx := context.Background()
	on := func(vm *object.VirtualMachine) string {
		ref := tl.properties(vm).Runtime.Host
		return tl.lab.inventory.Hosts[slices.Index(tl.lab.places.hosts, *ref)].Name
	}
	labelled := tl.cloneOn(0, "labelled", gpuSpec(true, dynamicPath("render", 0x2236)))
	tl.must(labelled.PowerOn(ctx))
	if host := on(labelled); host != "esx-02.lab" {
		t.Errorf("the labelled device's VM is on %s", host)
	}
	backing := tl.gpusOf(labelled)[0].Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo)
	if backing.AssignedId != "0000:3b:00.0" {
		t.Errorf("assignedId is %q", backing.AssignedId)
	}
	if vms := tl.host(1).Config.GraphicsInfo[0].Vm; !slices.Equal(vms, []types.ManagedObjectReference{labelled.Reference()}) {
		t.Errorf("the host's device is used by %v", vms)
	}
	if vms := tl.host(1).Vm; !slices.Contains(vms, labelled.Reference()) || slices.Contains(tl.host(0).Vm, labelled.Reference()) {
		t.Errorf("the host's VMs are %v", vms)
	}
	shared := tl.cloneOn(0, "shared", gpuSpec(true, vgpu("nvidia_a10-12c")))
	tl.must(shared.PowerOn(ctx))
	if host := on(shared); host != "esx-03.lab" {
		t.Errorf("the vGPU's VM is on %s", host)
	}
	tl.must(labelled.PowerOff(ctx))
	if backing := tl.gpusOf(labelled)[0].Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo); backing.AssignedId != "" {
		t.Errorf("assignedId after the power-off is %q", backing.AssignedId)
	}
	if vms := tl.host(1).Config.GraphicsInfo[0].Vm; len(vms) != 0 {
		t.Errorf("after the power-off the device is used by %v", vms)
	}
}

func TestWhyAVMWithAGPUDoesNotStart(t *testing.T) {
	tl := startGPULab(t)
	ctx := context.Background()
	start := func(name string, backings ...types.BaseVirtualDeviceBackingInfo) {
		tl.must(tl.cloneOn(0, name, gpuSpec(true, backings...)).PowerOn(ctx))
	}
	start("both", directPath("esx-01.lab", "0000:3b:00.0", "2236"), dynamicPath("", 0x2236))
	start("third", dynamicPath("", 0x2236))
	start("half", vgpu("nvidia_a10-12c"))
	start("other half", vgpu("nvidia_a10-12c"))
	for _, c := range []struct {
		name    string
		locked  bool
		backing types.BaseVirtualDeviceBackingInfo
		fault   types.BaseMethodFault
		message string
	}{
		{"unlocked", false, directPath("esx-01.lab", "0000:86:00.0", "2236"), &types.GenericVmConfigFault{},
			"Invalid memory setting: memory reservation (sched.mem.min) should be equal to memsize(6144)."},
		{"unlocked vgpu", false, vgpu("nvidia_a10-4c"), &types.GenericVmConfigFault{}, "memsize(6144)"},
		{"taken", true, directPath("esx-01.lab", "0000:3b:00.0", "0x2236"), &types.GenericVmConfigFault{}, "0000:3b:00.0 is already in use"},
		{"elsewhere", true, directPath("esx-02.lab", "0000:3b:00.0", "2236"), &types.GenericVmConfigFault{}, "due to unavailable hardware"},
		{"inactive", true, directPath("esx-02.lab", "0000:af:00.0", "1eb8"), &types.GenericVmConfigFault{}, "due to unavailable hardware"},
		{"none free", true, dynamicPath("", 0x2236), &types.NoCompatibleHost{}, "No host is compatible"},
		{"none active", true, dynamicPath("", 0x1eb8), &types.NoCompatibleHost{}, "No host is compatible"},
		{"full", true, vgpu("nvidia_a10-12c"), &types.InsufficientGraphicsResourcesFault{}, "insufficient"},
		{"other profile", true, vgpu("nvidia_a10-4c"), &types.InsufficientGraphicsResourcesFault{}, "insufficient"},
		{"wrong graphics type", true, vgpu("nvidia_t4-16c"), &types.GenericVmConfigFault{}, "for vGPU 'nvidia_t4-16c'"},
	} {
		vm := tl.cloneOn(0, c.name, gpuSpec(c.locked, c.backing))
		found, message := tl.fault(vm.PowerOn(ctx))
		if got, want := faultName(found), faultName(c.fault); got != want || !strings.Contains(message, c.message) {
			t.Errorf("%s: got %s %q, expected %s with %q", c.name, got, message, want, c.message)
		}
		if state := tl.properties(vm).Runtime.PowerState; state != poweredOff {
			t.Errorf("%s: is %s", c.name, state)
		}
	}
}

func TestGPUsThatCannotBeConfigured(t *testing.T) {
	tl := startGPULab(t)
	for name, c := range map[string]struct {
		spec  *types.VirtualMachineConfigSpec
		fault types.BaseMethodFault
	}{
		"no such device":  {gpuSpec(true, directPath("esx-01.lab", "0000:01:00.0", "2236")), &types.InvalidDeviceSpec{}},
		"other system":    {gpuSpec(true, directPath("esx-09.lab", "0000:3b:00.0", "2236")), &types.InvalidDeviceSpec{}},
		"other model":     {gpuSpec(true, directPath("esx-01.lab", "0000:3b:00.0", "1eb8")), &types.InvalidDeviceSpec{}},
		"no profile":      {gpuSpec(true, vgpu("")), &types.InvalidDeviceSpec{}},
		"nothing":         {gpuSpec(true, nil), &types.InvalidDeviceSpec{}},
		"nothing allowed": {gpuSpec(true, dynamicPath("")), &types.InvalidDeviceSpec{}},
		"twice": {gpuSpec(true, directPath("esx-01.lab", "0000:3b:00.0", "2236"), directPath("esx-01.lab", "0000:3b:00.0", "2236")),
			&types.InvalidDeviceSpec{}},
		"old hardware": {func() *types.VirtualMachineConfigSpec {
			spec := gpuSpec(true, dynamicPath("", 0x2236))
			spec.Version = "vmx-15"
			return spec
		}(), &types.DeviceUnsupportedForVmVersion{}},
	} {
		found, message := tl.fault(tl.startClone("bad", c.spec), nil)
		if got, want := faultName(found), faultName(c.fault); got != want {
			t.Errorf("%s: got %s %q, expected %s", name, got, message, want)
		}
	}
}

func TestSnapshotAndSuspendByKindOfGPU(t *testing.T) {
	tl := startGPULab(t)
	ctx := context.Background()
	for _, c := range []struct {
		name                       string
		backing                    types.BaseVirtualDeviceBackingInfo
		off, disk, memory, suspend bool
	}{
		{"static", directPath("esx-01.lab", "0000:3b:00.0", "2236"), false, false, false, false},
		{"dynamic", dynamicPath("", 0x2236), false, false, false, false},
		{"capable", vgpu("nvidia_a10-4c"), true, true, true, true},
		{"disk only", vgpu("nvidia_a10-12c"), true, true, false, false},
		{"incapable", vgpu("nvidia_a10-24c"), true, false, false, false},
	} {
		vm := tl.cloneOn(0, c.name, gpuSpec(true, c.backing))
		try := func(what string, want bool, fault types.BaseMethodFault, task *object.Task, err error) {
			t.Helper()
			if want {
				tl.must(task, err)
				return
			}
			if found, message := tl.fault(task, err); faultName(found) != faultName(fault) {
				t.Errorf("%s, %s: got %#v %s", c.name, what, found, message)
			}
		}
		incompatible := &types.SnapshotIncompatibleDeviceInVm{}
		task, err := vm.CreateSnapshot(ctx, "off", "", false, false)
		try("snapshot while off", c.off, incompatible, task, err)
		tl.must(vm.PowerOn(ctx))
		task, err = vm.CreateSnapshot(ctx, "disk", "", false, false)
		try("snapshot of the disks", c.disk, incompatible, task, err)
		task, err = vm.CreateSnapshot(ctx, "memory", "", true, false)
		try("snapshot of the memory", c.memory, incompatible, task, err)
		task, err = vm.Suspend(ctx)
		try("suspend", c.suspend, &types.DeviceNotSupported{}, task, err)
		tl.must(vm.PowerOff(ctx))
	}
}

// Two VMs that start together never share a device.
func TestOneDeviceGoesToOneOfTwo(t *testing.T) {
	tl := startGPULab(t)
	ctx := context.Background()
	one := tl.cloneOn(0, "one", gpuSpec(true, directPath("esx-01.lab", "0000:3b:00.0", "2236")))
	two := tl.cloneOn(0, "two", gpuSpec(true, directPath("esx-01.lab", "0000:3b:00.0", "2236")))
	var tasks []*object.Task
	for _, vm := range []*object.VirtualMachine{one, two} {
		task, err := vm.PowerOn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	failed := 0
	for _, task := range tasks {
		if task.Wait(ctx) != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d of two failed, expected one", failed)
	}
}
