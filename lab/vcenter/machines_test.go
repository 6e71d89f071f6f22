// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func extraConfig(vm types.VirtualMachineConfigInfo) map[string]string {
	values := map[string]string{}
	for _, option := range vm.ExtraConfig {
		values[option.GetOptionValue().Key] = fmt.Sprint(option.GetOptionValue().Value)
	}
	return values
}

func add(device types.BaseVirtualDevice, file types.VirtualDeviceConfigSpecFileOperation) *types.VirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: file, Device: device,
	}
}

func dataDisk(gigabytes int64) []types.BaseVirtualDeviceConfigSpec {
	controller := &types.ParaVirtualSCSIController{}
	controller.Key, controller.BusNumber = -101, 1
	disk := &types.VirtualDisk{CapacityInKB: gigabytes << 20}
	disk.Key, disk.ControllerKey, disk.UnitNumber = -102, -101, types.NewInt32(0)
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent"}
	return []types.BaseVirtualDeviceConfigSpec{add(controller, ""), add(disk, "create")}
}

func TestACloneHasAllOfItsConfigSpec(t *testing.T) {
	tl := startLab(t, nil)
	spec := &types.VirtualMachineConfigSpec{
		NumCPUs: 2, MemoryMB: 2048, Annotation: "by fleet", MemoryReservationLockedToMax: types.NewBool(true),
		Uuid:         "564d1111-2222-3333-4444-555566667777",
		ManagedBy:    &types.ManagedByInfo{ExtensionKey: "nanobanana.testbed", Type: "fleet"},
		DeviceChange: dataDisk(20),
		ExtraConfig: []types.BaseOptionValue{
			&types.OptionValue{Key: "nb.owner", Value: "me"}, &types.OptionValue{Key: "SET.guest.ipAddress", Value: "6.6.6.6"},
		},
	}
	vm := tl.properties(tl.clone("full", spec))
	config := vm.Config
	if config.Hardware.NumCPU != 2 || config.Hardware.MemoryMB != 2048 || config.Annotation != "by fleet" ||
		config.Uuid != spec.Uuid || config.ManagedBy == nil || config.ManagedBy.Type != "fleet" || config.Firmware != "efi" {
		t.Errorf("config is %+v", config)
	}
	if reserved := *config.MemoryAllocation.Reservation; reserved != 2048 || !*config.MemoryReservationLockedToMax {
		t.Errorf("reservation is %d, expected all of the memory", reserved)
	}
	if *config.MemoryAllocation.Limit != -1 {
		t.Errorf("limit is %d, expected unlimited", *config.MemoryAllocation.Limit)
	}
	if got := fmt.Sprint(extraConfig(*config)); got != "map[SET.guest.ipAddress:6.6.6.6 disk.EnableUUID:TRUE nb.owner:me]" {
		t.Errorf("extraConfig is %s", got)
	}
	if vm.Guest.IpAddress != "" || len(vm.Guest.Net) != 0 {
		t.Errorf("a client wrote guest facts: %+v", vm.Guest)
	}
	if vm.Runtime.FaultToleranceState != "notConfigured" || vm.Runtime.RecordReplayState != "inactive" {
		t.Errorf("runtime is %+v", vm.Runtime)
	}
	devices := object.VirtualDeviceList(config.Hardware.Device)
	disk, ok := devices.FindByKey(2016).(*types.VirtualDisk)
	if !ok || disk.CapacityInKB != 20<<20 || disk.ControllerKey != 1001 {
		t.Fatalf("data disk is %+v", disk)
	}
	if boot := devices.FindByKey(2000).(*types.VirtualDisk); boot.CapacityInKB != 40<<20 {
		t.Errorf("boot disk has %d KB", boot.CapacityInKB)
	}
}

func TestClonesShareNoIdentity(t *testing.T) {
	tl := startLab(t, nil)
	seen := map[string]string{}
	note := func(what, value, owner string) {
		if other := seen[what+value]; other != "" || value == "" {
			t.Errorf("%s %q of %s is %s's too", what, value, owner, other)
		}
		seen[what+value] = owner
	}
	mac := regexp.MustCompile(`^00:50:56:[89ab][0-9a-f](:[0-9a-f]{2}){2}$`)
	machines := []*object.VirtualMachine{tl.template(baseline), tl.clone("a", nil), tl.clone("b", nil)}
	tl.must(machines[1].Destroy(context.Background()))
	machines[1] = tl.clone("a", nil) // the same name again
	for i, machine := range machines {
		vm := tl.properties(machine)
		note("bios uuid", vm.Config.Uuid, vm.Name)
		note("instance uuid", vm.Config.InstanceUuid, vm.Name)
		devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
		card := devices.FindByKey(4000).(*types.VirtualVmxnet3)
		note("mac", card.MacAddress, vm.Name)
		if i > 0 && (!mac.MatchString(card.MacAddress) || card.AddressType != "assigned") {
			t.Errorf("card of %s: %s %s", vm.Name, card.MacAddress, card.AddressType)
		}
		backing := devices.FindByKey(2000).(*types.VirtualDisk).Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		note("disk uuid", backing.Uuid, vm.Name)
		note("disk file", backing.FileName, vm.Name)
	}
}

