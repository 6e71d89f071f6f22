// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// asked are the arguments of the last request of an operation, as text.
func (tl *testLab) lastArguments(operation string) string {
	tl.t.Helper()
	requests := tl.guests.asked(operation)
	if len(requests) == 0 {
		return "never asked"
	}
	with := requests[len(requests)-1].Arguments
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(with)) {
		texts = append(texts, fmt.Sprintf("%s=%v", key, with[key]))
	}
	return strings.Join(texts, " ")
}

// origins are the keys of the disks that the driver was told to be a template's, in the last request of an operation.
func (tl *testLab) origins(operation string) string {
	tl.t.Helper()
	requests := tl.guests.asked(operation)
	if len(requests) == 0 {
		return "never asked"
	}
	var keys []int32
	for _, disk := range requests[len(requests)-1].VM.Disks {
		if disk.Origin {
			keys = append(keys, disk.Key)
		}
	}
	return fmt.Sprint(keys)
}

// cloneOf clones another VM than the baseline template.
func (tl *testLab) cloneOf(source *object.VirtualMachine, name string, spec types.VirtualMachineCloneSpec) (*object.Task, error) {
	spec.Location.Pool = &tl.lab.places.pool
	return source.Clone(context.Background(), object.NewFolder(tl.client, tl.lab.places.folder), name, spec)
}

func (tl *testLab) instance(vm *object.VirtualMachine) string {
	return tl.properties(vm).Config.InstanceUuid
}

// driverID is the driver's name for a VM's current snapshot.
func (tl *testLab) driverID(vm *object.VirtualMachine) string {
	requests := tl.guests.asked("snapshot")
	return requests[len(requests)-1].Arguments["snapshot"].(string)
}

func TestTheDriverSeesTheVirtualHardware(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("seen", &types.VirtualMachineConfigSpec{
		NumCPUs: 4, NumCoresPerSocket: types.NewInt32(2), DeviceChange: dataDisk(1),
		BootOptions: &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{
			&types.VirtualMachineBootOptionsBootableEthernetDevice{DeviceKey: 4000},
			&types.VirtualMachineBootOptionsBootableCdromDevice{},
			&types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: 2000},
		}},
	})
	tl.must(vm.PowerOn(context.Background()))
	got := tl.guests.asked("power_on")[0].VM
	if got.CPUs != 4 || got.CoresPerSocket != 2 || !got.EnableUUID || fmt.Sprint(got.BootOrder) != "[ethernet:4000 cdrom disk:2000]" {
		t.Errorf("told %+v", got)
	}
	boot, data := got.Disks[0], got.Disks[1]
	if boot.ControllerKey != 1000 || boot.Bus != 0 || !boot.Origin || data.ControllerKey != 1001 || data.Bus != 1 || data.Origin {
		t.Errorf("disks are %+v", got.Disks)
	}
}

func TestOnlyADriverThatKnowsTheSourceCopiesIt(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	source := tl.clone("source", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(1)})
	if tl.guests.asked("clone") != nil {
		t.Error("copied from a template that never ran")
	}
	other := types.VirtualMachineConfigSpec{InstanceUuid: "50001111-2222-3333-4444-555566667777"}
	tl.must(tl.reconfigure(source, other), nil)
	tl.must(source.PowerOn(ctx))
	other.InstanceUuid = "50001111-2222-3333-4444-555566668888"
	if found, _ := tl.fault(tl.reconfigure(source, other), nil); !is[*types.NotSupported](found) {
		t.Errorf("another name for its disks: %#v", found)
	}
	task, err := tl.cloneOf(source, "copy", types.VirtualMachineCloneSpec{})
	tl.must(task, err)
	if want := "linked=false snapshot= source=" + tl.instance(source); tl.lastArguments("clone") != want {
		t.Errorf("got %s, expected %s", tl.lastArguments("clone"), want)
	}
	if got := tl.guests.asked("clone")[0].VM; got.Name != "copy" || got.InstanceUUID != tl.instance(tl.template("copy")) ||
		len(got.Disks) != 2 || tl.origins("clone") != "[2000]" {
		t.Errorf("clone is %+v", got)
	}
	// A template that was made from a VM keeps what is on its disks.
	tl.must(source.PowerOff(ctx))
	if err := source.MarkAsTemplate(ctx); err != nil {
		t.Fatal(err)
	}
	task, err = tl.cloneOf(source, "from-template", types.VirtualMachineCloneSpec{PowerOn: true})
	tl.must(task, err)
	operations := tl.guests.operations()
	if got := operations[len(operations)-2:]; fmt.Sprint(got) != "[clone power_on]" {
		t.Errorf("the driver was asked %v", operations)
	}
	tl.must(tl.template("copy").Destroy(ctx)) // it never ran, and has disks all the same
	if got := tl.guests.asked("destroy"); len(got) != 1 || got[0].VM.Name != "copy" {
		t.Errorf("destroyed: %+v", got)
	}
}

