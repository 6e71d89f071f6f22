// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func (tl *testLab) cluster() *object.ClusterComputeResource {
	tl.t.Helper()
	cluster, err := tl.finder.ClusterComputeResource(context.Background(), "gpu-cluster")
	if err != nil {
		tl.t.Fatal(err)
	}
	return cluster
}

func (tl *testLab) overrides() *types.ClusterConfigInfoEx {
	tl.t.Helper()
	var cluster mo.ClusterComputeResource
	err := property.DefaultCollector(tl.client).RetrieveOne(
		context.Background(), tl.cluster().Reference(), []string{"configurationEx"}, &cluster)
	if err != nil {
		tl.t.Fatal(err)
	}
	return cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
}

func (tl *testLab) override(spec *types.ClusterConfigSpecEx) (*object.Task, error) {
	return tl.cluster().Reconfigure(context.Background(), spec, true)
}

func drsRow(operation types.ArrayUpdateOperation, vm types.ManagedObjectReference, enabled bool) types.ClusterDrsVmConfigSpec {
	row := types.ClusterDrsVmConfigSpec{ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: operation}}
	if operation == types.ArrayUpdateOperationRemove {
		row.RemoveKey = vm
	} else {
		row.Info = &types.ClusterDrsVmConfigInfo{Key: vm, Enabled: &enabled}
	}
	return row
}

func dasRow(
	operation types.ArrayUpdateOperation, vm types.ManagedObjectReference, settings *types.ClusterDasVmSettings,
) types.ClusterDasVmConfigSpec {
	return types.ClusterDasVmConfigSpec{
		ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: operation},
		Info:            &types.ClusterDasVmConfigInfo{Key: vm, DasSettings: settings},
	}
}

func TestOverridesOfSingleVMs(t *testing.T) {
	tl := startLab(t, nil)
	one, two := tl.clone("one", nil).Reference(), tl.clone("two", nil)
	add, edit, remove := types.ArrayUpdateOperationAdd, types.ArrayUpdateOperationEdit, types.ArrayUpdateOperationRemove
	tl.must(tl.override(&types.ClusterConfigSpecEx{
		DrsVmConfigSpec: []types.ClusterDrsVmConfigSpec{drsRow(add, one, false), drsRow(add, two.Reference(), false)},
		DasVmConfigSpec: []types.ClusterDasVmConfigSpec{
			dasRow(add, one, &types.ClusterDasVmSettings{RestartPriority: "low", IsolationResponse: "none"}),
			dasRow(add, two.Reference(), &types.ClusterDasVmSettings{RestartPriority: "disabled"}),
		},
	}))
	found := tl.overrides()
	if len(found.DrsVmConfig) != 2 || len(found.DasVmConfig) != 2 || *found.DrsVmConfig[0].Enabled {
		t.Fatalf("got %+v and %+v", found.DrsVmConfig, found.DasVmConfig)
	}
	tl.must(tl.override(&types.ClusterConfigSpecEx{
		DrsVmConfigSpec: []types.ClusterDrsVmConfigSpec{drsRow(remove, one, false)},
		DasVmConfigSpec: []types.ClusterDasVmConfigSpec{
			dasRow(edit, one, &types.ClusterDasVmSettings{RestartPriority: "disabled"}),
		},
	}))
	found = tl.overrides()
	settings := found.DasVmConfig[0].DasSettings
	if len(found.DrsVmConfig) != 1 || settings.RestartPriority != "disabled" || settings.IsolationResponse != "none" {
		t.Fatalf("got %+v and %+v", found.DrsVmConfig, settings)
	}
	tl.must(two.Destroy(context.Background()))
	if found = tl.overrides(); len(found.DrsVmConfig) != 0 || len(found.DasVmConfig) != 1 {
		t.Errorf("a removed VM has left %+v and %+v", found.DrsVmConfig, found.DasVmConfig)
	}
}

func TestAnOverrideThatDoesNotFitChangesNothing(t *testing.T) {
	tl := startLab(t, nil)
	vm, stranger := tl.clone("one", nil).Reference(), types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-0"}
	good := drsRow(types.ArrayUpdateOperationAdd, vm, false)
	for property, bad := range map[string]types.ClusterDrsVmConfigSpec{
		"spec.drsVmConfigSpec[1].info.key":  drsRow(types.ArrayUpdateOperationEdit, stranger, true),
		"spec.drsVmConfigSpec[1].removeKey": drsRow(types.ArrayUpdateOperationRemove, stranger, true),
	} {
		fault, _ := tl.fault(tl.override(&types.ClusterConfigSpecEx{
			DrsVmConfigSpec: []types.ClusterDrsVmConfigSpec{good, bad},
		}))
		if wrong, ok := fault.(*types.InvalidArgument); !ok || wrong.InvalidProperty != property {
			t.Errorf("%s: got %+v", property, fault)
		}
	}
	for _, row := range []types.ClusterDrsVmConfigSpec{
		drsRow(types.ArrayUpdateOperationEdit, vm, false), drsRow(types.ArrayUpdateOperationAdd, stranger, false),
	} {
		fault, _ := tl.fault(tl.override(&types.ClusterConfigSpecEx{DrsVmConfigSpec: []types.ClusterDrsVmConfigSpec{row}}))
		if _, ok := fault.(*types.InvalidArgument); !ok {
			t.Errorf("%+v: got %+v", row, fault)
		}
	}
	if found := tl.overrides(); len(found.DrsVmConfig) != 0 {
		t.Errorf("got %+v", found.DrsVmConfig)
	}
}
