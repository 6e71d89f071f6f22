// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/types"
)

func TestThePowerOnTaskEndsWithTheDriversAnswer(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("waiting", &types.VirtualMachineConfigSpec{
		DeviceChange: dataDisk(20),
		ExtraConfig:  []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.metadata", Value: "bWV0YQ=="}},
	})
	release := make(chan struct{})
	requests := make(chan guestRequest, 1)
	tl.guests.answerWith(func(r guestRequest) string {
		requests <- r
		<-release
		return ""
	})
	task, err := vm.PowerOn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	request := <-requests
	if state := tl.properties(vm).Runtime.PowerState; state != poweredOff { // reading must not wait for the driver
		t.Errorf("%s before the driver answered", state)
	}
	close(release)
	tl.must(task, nil)
	after := tl.properties(vm)
	if after.Runtime.PowerState != poweredOn || after.Runtime.BootTime == nil || after.Summary.Runtime.PowerState != poweredOn {
		t.Errorf("runtime is %+v", after.Runtime)
	}
	got := request.VM
	if request.Op != "power_on" || got.Moid != vm.Reference().Value || got.Name != "waiting" || got.Template != baseline ||
		got.GuestID != "ubuntu64Guest" || got.CPUs != 4 || got.MemoryMB != 6144 || got.Firmware != "efi" ||
		fmt.Sprint(got.GuestInfo) != "map[guestinfo.metadata:bWV0YQ==]" {
		t.Errorf("request is %+v", got)
	}
	if len(got.Disks) != 2 || got.Disks[1].Key != 2016 || got.Disks[1].Controller != "pvscsi" ||
		got.Disks[1].SizeKB != 20<<20 || !strings.HasPrefix(got.Disks[1].UUID, "6000C29") {
		t.Errorf("disks are %+v", got.Disks)
	}
	if len(got.NICs) != 1 || got.NICs[0].Network != "testbed" || got.NICs[0].Type != "vmxnet3" {
		t.Errorf("cards are %+v", got.NICs)
	}
}

func TestAGuestThatDoesNotStartFailsItsTask(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("broken", nil)
	tl.guests.answerWith(func(guestRequest) string { return "the image is gone" })
	found, message := tl.fault(vm.PowerOn(context.Background()))
	generic, ok := found.(*types.GenericVmConfigFault)
	if !ok || generic.Reason != "the image is gone" || message != "the image is gone" {
		t.Errorf("got %#v %q", found, message)
	}
	if state := tl.properties(vm).Runtime.PowerState; state != poweredOff {
		t.Errorf("the VM is %s", state)
	}
	tl.guests.answerWith(nil)
	tl.must(vm.PowerOn(context.Background()))
}

func TestGuestFactsWakeAClientThatWaits(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.running("talking")
	devices := object.VirtualDeviceList(tl.properties(vm).Config.Hardware.Device)
	mac := devices.FindByKey(4000).(*types.VirtualVmxnet3).MacAddress
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	address := make(chan string, 1)
	waiting := make(chan struct{})
	go func() {
		first := true
		_ = property.Wait(ctx, property.DefaultCollector(tl.client), vm.Reference(), []string{"guest.ipAddress", "name"},
			func(changes []types.PropertyChange) bool {
				if first {
					close(waiting)
					first = false
				}
				for _, change := range changes {
					if value, _ := change.Val.(string); change.Name == "guest.ipAddress" && value != "" {
						address <- value
						return true
					}
				}
				return false
			})
	}()
	<-waiting
	tl.guests.event(vm, map[string]any{
		"power": "poweredOn", "tools_running": true, "hostname": "nb-1", "addresses": []string{"10.89.0.5", "fd00::5"}, "mac": mac,
	})
	select {
	case got := <-address:
		if got != "10.89.0.5" {
			t.Errorf("address is %s", got)
		}
	case <-ctx.Done():
		t.Fatal("the waiting client heard nothing")
	}
	after := tl.properties(vm)
	guest := after.Guest
	if guest.HostName != "nb-1" || guest.ToolsRunningStatus != "guestToolsRunning" || guest.ToolsStatus != "toolsOk" ||
		guest.GuestState != "running" || after.Summary.Guest.IpAddress != "10.89.0.5" || after.Summary.Guest.HostName != "nb-1" {
		t.Errorf("guest is %+v", guest)
	}
	nic := guest.Net[0]
	if nic.Network != "testbed" || nic.MacAddress != mac || nic.DeviceConfigId != 4000 || len(nic.IpConfig.IpAddress) != 2 {
		t.Errorf("card is %+v", nic)
	}
}