func TestAClonesDisksComeFromTheSnapshotThatItNames(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	source := tl.running("source")
	tl.must(source.CreateSnapshot(ctx, "clean", "", false, false))
	id := tl.driverID(source)
	// What has changed since then is not the clones'.
	tl.must(tl.reconfigure(source, types.VirtualMachineConfigSpec{Annotation: "later", DeviceChange: dataDisk(1)}), nil)
	for _, linked := range []bool{true, false} {
		spec := types.VirtualMachineCloneSpec{Snapshot: tl.properties(source).Snapshot.CurrentSnapshot}
		if linked {
			spec.Location.DiskMoveType = "createNewChildDiskBacking"
		}
		task, err := tl.cloneOf(source, fmt.Sprintf("linked-%v", linked), spec)
		tl.must(task, err)
		want := fmt.Sprintf("linked=%v snapshot=%s source=%s", linked, id, tl.instance(source))
		if got := tl.lastArguments("clone"); got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
		requests := tl.guests.asked("clone")
		clone := tl.properties(tl.template(fmt.Sprintf("linked-%v", linked)))
		if disks := requests[len(requests)-1].VM.Disks; len(disks) != 1 || clone.Config.Annotation != "" {
			t.Errorf("disks are %+v, annotation is %q", disks, clone.Config.Annotation)
		}
	}
}

func TestACloneWithoutItsContentIsNotThere(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	source := tl.running("source")
	tl.guests.refuse("clone", "no space left on this machine")
	task, err := tl.cloneOf(source, "half", types.VirtualMachineCloneSpec{PowerOn: true})
	if found, message := tl.fault(task, err); !is[*types.SystemError](found) || !strings.Contains(message, "no space left") {
		t.Errorf("got %#v %s", found, message)
	}
	if _, err := tl.finder.VirtualMachine(ctx, "half"); err == nil {
		t.Error("the clone is there")
	}
	eventually(t, "what is left of it goes", func() bool { return len(tl.guests.asked("destroy")) == 1 })
	if started := tl.guests.asked("power_on"); len(started) != 1 {
		t.Errorf("started: %+v", started)
	}
	tl.guests.answerWith(nil)
	task, err = tl.cloneOf(source, "half", types.VirtualMachineCloneSpec{})
	tl.must(task, err)
}

func TestACloneStartsWhenItsContentIsThere(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	source := tl.running("source")
	release := make(chan struct{})
	tl.guests.answerWith(func(r guestRequest) string {
		if r.Op == "clone" {
			<-release
		}
		return ""
	})
	var clones []*object.Task
	for _, name := range []string{"one", "two"} { // several at once
		task, err := tl.cloneOf(source, name, types.VirtualMachineCloneSpec{})
		if err != nil {
			t.Fatal(err)
		}
		clones = append(clones, task)
	}
	eventually(t, "both are copied", func() bool { return len(tl.guests.asked("clone")) == 2 })
	on, err := tl.template("one").PowerOn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	off, err := source.PowerOff(ctx) // the source waits as well
	if err != nil {
		t.Fatal(err)
	}
	if operations := tl.guests.operations(); fmt.Sprint(operations[len(operations)-2:]) != "[clone clone]" {
		t.Errorf("the driver was asked %v", operations)
	}
	close(release)
	for _, task := range append(clones, on, off) {
		tl.must(task, nil)
	}
}

func TestWhichDisksCameFromATemplate(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	remove := func(key int32) types.BaseVirtualDeviceConfigSpec {
		disk := &types.VirtualDisk{}
		disk.Key = key
		return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk}
	}
	empty := &types.VirtualDisk{CapacityInKB: 1 << 20}
	empty.Key, empty.ControllerKey, empty.UnitNumber = -1, 1000, types.NewInt32(0)
	empty.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent"}
	changes := []struct {
		name    string
		devices []types.BaseVirtualDeviceConfigSpec
		want    string
	}{
		{"nothing", nil, "[2000]"},
		{"a disk more", dataDisk(1), "[2000]"},
		{"another one in its place", []types.BaseVirtualDeviceConfigSpec{remove(2000), add(empty, "create")}, "[]"},
	}
	for _, change := range changes {
		vm := tl.clone(change.name, nil)
		tl.must(vm.CreateSnapshot(ctx, "before", "", false, false))
		tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{DeviceChange: change.devices}), nil)
		tl.must(vm.PowerOn(ctx))
		if got := tl.origins("power_on"); got != change.want {
			t.Errorf("%s: %s, expected %s", change.name, got, change.want)
		}
		tl.must(vm.RevertToSnapshot(ctx, "before", false))
		if got := tl.origins("revert"); got != "[2000]" {
			t.Errorf("%s: after a revert %s", change.name, got)
		}
	}
	made := tl.create("from-nothing", types.VirtualMachineConfigSpec{DeviceChange: dataDisk(1)})
	tl.must(made.PowerOn(ctx))
	if got := tl.origins("power_on"); got != "[]" {
		t.Errorf("made from nothing: %s", got)
	}
}

func (tl *testLab) create(name string, spec types.VirtualMachineConfigSpec) *object.VirtualMachine {
	tl.t.Helper()
	ctx := context.Background()
	spec.Name, spec.Files = name, &types.VirtualMachineFileInfo{VmPathName: "[vmfs-01]"}
	folder, pool := object.NewFolder(tl.client, tl.lab.places.folder), object.NewResourcePool(tl.client, tl.lab.places.pool)
	task, err := folder.CreateVM(ctx, spec, pool, nil)
	if err != nil {
		tl.t.Fatal(err)
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		tl.t.Fatal(err)
	}
	return object.NewVirtualMachine(tl.client, info.Result.(types.ManagedObjectReference))
}
