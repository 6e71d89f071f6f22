// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// Each step changes what the two hosts hold; the next small clone has to land where most is left.
func TestAClonesHostIsTheOneWithMostRoomWhateverHappenedBefore(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	size := func(mb int64) *types.VirtualMachineConfigSpec { return &types.VirtualMachineConfigSpec{MemoryMB: mb} }
	host := func(vm *object.VirtualMachine) types.ManagedObjectReference { return *tl.properties(vm).Runtime.Host }
	probe := func(name string) types.ManagedObjectReference {
		vm := tl.clone(name, size(16))
		defer func() { tl.must(vm.Destroy(ctx)) }()
		return host(vm)
	}
	large := tl.clone("large", size(8192))
	if small := tl.clone("small", size(1024)); host(small) == host(large) {
		t.Fatal("two clones on one host, the other is empty")
	}
	other := probe("probe-1")
	if other == host(large) {
		t.Error("the clone went to the fuller host")
	}
	if err := large.MarkAsTemplate(ctx); err != nil {
		t.Fatal(err)
	}
	if probe("probe-2") != host(large) {
		t.Error("a template takes no room on its host, and was counted")
	}
	pool := object.NewResourcePool(tl.client, tl.lab.places.pool)
	if err := large.MarkAsVirtualMachine(ctx, *pool, nil); err != nil {
		t.Fatal(err)
	}
	if probe("probe-3") != other {
		t.Error("a template that is a VM again was not counted")
	}
	tl.must(tl.reconfigure(large, *size(512)), nil)
	if probe("probe-4") != host(large) {
		t.Error("the VM became smaller, and was counted with what it had")
	}
	tl.must(tl.reconfigure(large, *size(8192)), nil)
	tl.must(large.Destroy(ctx))
	if probe("probe-5") == other {
		t.Error("a VM that is gone was counted")
	}
}
