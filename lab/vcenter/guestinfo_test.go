// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/types"
)

func option(key, value string) []types.BaseOptionValue {
	return []types.BaseOptionValue{&types.OptionValue{Key: key, Value: value}}
}

func TestWhatAGuestWritesShowsUntilItIsOff(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{ExtraConfig: option("guestinfo.userdata", "secret")})
	tl.must(vm.PowerOn(ctx))
	version := tl.properties(vm).Config.ChangeVersion
	info := func(key string) string { return extraConfig(*tl.properties(vm).Config)[key] }

	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	woken := make(chan error, 1)
	go func() { // a client that waits for the value
		woken <- property.Wait(waiting, property.DefaultCollector(tl.client), vm.Reference(), []string{"config.extraConfig"},
			func([]types.PropertyChange) bool { return info("guestinfo.ready") == "yes" })
	}()
	write := func(values map[string]string) {
		tl.guests.event(vm, map[string]any{"power": "poweredOn", "guestinfo": values})
	}
	write(map[string]string{"guestinfo.ready": "yes", "guestinfo.userdata": "redacted", "sched.mem.pin": "TRUE", "nb.owner": "guest"})
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	if info("guestinfo.userdata") != "redacted" || info("sched.mem.pin") != "" || info("nb.owner") != "" {
		t.Errorf("extraConfig is %v", extraConfig(*tl.properties(vm).Config))
	}
	if tl.properties(vm).Config.ChangeVersion != version {
		t.Error("a guest's value makes a client's configuration stale")
	}
	write(map[string]string{"guestinfo.ready": "no", "guestinfo.stays": "guest"})
	eventually(t, "the second value", func() bool { return info("guestinfo.ready") == "no" })
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{ExtraConfig: option("guestinfo.stays", "client")}), nil)
	tl.must(vm.Suspend(ctx))
	if info("guestinfo.ready") != "no" {
		t.Error("suspending has lost the value")
	}
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.PowerOff(ctx))
	if info("guestinfo.ready") != "" || info("guestinfo.userdata") != "secret" || info("guestinfo.stays") != "client" {
		t.Errorf("extraConfig is %v", extraConfig(*tl.properties(vm).Config))
	}
	tl.must(vm.PowerOn(ctx))
	if got := tl.guests.asked("power_on")[1].VM.GuestInfo; fmt.Sprint(got) != "map[guestinfo.stays:client guestinfo.userdata:secret]" {
		t.Errorf("started with %v", got)
	}
}

func TestARevertBringsGuestInfoBack(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("vm")
	info := func() string { return extraConfig(*tl.properties(vm).Config)["guestinfo.step"] }
	write := func(value string) {
		tl.guests.event(vm, map[string]any{"power": "poweredOn", "guestinfo": map[string]string{"guestinfo.step": value}})
		eventually(t, value, func() bool { return info() == value })
	}
	write("one")
	tl.must(vm.CreateSnapshot(ctx, "memory", "", true, false))
	tl.must(vm.CreateSnapshot(ctx, "disks", "", false, false))
	write("two")
	tl.must(vm.RevertToSnapshot(ctx, "memory", false))
	if info() != "one" {
		t.Errorf("with its memory: %q", info())
	}
	tl.must(vm.RevertToSnapshot(ctx, "disks", false))
	if info() != "" {
		t.Errorf("without: %q", info())
	}
}

func TestAGuestWhoseKernelPanicked(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.running("vm")
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "addresses": []string{"10.0.0.1"}})
	eventually(t, "it talks", func() bool { return tl.properties(vm).GuestHeartbeatStatus == types.ManagedEntityStatusGreen })
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "crashed": true})
	eventually(t, "red", func() bool { return tl.properties(vm).GuestHeartbeatStatus == types.ManagedEntityStatusRed })
	now := tl.properties(vm)
	if now.Runtime.PowerState != poweredOn || now.Guest.ToolsRunningStatus != "guestToolsNotRunning" ||
		now.Guest.IpAddress != "" || now.Summary.QuickStats.GuestHeartbeatStatus != types.ManagedEntityStatusRed {
		t.Errorf("%s, guest %+v", now.Runtime.PowerState, now.Guest)
	}
	eventually(t, "the event", func() bool { return fmt.Sprint(tl.powerEvents(vm)) == "[on crashed]" })
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true}) // it has started again by itself
	eventually(t, "green", func() bool { return tl.properties(vm).GuestHeartbeatStatus == types.ManagedEntityStatusGreen })
	tl.guests.event(vm, map[string]any{"power": "poweredOff"})
	eventually(t, "off", func() bool { return tl.properties(vm).Runtime.PowerState == poweredOff })
	tl.guests.event(vm, map[string]any{"power": "poweredOn", "crashed": true}) // too late
	tl.must(vm.PowerOn(context.Background()))
	if got := fmt.Sprint(tl.powerEvents(vm)); got != "[on crashed off on]" {
		t.Errorf("events are %s", got)
	}
}