func TestAChangedBootDiskOfACloneStaysTheClonesOwn(t *testing.T) {
	tl := startLab(t, nil)
	template := object.VirtualDeviceList(tl.properties(tl.template(baseline)).Config.Hardware.Device)
	boot := *template.FindByKey(2000).(*types.VirtualDisk)
	boot.CapacityInKB, boot.CapacityInBytes = 60<<20, 60<<30
	vm := tl.properties(tl.clone("grown", &types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &boot},
	}}))
	disk := object.VirtualDeviceList(vm.Config.Hardware.Device).FindByKey(2000).(*types.VirtualDisk)
	backing := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if disk.CapacityInKB != 60<<20 || !strings.HasPrefix(backing.FileName, "[vmfs-01] grown/") {
		t.Errorf("boot disk is %d KB in %s", disk.CapacityInKB, backing.FileName)
	}
}

func TestATakenNameGivesTheVMThatHasIt(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("taken", nil)
	for name, task := range map[string]*object.Task{
		"clone":  tl.startClone("taken", nil),
		"rename": tl.reconfigure(tl.clone("other", nil), types.VirtualMachineConfigSpec{Name: "taken"}),
	} {
		found, message := tl.fault(task, nil)
		duplicate, ok := found.(*types.DuplicateName)
		if !ok || duplicate.Object != vm.Reference() || message != "The name 'taken' already exists." {
			t.Errorf("%s: got %#v %q", name, found, message)
		}
	}
}

func (tl *testLab) reconfigure(vm *object.VirtualMachine, spec types.VirtualMachineConfigSpec) *object.Task {
	tl.t.Helper()
	task, err := vm.Reconfigure(context.Background(), spec)
	if err != nil {
		tl.t.Fatal(err)
	}
	return task
}

func TestOfTwoClonesWithOneNameOneWins(t *testing.T) {
	tl := startLab(t, func(o *options) { o.taskDelay = 100 * time.Millisecond })
	tasks := []*object.Task{tl.startClone("same", nil), tl.startClone("same", nil)}
	won, lost := 0, 0
	for _, task := range tasks {
		info, err := task.WaitForResult(context.Background())
		switch {
		case err == nil:
			won++
		case fault.Is(err, &types.DuplicateName{}):
			if info.Error.Fault.(*types.DuplicateName).Object.Value == "" {
				t.Error("the fault does not name the VM")
			}
			lost++
		}
	}
	if won != 1 || lost != 1 {
		t.Errorf("%d clones and %d DuplicateName, expected one of each", won, lost)
	}
}

func TestADelayedCloneIsNotSeenBeforeItIsDone(t *testing.T) {
	tl := startLab(t, func(o *options) { o.taskDelay = 300 * time.Millisecond })
	task := tl.startClone("slow", nil)
	time.Sleep(50 * time.Millisecond)
	if list, err := tl.finder.VirtualMachineList(context.Background(), "slow"); err == nil {
		t.Errorf("already there: %v", list)
	}
	tl.must(task, nil)
	tl.template("slow")
}

func TestNoReaderSeesAVMWithoutItsMark(t *testing.T) {
	tl := startLab(t, nil)
	ctx, stop := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	for range 2 {
		client := tl.login(testUser, testPassword)
		readers.Add(1)
		go func() {
			defer readers.Done()
			for ctx.Err() == nil {
				checkMarks(t, tl, property.DefaultCollector(client))
			}
		}()
	}
	for i := range 10 {
		tl.clone(fmt.Sprintf("marked-%d", i), &types.VirtualMachineConfigSpec{
			DeviceChange: dataDisk(1), Annotation: "marked",
			ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "nb.owner", Value: "me"}},
		})
	}
	stop()
	readers.Wait()
}

func checkMarks(t *testing.T, tl *testLab, collector *property.Collector) {
	spec := types.PropertyFilterSpec{
		PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: []string{"name", "config.extraConfig", "config.annotation"}}},
		ObjectSet: []types.ObjectSpec{{Obj: tl.lab.places.folder, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "Folder", Path: "childEntity"},
		}}},
	}
	answer, err := collector.RetrieveProperties(context.Background(), types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{spec}})
	if err != nil {
		t.Error(err)
		return
	}
	for _, object := range answer.Returnval {
		values := map[string]any{}
		for _, p := range object.PropSet {
			values[p.Name] = p.Val
		}
		if name, _ := values["name"].(string); strings.HasSuffix(name, "-template") {
			continue
		}
		options, _ := values["config.extraConfig"].(types.ArrayOfOptionValue)
		marks := extraConfig(types.VirtualMachineConfigInfo{ExtraConfig: options.OptionValue})
		if marks["nb.owner"] != "me" || values["config.annotation"] != "marked" {
			t.Errorf("seen without its mark: %v", values)
		}
	}
}

