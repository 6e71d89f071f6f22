// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func TestTheDriverTakesEachSnapshotAndRemovesIt(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", nil)
	ids := map[string]string{}
	for _, step := range []struct {
		name, want string
		before     func(context.Context) (*object.Task, error)
		memory     bool
	}{
		{"off", "memory=false", nil, true}, // there is no memory to keep
		{"on", "memory=false", vm.PowerOn, false},
		{"with memory", "memory=true", nil, true},
		{"suspended", "memory=true", vm.Suspend, false},
	} {
		if step.before != nil {
			tl.must(step.before(ctx))
		}
		tl.must(vm.CreateSnapshot(ctx, step.name, "", step.memory, false))
		ids[step.name] = tl.driverID(vm)
		if want := step.want + " snapshot=" + ids[step.name]; tl.lastArguments("snapshot") != want || len(ids[step.name]) != 36 {
			t.Errorf("%s: got %s, expected %s", step.name, tl.lastArguments("snapshot"), want)
		}
	}
	tl.must(vm.RemoveSnapshot(ctx, "with memory", true, nil))
	removed := []string{}
	for _, request := range tl.guests.asked("remove_snapshot") {
		removed = append(removed, request.Arguments["snapshot"].(string))
	}
	if want := []string{ids["suspended"], ids["with memory"]}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, expected %v", removed, want)
	}
	tl.must(vm.RemoveAllSnapshot(ctx, nil))
	if got := len(tl.guests.asked("remove_snapshot")); got != 4 || tl.properties(vm).Snapshot != nil {
		t.Errorf("%d removed, left: %+v", got, tl.properties(vm).Snapshot)
	}
}

func TestASnapshotThatTheDriverCannotTakeOrRemove(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("vm")
	tl.guests.refuse("snapshot", "the disk is full")
	if found, message := tl.fault(vm.CreateSnapshot(ctx, "s", "", true, false)); !is[*types.SystemError](found) ||
		!strings.Contains(message, "the disk is full") {
		t.Errorf("got %#v %s", found, message)
	}
	if tl.properties(vm).Snapshot != nil || len(tl.properties(vm).RootSnapshot) != 0 {
		t.Errorf("it is there: %+v", tl.properties(vm).Snapshot)
	}
	tl.guests.refuse("remove_snapshot", "in use")
	tl.must(vm.CreateSnapshot(ctx, "kept", "", false, false))
	if found, message := tl.fault(vm.RemoveSnapshot(ctx, "kept", false, nil)); !is[*types.SystemError](found) ||
		!strings.Contains(message, "in use") || tl.properties(vm).Snapshot == nil {
		t.Errorf("got %#v %s", found, message)
	}
}

// powerEvents are the names of a VM's events about power, oldest first.
func (tl *testLab) powerEvents(vm *object.VirtualMachine) []string {
	tl.t.Helper()
	filter := types.EventFilterSpec{Entity: &types.EventFilterSpecByEntity{
		Entity: vm.Reference(), Recursion: types.EventFilterSpecRecursionOptionSelf,
	}}
	collector, err := event.NewManager(tl.client).CreateCollectorForEvents(context.Background(), filter)
	if err != nil {
		tl.t.Fatal(err)
	}
	defer func() { _ = collector.Destroy(context.Background()) }()
	events, err := collector.ReadNextEvents(context.Background(), 1000)
	if err != nil {
		tl.t.Fatal(err)
	}
	slices.SortFunc(events, func(a, b types.BaseEvent) int { return int(a.GetEvent().Key - b.GetEvent().Key) })
	var names []string
	for _, event := range events {
		switch event.(type) {
		case *types.VmPoweredOnEvent:
			names = append(names, "on")
		case *types.VmPoweredOffEvent:
			names = append(names, "off")
		case *types.VmSuspendedEvent:
			names = append(names, "suspended")
		case *types.VmGuestOSCrashedEvent:
			names = append(names, "crashed")
		}
	}
	return names
}

