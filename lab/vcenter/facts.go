// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"log"
	"net/netip"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// guestEvent takes over what the driver says about a guest. Every property is named in full, because a client that waits
// for guest.ipAddress hears nothing of a change to guest.
func (l *lab) guestEvent(moid string, facts guestFacts) {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: moid}
	vm, ok := l.registry.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		log.Printf("guest event for %s, which is no VM (any more)", moid)
		return
	}
	ctx := fork(l.service.Context)
	state := types.VirtualMachinePowerState(facts.Power)
	m := l.machine(ref)
	var before types.VirtualMachinePowerState
	running, ending := false, state != poweredOn && state != ""
	ctx.WithLock(vm, func() {
		before = vm.Runtime.PowerState
		// Only an operation of the vCenter turns a VM on: facts that arrive after a power-off are stale.
		if running = state == poweredOn && (before == poweredOn || m.starting || m.reverting); running {
			l.setFacts(ctx, vm, m.customization.facts(facts))
			l.takeGuestInfo(ctx, vm, m, facts.GuestInfo)
		}
		if m.reverting && ending { // the run that the driver ends to start another one
			m.ended, ending = true, false
		}
	})
	switch {
	case running && facts.Crashed:
		l.crashed(ctx, vm)
	case ending && state != before:
		l.setPower(ctx, vm, state)
	}
}

// setPower shows a VM's new power state and says so.
func (l *lab) setPower(ctx *simulator.Context, vm *simulator.VirtualMachine, state types.VirtualMachinePowerState) {
	l.showPower(ctx, vm, state)
	l.postPowerEvent(ctx, vm, state)
}

func (l *lab) showPower(ctx *simulator.Context, vm *simulator.VirtualMachine, state types.VirtualMachinePowerState) {
	var boot types.AnyType
	if state == poweredOn {
		boot = time.Now()
	}
	if state != poweredOn {
		l.releaseHost(ctx, vm)
	}
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.powerState", Val: state},
			{Name: "runtime.bootTime", Val: boot},
			{Name: "summary.runtime.powerState", Val: state},
			{Name: "summary.runtime.bootTime", Val: boot},
			{Name: "config.hardware.device", Val: connectDevices(vm, state == poweredOn)},
		})
		if state != poweredOn {
			l.clearFacts(ctx, vm)
		}
		if state == poweredOff {
			l.forgetWritten(ctx, vm, l.machine(vm.Self))
		}
	})
}

func (l *lab) postPowerEvent(ctx *simulator.Context, vm *simulator.VirtualMachine, state types.VirtualMachinePowerState) {
	var argument types.VmEvent
	ctx.WithLock(vm, func() { argument = l.vmEvent(vm) })
	var event types.BaseEvent
	switch state {
	case poweredOn:
		event = &types.VmPoweredOnEvent{VmEvent: argument}
	case suspended:
		event = &types.VmSuspendedEvent{VmEvent: argument}
	default:
		event = &types.VmPoweredOffEvent{VmEvent: argument}
	}
	l.post(ctx, event)
}

// vmEvent names all that the simulator's event messages mention.
func (l *lab) vmEvent(vm *simulator.VirtualMachine) types.VmEvent {
	named := func(name string) types.EntityEventArgument { return types.EntityEventArgument{Name: name} }
	host := l.registry.Get(*vm.Runtime.Host).(*simulator.HostSystem)
	return types.VmEvent{Event: types.Event{
		Vm:   &types.VmEventArgument{Vm: vm.Self, EntityEventArgument: named(vm.Name)},
		Host: &types.HostEventArgument{Host: host.Self, EntityEventArgument: named(host.Name)},
		ComputeResource: &types.ComputeResourceEventArgument{
			ComputeResource: l.places.cluster, EntityEventArgument: named(l.inventory.Cluster),
		},
		Datacenter: &types.DatacenterEventArgument{
			Datacenter: l.places.datacenter, EntityEventArgument: named(l.inventory.Datacenter),
		},
		Ds: &types.DatastoreEventArgument{
			Datastore: l.places.datastore, EntityEventArgument: named(l.inventory.Datastore.Name),
		},
	}}
}

