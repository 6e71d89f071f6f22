// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const guestInfoPrefix = "guestinfo."

// takeGuestInfo puts what the guest wrote where a vCenter shows it. Such values last until the VM is off; what a client had
// written there is then back. The caller holds the VM's lock.
func (l *lab) takeGuestInfo(ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine, values map[string]string) {
	before := optionTexts(vm.Config.ExtraConfig)
	var changes []types.BaseOptionValue
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !strings.HasPrefix(key, guestInfoPrefix) || before[key] == values[key] {
			continue // a guest has no other keys
		}
		if m.written == nil {
			m.written = map[string]string{}
		}
		if _, again := m.written[key]; !again {
			m.written[key] = before[key]
		}
		changes = append(changes, &types.OptionValue{Key: key, Value: values[key]})
	}
	l.mergeOptions(ctx, vm, changes)
}

// forgetWritten brings back what the guest had written over. The caller holds the VM's lock.
func (l *lab) forgetWritten(ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine) {
	l.mergeOptions(ctx, vm, takenBack(m.written))
	m.written = nil
}

// takenBack are the changes that undo what a guest wrote.
func takenBack(written map[string]string) []types.BaseOptionValue {
	var changes []types.BaseOptionValue
	for _, key := range slices.Sorted(maps.Keys(written)) {
		changes = append(changes, &types.OptionValue{Key: key, Value: written[key]})
	}
	return changes
}

func (l *lab) mergeOptions(ctx *simulator.Context, vm *simulator.VirtualMachine, changes []types.BaseOptionValue) {
	if len(changes) == 0 {
		return
	}
	ctx.Update(vm, []types.PropertyChange{
		{Name: "config.extraConfig", Val: mergeExtraConfig(vm.Config.ExtraConfig, changes)},
	})
}

func optionTexts(options []types.BaseOptionValue) map[string]string {
	texts := map[string]string{}
	for _, option := range options {
		texts[option.GetOptionValue().Key], _ = option.GetOptionValue().Value.(string)
	}
	return texts
}

// crashed shows a VM whose guest's kernel has panicked: it is on, and nothing in it answers.
func (l *lab) crashed(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	var argument types.VmEvent
	ctx.WithLock(vm, func() {
		l.clearFacts(ctx, vm)
		ctx.Update(vm, []types.PropertyChange{
			{Name: "guestHeartbeatStatus", Val: types.ManagedEntityStatusRed},
			{Name: "summary.quickStats.guestHeartbeatStatus", Val: types.ManagedEntityStatusRed},
		})
		argument = l.vmEvent(vm)
	})
	argument.FullFormattedMessage = argument.Vm.Name + ": the guest operating system has crashed."
	l.post(ctx, &types.VmGuestOSCrashedEvent{VmEvent: argument})
}