func TestRevertingIsOneOrderToTheDriver(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{NumCPUs: 2})
	tl.must(vm.CreateSnapshot(ctx, "off", "", false, false))
	off := tl.driverID(vm)
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.CreateSnapshot(ctx, "on", "", true, false))
	on := tl.driverID(vm)
	tl.must(vm.Suspend(ctx))
	tl.must(vm.CreateSnapshot(ctx, "asleep", "", true, false))
	asleep := tl.driverID(vm)
	known := len(tl.powerEvents(vm))
	for _, step := range []struct {
		to       string
		suppress bool
		want     string
		state    types.VirtualMachinePowerState
		event    string // "" where the state was the same before
	}{
		{"on", false, "power=poweredOn snapshot=" + on, poweredOn, "on"},
		{"on", false, "power=poweredOn snapshot=" + on, poweredOn, ""}, // another run, the state is the same
		{"asleep", false, "power=suspended snapshot=" + asleep, suspended, "suspended"},
		{"off", false, "power=poweredOff snapshot=" + off, poweredOff, "off"},
		{"asleep", true, "power=poweredOff snapshot=" + asleep, poweredOff, ""},
		{"on", true, "power=poweredOff snapshot=" + on, poweredOff, ""},
	} {
		asked := len(tl.guests.operations())
		tl.must(vm.RevertToSnapshot(ctx, step.to, step.suppress))
		if got := tl.guests.operations()[asked:]; fmt.Sprint(got) != "[revert]" || tl.lastArguments("revert") != step.want {
			t.Errorf("%s: the driver was asked %v %s", step.to, got, tl.lastArguments("revert"))
		}
		now := tl.properties(vm)
		card := object.VirtualDeviceList(now.Config.Hardware.Device).FindByKey(4000).GetVirtualDevice()
		if now.Runtime.PowerState != step.state || now.Summary.Runtime.PowerState != step.state ||
			(now.Runtime.BootTime != nil) != (step.state == poweredOn) || card.Connectable.Connected != (step.state == poweredOn) {
			t.Errorf("%s: runtime is %+v, card %+v", step.to, now.Runtime, card.Connectable)
		}
		events := tl.powerEvents(vm)[known:]
		if known += len(events); strings.Join(events, " ") != step.event {
			t.Errorf("%s: events %v, expected %q", step.to, events, step.event)
		}
	}
}

func TestTheDriverRevertsToTheHardwareOfTheSnapshot(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{NumCPUs: 2, DeviceChange: dataDisk(1)})
	tl.must(vm.CreateSnapshot(ctx, "before", "", false, false))
	disk := &types.VirtualDisk{}
	disk.Key = 2016
	change := types.VirtualMachineConfigSpec{NumCPUs: 3, DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk},
	}}
	tl.must(tl.reconfigure(vm, change), nil)
	tl.must(vm.RevertToSnapshot(ctx, "before", false))
	if got := tl.guests.asked("revert")[0].VM; got.CPUs != 2 || len(got.Disks) != 2 || got.InstanceUUID != tl.instance(vm) {
		t.Errorf("the driver was told %+v", got)
	}
}

func TestARunThatEndsForARevertDoesNotTurnTheVMOff(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("vm")
	tl.must(vm.CreateSnapshot(ctx, "on", "", true, false))
	known := len(tl.powerEvents(vm))
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "hostname": "old", "addresses": []string{"10.0.0.1"}})
	eventually(t, "the address", func() bool { return tl.properties(vm).Guest.IpAddress == "10.0.0.1" })
	tl.guests.answerWith(func(r guestRequest) string {
		if r.Op == "revert" {
			tl.guests.event(vm, map[string]any{"power": "poweredOff"})
			tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "addresses": []string{"10.0.0.2"}})
		}
		return ""
	})
	tl.must(vm.RevertToSnapshot(ctx, "on", false))
	now := tl.properties(vm)
	if now.Runtime.PowerState != poweredOn || now.Guest.IpAddress != "10.0.0.2" || now.Guest.HostName != "" {
		t.Errorf("%s, guest %+v", now.Runtime.PowerState, now.Guest)
	}
	if events := tl.powerEvents(vm)[known:]; len(events) > 0 {
		t.Errorf("events %v", events)
	}
	tl.guests.event(vm, map[string]any{"power": "poweredOff"}) // this one counts
	eventually(t, "it is off", func() bool { return tl.properties(vm).Runtime.PowerState == poweredOff })
}

func TestARevertThatFailsChangesNothing(t *testing.T) {
	for _, ended := range []bool{false, true} { // whether the driver had ended the run before it failed
		tl := startLab(t, nil)
		ctx := context.Background()
		vm := tl.clone("vm", &types.VirtualMachineConfigSpec{NumCPUs: 2})
		tl.must(vm.CreateSnapshot(ctx, "two", "", false, false))
		tl.must(vm.CreateSnapshot(ctx, "current", "", false, false))
		tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{NumCPUs: 3}), nil)
		tl.must(vm.PowerOn(ctx))
		tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "hostname": "h", "addresses": []string{"10.0.0.1"}})
		eventually(t, "the address", func() bool { return tl.properties(vm).Guest.IpAddress == "10.0.0.1" })
		before := tl.properties(vm).Snapshot.CurrentSnapshot
		tl.guests.answerWith(func(r guestRequest) string {
			if ended {
				tl.guests.event(vm, map[string]any{"power": "poweredOff"})
			}
			return "the snapshot's file is broken"
		})
		found, message := tl.fault(vm.RevertToSnapshot(ctx, "two", false))
		if !is[*types.SystemError](found) || !strings.Contains(message, "file is broken") {
			t.Errorf("got %#v %s", found, message)
		}
		now := tl.properties(vm)
		state, address := poweredOn, "10.0.0.1"
		if ended {
			state, address = poweredOff, ""
		}
		if now.Config.Hardware.NumCPU != 3 || now.Summary.Config.NumCpu != 3 || *now.Snapshot.CurrentSnapshot != *before ||
			now.Runtime.PowerState != state || now.Guest.IpAddress != address {
			t.Errorf("ended %v: %s %q with %d CPUs", ended, now.Runtime.PowerState, now.Guest.IpAddress, now.Config.Hardware.NumCPU)
		}
	}
}
