// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func (tl *testLab) customized(name string, spec *types.CustomizationSpec) (*object.Task, error) {
	clone := types.VirtualMachineCloneSpec{Customization: spec}
	clone.Location.Pool = &tl.lab.places.pool
	return tl.template(baseline).Clone(context.Background(), object.NewFolder(tl.client, tl.lab.places.folder), name, clone)
}

func linuxSpec(address string, cards int) *types.CustomizationSpec {
	spec := &types.CustomizationSpec{Identity: &types.CustomizationLinuxPrep{HostName: &types.CustomizationVirtualMachineName{}}}
	for range cards {
		spec.NicSettingMap = append(spec.NicSettingMap, types.CustomizationAdapterMapping{
			Adapter: types.CustomizationIPSettings{Ip: &types.CustomizationFixedIp{IpAddress: address}},
		})
	}
	return spec
}

// customizationEvents are the types of a VM's events about its customization, oldest first.
func (tl *testLab) customizationEvents(vm *object.VirtualMachine) []string {
	tl.t.Helper()
	events, err := event.NewManager(tl.client).QueryEvents(context.Background(), types.EventFilterSpec{
		Entity: &types.EventFilterSpecByEntity{Entity: vm.Reference(), Recursion: types.EventFilterSpecRecursionOptionSelf},
	})
	if err != nil {
		tl.t.Fatal(err)
	}
	slices.SortFunc(events, func(a, b types.BaseEvent) int { return int(a.GetEvent().Key - b.GetEvent().Key) })
	var names []string
	for _, e := range events {
		switch e.(type) {
		case *types.CustomizationStartedEvent:
			names = append(names, "started")
		case *types.CustomizationSucceeded:
			names = append(names, "succeeded")
		case *types.CustomizationFailed:
			names = append(names, "failed")
		}
	}
	return names
}

func TestACustomizedCloneEndsWithAnEvent(t *testing.T) {
	tl := startTroubledLab(t, `{"refuse":[{"vm":"bad","method":"CustomizeVM_Task","fault":"CustomizationFault"}]}`)
	running, hostname := true, "from-the-driver"
	for name, want := range map[string]string{"good": "started succeeded", "bad": "started failed"} {
		task, err := tl.customized(name, linuxSpec("10.1.2.3", 1))
		tl.must(task, err)
		vm := tl.template(name)
		if tl.properties(vm).Config.Tools.PendingCustomization == "" || len(tl.customizationEvents(vm)) != 0 {
			t.Errorf("%s: not pending before the power-on", name)
		}
		tl.must(vm.PowerOn(context.Background()))
		eventually(t, want, func() bool { return strings.Join(tl.customizationEvents(vm), " ") == want })
		tl.guests.event(vm, map[string]any{
			"power": "poweredOn", "tools_running": running, "hostname": hostname, "addresses": []string{"192.0.2.9"},
		})
		eventually(t, "the guest's name and address", func() bool {
			guest := tl.properties(vm).Guest
			return guest.HostName == name && guest.IpAddress == "10.1.2.3"
		})
		if pending := tl.properties(vm).Config.Tools.PendingCustomization; pending != "" {
			t.Errorf("%s: still pending", name)
		}
		tl.must(vm.PowerOff(context.Background()))
		tl.must(vm.PowerOn(context.Background()))
		if got := strings.Join(tl.customizationEvents(vm), " "); got != want {
			t.Errorf("%s: after the second power-on: %s", name, got)
		}
	}
}

func TestACustomizationForOtherCardsIsRefused(t *testing.T) {
	tl := startLab(t, nil)
	found, _ := tl.fault(tl.customized("cards", linuxSpec("10.1.2.3", 2)))
	mismatch, ok := found.(*types.NicSettingMismatch)
	if !ok || mismatch.NumberOfNicsInSpec != 2 || mismatch.NumberOfNicsInVM != 1 {
		t.Errorf("got %#v", found)
	}
	if _, err := tl.finder.VirtualMachine(context.Background(), "cards"); err == nil {
		t.Error("the VM is there")
	}
}

func TestGuestNamesOfSpecs(t *testing.T) {
	for want, identity := range map[string]types.BaseCustomizationIdentitySettings{
		"a-very-long-name-of-a-vm": &types.CustomizationLinuxPrep{HostName: &types.CustomizationVirtualMachineName{}},
		"a-very-long-nam":          &types.CustomizationSysprep{UserData: types.CustomizationUserData{ComputerName: &types.CustomizationVirtualMachineName{}}},
		"fixed":                    &types.CustomizationLinuxPrep{HostName: &types.CustomizationFixedName{Name: "fixed"}},
		"":                         &types.CustomizationCloudinitPrep{},
	} {
		if got := guestName("a-very-long-name-of-a-vm", identity); got != want {
			t.Errorf("%T: got %q, expected %q", identity, got, want)
		}
	}
}