func TestAGuestThatPowersItselfOffIsOff(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.running("tired")
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "hostname": "h", "addresses": []string{"10.0.0.9"}})
	eventually(t, "the address", func() bool { return tl.properties(vm).Guest.IpAddress == "10.0.0.9" })
	tl.guests.event(vm, map[string]any{"power": "poweredOff"})
	eventually(t, "powered off", func() bool { return tl.properties(vm).Runtime.PowerState == poweredOff })
	after := tl.properties(vm)
	if after.Guest.IpAddress != "" || after.Guest.HostName != "" || len(after.Guest.Net) != 0 ||
		after.Guest.ToolsRunningStatus != "guestToolsNotRunning" || after.Summary.Guest.IpAddress != "" || after.Runtime.BootTime != nil {
		t.Errorf("facts are left: %+v", after.Guest)
	}
	// What arrives late must not bring the VM back.
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "addresses": []string{"10.0.0.9"}})
	tl.must(vm.PowerOn(context.Background())) // its answer comes after the event on the same socket
	if ip := tl.properties(vm).Guest.IpAddress; ip != "" {
		t.Errorf("stale address %s", ip)
	}
}

func TestEachOperationReachesTheDriver(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("busy")
	if err := vm.ShutdownGuest(ctx); !fault.Is(err, &types.ToolsUnavailable{}) {
		t.Errorf("shutdown without tools: %v, expected ToolsUnavailable", err)
	}
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true})
	eventually(t, "tools", func() bool { return tl.properties(vm).Guest.ToolsRunningStatus == "guestToolsRunning" })
	tl.must(vm.Suspend(ctx))
	if state := tl.properties(vm).Runtime.PowerState; state != suspended {
		t.Errorf("after suspend: %s", state)
	}
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.Reset(ctx))
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{Annotation: "new"}), nil)
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true})
	eventually(t, "tools again", func() bool { return tl.properties(vm).Guest.ToolsRunningStatus == "guestToolsRunning" })
	for _, ask := range []func(context.Context) error{vm.RebootGuest, vm.ShutdownGuest} {
		before := len(tl.guests.operations())
		if err := ask(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the driver hears of it", func() bool { return len(tl.guests.operations()) > before })
	}
	tl.guests.event(vm, map[string]any{"power": "poweredOff"})
	eventually(t, "powered off", func() bool { return tl.properties(vm).Runtime.PowerState == poweredOff })
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.PowerOff(ctx))
	tl.must(vm.Destroy(ctx))
	want := "hello power_on suspend resume reset reconfigure reboot shutdown power_on power_off destroy"
	if got := strings.Join(tl.guests.operations(), " "); got != want {
		t.Errorf("operations are\n%s\nexpected\n%s", got, want)
	}
}