func (l *lab) setFacts(ctx *simulator.Context, vm *simulator.VirtualMachine, facts guestFacts) {
	var changes []types.PropertyChange
	change := func(name string, value any) {
		changes = append(changes, types.PropertyChange{Name: name, Val: value})
	}
	if facts.ToolsRunning != nil {
		changes = append(changes, toolsChanges(*facts.ToolsRunning)...)
		for _, place := range []string{"guest.", "summary.guest."} { // what the template says it runs, as tools would
			change(place+"guestId", vm.Config.GuestId)
			change(place+"guestFullName", vm.Config.GuestFullName)
		}
	}
	if facts.Hostname != nil {
		change("guest.hostName", *facts.Hostname)
		change("summary.guest.hostName", *facts.Hostname)
	}
	if facts.Addresses != nil {
		first := ""
		if len(facts.Addresses) > 0 {
			first = facts.Addresses[0]
		}
		change("guest.ipAddress", first)
		change("summary.guest.ipAddress", first)
		change("guest.net", l.guestNetwork(vm, facts))
	}
	if len(changes) > 0 {
		ctx.Update(vm, changes)
	}
}

// factsOf is what a VM shows of its guest, as setFacts takes it.
func factsOf(vm *simulator.VirtualMachine) guestFacts {
	running := vm.Guest.ToolsRunningStatus == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	name := vm.Guest.HostName
	facts := guestFacts{ToolsRunning: &running, Hostname: &name, Addresses: []string{}}
	for _, card := range vm.Guest.Net {
		if len(card.IpAddress) > 0 {
			facts.Addresses, facts.MAC = card.IpAddress, &card.MacAddress
		}
	}
	return facts
}

func toolsChanges(running bool) []types.PropertyChange {
	status, runs := types.VirtualMachineToolsStatusToolsNotRunning, types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	state, heartbeat := types.VirtualMachineGuestStateNotRunning, types.ManagedEntityStatusGray
	if running {
		status, runs = types.VirtualMachineToolsStatusToolsOk, types.VirtualMachineToolsRunningStatusGuestToolsRunning
		state, heartbeat = types.VirtualMachineGuestStateRunning, types.ManagedEntityStatusGreen
	}
	version := string(types.VirtualMachineToolsVersionStatusGuestToolsUnmanaged)
	return []types.PropertyChange{
		{Name: "guest.toolsStatus", Val: status},
		{Name: "guest.toolsRunningStatus", Val: string(runs)},
		{Name: "guest.toolsVersionStatus", Val: version},
		{Name: "guest.toolsVersionStatus2", Val: version},
		{Name: "guest.guestState", Val: string(state)},
		{Name: "guest.guestOperationsReady", Val: running},
		{Name: "guestHeartbeatStatus", Val: heartbeat},
		{Name: "summary.guest.toolsStatus", Val: status},
		{Name: "summary.guest.toolsRunningStatus", Val: string(runs)},
		{Name: "summary.guest.toolsVersionStatus", Val: version},
		{Name: "summary.guest.toolsVersionStatus2", Val: version},
		{Name: "summary.quickStats.guestHeartbeatStatus", Val: heartbeat},
	}
}

// clearFacts forgets what only a running guest can say.
func (l *lab) clearFacts(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	ctx.Update(vm, append(toolsChanges(false),
		types.PropertyChange{Name: "guest.hostName", Val: ""},
		types.PropertyChange{Name: "guest.ipAddress", Val: ""},
		types.PropertyChange{Name: "guest.net", Val: []types.GuestNicInfo{}},
		types.PropertyChange{Name: "summary.guest.hostName", Val: ""},
		types.PropertyChange{Name: "summary.guest.ipAddress", Val: ""},
	))
}

// guestNetwork puts the guest's addresses on the card that they were seen on, the first one where that is not said.
func (l *lab) guestNetwork(vm *simulator.VirtualMachine, facts guestFacts) []types.GuestNicInfo {
	network := []types.GuestNicInfo{}
	chosen := -1
	for _, card := range l.describe(vm).NICs {
		if facts.MAC != nil && strings.EqualFold(*facts.MAC, card.MAC) {
			chosen = len(network)
		}
		network = append(network, types.GuestNicInfo{
			Network: card.Network, MacAddress: card.MAC, Connected: true, DeviceConfigId: card.Key,
		})
	}
	if len(network) == 0 || len(facts.Addresses) == 0 {
		return network
	}
	nic := &network[max(chosen, 0)]
	nic.IpAddress = facts.Addresses
	nic.IpConfig = &types.NetIpConfigInfo{}
	for _, text := range facts.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			log.Printf("guest of %s reports %q, which is no address", vm.Self.Value, text)
			continue
		}
		prefix := int32(24)
		if address.Is6() {
			prefix = 64
		}
		nic.IpConfig.IpAddress = append(nic.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
			IpAddress: text, PrefixLength: prefix, State: string(types.NetIpConfigInfoIpAddressStatusPreferred),
		})
	}
	return network
}