func TestAStaleChangeVersionIsRefused(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("versioned", nil)
	version := tl.properties(vm).Config.ChangeVersion
	spec := types.VirtualMachineConfigSpec{ChangeVersion: version, Annotation: "one"}
	tl.must(tl.reconfigure(vm, spec), nil)
	if after := tl.properties(vm).Config.ChangeVersion; after == version {
		t.Error("changeVersion is the same after a change")
	}
	if found, _ := tl.fault(tl.reconfigure(vm, spec), nil); !is[*types.ConcurrentAccess](found) {
		t.Errorf("got %#v, expected ConcurrentAccess", found)
	}
}

func is[T any](value any) bool {
	_, ok := value.(T)
	return ok
}

func TestWhatCannotBeConfiguredIsRefusedAndLeavesNoVM(t *testing.T) {
	tl := startLab(t, nil)
	cards := func(backing types.BaseVirtualDeviceBackingInfo) []types.BaseVirtualDeviceConfigSpec {
		card := &types.VirtualVmxnet3{}
		card.Key, card.Backing = -1, backing
		return []types.BaseVirtualDeviceConfigSpec{add(card, "")}
	}
	orphan := dataDisk(1)[1:]
	taken := dataDisk(1)
	taken[0].GetVirtualDeviceConfigSpec().Device.(*types.ParaVirtualSCSIController).BusNumber = 0
	missing := &types.VirtualDisk{}
	missing.Key = 9999
	for name, changes := range map[string][]types.BaseVirtualDeviceConfigSpec{
		"network":    cards(&types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "none"}}),
		"no backing": cards(nil),
		"portgroup": cards(&types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: "dvportgroup-999"},
		}),
		"controller": orphan, "bus": taken, "no size": dataDisk(0),
		"no such device": {&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: missing}},
		"nothing":        {&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd}},
	} {
		task := tl.startClone("bad", &types.VirtualMachineConfigSpec{DeviceChange: changes})
		if found, message := tl.fault(task, nil); !is[*types.InvalidDeviceSpec](found) {
			t.Errorf("%s: got %#v %s, expected InvalidDeviceSpec", name, found, message)
		}
		if _, err := tl.finder.VirtualMachine(context.Background(), "bad"); err == nil {
			t.Errorf("%s: the VM is there", name)
		}
	}
}

func TestObjectsThatAreNotThereAreNamed(t *testing.T) {
	tl := startLab(t, nil)
	none := types.ManagedObjectReference{Type: "Datastore", Value: "datastore-999"}
	_, err := tl.template(baseline).Clone(context.Background(), object.NewFolder(tl.client, tl.lab.places.folder), "x",
		types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &tl.lab.places.pool, Datastore: &none}})
	if !fault.Is(err, &types.ManagedObjectNotFound{}) || !strings.Contains(err.Error(), "datastore-999") {
		t.Errorf("got %v", err)
	}
}

func TestAVMIsFoundByItsIdentifiers(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("findable", nil)
	config := tl.properties(vm).Config
	index := object.NewSearchIndex(tl.client)
	for id, instance := range map[string]bool{config.Uuid: false, config.InstanceUuid: true} {
		found, err := index.FindByUuid(context.Background(), nil, id, true, types.NewBool(instance))
		if err != nil || found == nil || found.Reference() != vm.Reference() {
			t.Errorf("%s: got %v %v", id, found, err)
		}
	}
}

func TestRemovingADataDiskAndAKey(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("shrinking", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(1), ExtraConfig: []types.BaseOptionValue{
		&types.OptionValue{Key: "nb.owner", Value: "me"},
	}})
	disk := &types.VirtualDisk{}
	disk.Key = 2016
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, FileOperation: "destroy", Device: disk,
		}},
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "nb.owner", Value: ""}},
	}), nil)
	config := tl.properties(vm).Config
	if _, there := extraConfig(*config)["nb.owner"]; there {
		t.Error("the key is still there")
	}
	if object.VirtualDeviceList(config.Hardware.Device).FindByKey(2016) != nil {
		t.Error("the disk is still there")
	}
}

func TestAMovedVMIsInItsNewHostsListAlone(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("moved", nil)
	for _, host := range tl.lab.places.hosts {
		tl.must(vm.Relocate(context.Background(), types.VirtualMachineRelocateSpec{Host: &host}, "defaultPriority"))
		for _, other := range tl.lab.places.hosts {
			listed := slices.Contains(tl.lab.registry.Get(other).(*simulator.HostSystem).Vm, vm.Reference())
			if listed != (other == host) {
				t.Errorf("after a move to %s, is it in the list of %s: %v", host.Value, other.Value, listed)
			}
		}
	}
}