func TestWhatThePowerStateForbids(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	off, on := tl.clone("off", nil), tl.running("on")
	for name, call := range map[string]func() (*object.Task, error){
		"power off": func() (*object.Task, error) { return off.PowerOff(ctx) },
		"suspend":   func() (*object.Task, error) { return off.Suspend(ctx) },
		"reset":     func() (*object.Task, error) { return off.Reset(ctx) },
		"power on":  func() (*object.Task, error) { return on.PowerOn(ctx) },
		"destroy":   func() (*object.Task, error) { return on.Destroy(ctx) },
	} {
		if found, message := tl.fault(call()); !is[*types.InvalidPowerState](found) || !strings.Contains(message, "Powered o") {
			t.Errorf("%s: got %#v %q", name, found, message)
		}
	}
	if err := off.ShutdownGuest(ctx); !fault.Is(err, &types.InvalidPowerState{}) {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := tl.template(baseline).PowerOn(ctx); !fault.Is(err, &types.NotSupported{}) {
		t.Errorf("template: %v", err)
	}
	more := types.VirtualMachineConfigSpec{NumCPUs: 8}
	if found, _ := tl.fault(tl.reconfigure(on, more), nil); !is[*types.CpuHotPlugNotSupported](found) {
		t.Errorf("hot plug of CPUs: %#v", found)
	}
	more = types.VirtualMachineConfigSpec{MemoryMB: 8192}
	if found, _ := tl.fault(tl.reconfigure(on, more), nil); !is[*types.MemoryHotPlugNotSupported](found) {
		t.Errorf("hot plug of memory: %#v", found)
	}
}

func TestAHostGivesItsMemoryOnce(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	lock := &types.VirtualMachineConfigSpec{MemoryMB: 40000, MemoryReservationLockedToMax: types.NewBool(true)}
	machines := []*object.VirtualMachine{tl.clone("a", lock), tl.clone("b", lock), tl.clone("c", lock)}
	tl.must(machines[0].PowerOn(ctx))
	tl.must(machines[1].PowerOn(ctx)) // on the other host: placement looks for room
	if found, _ := tl.fault(machines[2].PowerOn(ctx)); !is[*types.InsufficientMemoryResourcesFault](found) {
		t.Errorf("got %#v", found)
	}
	host := tl.properties(machines[2]).Runtime.Host
	for _, machine := range machines[:2] {
		if *tl.properties(machine).Runtime.Host == *host {
			tl.must(machine.PowerOff(ctx))
		}
	}
	tl.must(machines[2].PowerOn(ctx))
}

func TestManyMachinesStartTogether(t *testing.T) {
	tl := startLab(t, nil)
	const many = 8
	var together sync.WaitGroup
	together.Add(many)
	tl.guests.answerWith(func(r guestRequest) string {
		if r.Op == "power_on" { // answered when all of them have asked: a lock held meanwhile would hang the test
			together.Done()
			together.Wait()
			tl.guests.send(map[string]any{"event": "guest", "moid": r.VM.Moid, "guest": map[string]any{
				"power": "poweredOn", "tools_running": true, "hostname": r.VM.Name, "addresses": []string{"10.0.0.1"},
			}})
		}
		return ""
	})
	var workers sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	pool, folder := tl.lab.places.pool, tl.lab.places.folder
	for i := range many {
		client := tl.login(testUser, testPassword)
		source := object.NewVirtualMachine(client, tl.template(baseline).Reference())
		workers.Add(1)
		go func() {
			defer workers.Done()
			spec := types.VirtualMachineCloneSpec{PowerOn: i%2 == 0, Location: types.VirtualMachineRelocateSpec{Pool: &pool}}
			task, err := source.Clone(ctx, object.NewFolder(client, folder), fmt.Sprintf("many-%d", i), spec)
			if err != nil {
				t.Error(err)
				return
			}
			info, err := task.WaitForResult(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			vm := object.NewVirtualMachine(client, info.Result.(types.ManagedObjectReference))
			if !spec.PowerOn {
				if task, err = vm.PowerOn(ctx); err == nil {
					err = task.Wait(ctx)
				}
			}
			if err == nil {
				_, err = vm.WaitForIP(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}
	workers.Wait()
}

func TestOperationsOnOneVMWaitForEachOther(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("queue", nil)
	release := make(chan struct{})
	tl.guests.answerWith(func(r guestRequest) string {
		if r.Op == "power_on" {
			<-release
		}
		return ""
	})
	on, err := vm.PowerOn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the driver is asked", func() bool { return slices.Contains(tl.guests.operations(), "power_on") })
	off, err := vm.PowerOff(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond)
	if slices.Contains(tl.guests.operations(), "power_off") {
		t.Error("power-off overtook the power-on")
	}
	close(release)
	tl.must(on, nil)
	tl.must(off, nil)
}

func TestAVMThatGoesWithItsFolderTakesItsGuestAlong(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	folder, err := object.NewFolder(tl.client, tl.lab.places.folder).CreateFolder(ctx, "inner")
	if err != nil {
		t.Fatal(err)
	}
	vm := tl.running("inside")
	tl.must(vm.PowerOff(ctx))
	id := tl.properties(vm).Config.InstanceUuid
	tl.must(folder.MoveInto(ctx, []types.ManagedObjectReference{vm.Reference()}))
	tl.must(folder.Destroy(ctx))
	eventually(t, "destroy", func() bool { return len(tl.guests.asked("destroy")) == 1 })
	if got := tl.guests.asked("destroy")[0].VM; got.InstanceUUID != id || got.Moid != vm.Reference().Value {
		t.Errorf("destroyed %+v", got)
	}
}

func TestAVMThatIsUnregisteredKeepsItsDisks(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("inside")
	if err := vm.Unregister(ctx); !fault.Is(err, &types.InvalidPowerState{}) {
		t.Errorf("while it runs: %v", err)
	}
	tl.must(vm.PowerOff(ctx))
	if err := vm.Unregister(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := tl.finder.VirtualMachine(ctx, "inside"); err == nil {
		t.Error("it is still there")
	}
	tl.must(tl.clone("inside", nil).Destroy(ctx)) // time enough for a request that should not be
	if tl.guests.asked("destroy") != nil {
		t.Error("its disks were removed")
	}
}
