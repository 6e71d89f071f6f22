// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// pyVmomi gives the reference in removeKey this type where govmomi's own clients say ManagedObjectReference.
func init() { types.Add("ManagedObject", reflect.TypeOf(types.ManagedObjectReference{})) }

// ReconfigureComputeResourceTask applies what concerns single VMs itself, all of it or nothing, and tells it to who waits
// for it; the simulator changes its lists one by one and tells nobody.
func (d *desk) ReconfigureComputeResourceTask(
	ctx *simulator.Context, r *types.ReconfigureComputeResource_Task,
) soap.HasFault {
	cluster, ok := d.registry.Get(r.This).(*simulator.ClusterComputeResource)
	if !ok {
		return &methods.ReconfigureComputeResource_TaskBody{Fault_: notFound(r.This).soap()}
	}
	task := d.startTask(ctx, cluster, "ReconfigureComputeResource_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		d.overriding.Lock() // a cluster is reconfigured by one task at a time
		defer d.overriding.Unlock()
		return nil, d.reconfigureCluster(ctx, cluster, r)
	})
	return &methods.ReconfigureComputeResource_TaskBody{Res: &types.ReconfigureComputeResource_TaskResponse{Returnval: task}}
}

func (l *lab) reconfigureCluster(
	ctx *simulator.Context, cluster *simulator.ClusterComputeResource, r *types.ReconfigureComputeResource_Task,
) *failure {
	spec, ok := r.Spec.(*types.ClusterConfigSpecEx)
	if !ok {
		return invalidArgument("spec", "A specified parameter was not correct: spec")
	}
	// What is written to the copy counts only when all of it fits.
	var config types.ClusterConfigInfoEx
	ctx.WithLock(cluster, func() { config = *cluster.ConfigurationEx.(*types.ClusterConfigInfoEx) })
	for number, change := range spec.DrsVmConfigSpec {
		if failed := l.overrideDrs(&config, change); failed != nil {
			return named("drsVmConfigSpec", number, failed)
		}
	}
	for number, change := range spec.DasVmConfigSpec {
		if failed := l.overrideDas(&config, change); failed != nil {
			return named("dasVmConfigSpec", number, failed)
		}
	}
	rest := *spec
	rest.DrsVmConfigSpec, rest.DasVmConfigSpec = nil, nil
	body := cluster.ReconfigureComputeResourceTask(ctx, &types.ReconfigureComputeResource_Task{
		This: r.This, Spec: &rest, Modify: r.Modify,
	})
	if _, failed := l.inner(ctx, body.(*methods.ReconfigureComputeResource_TaskBody).Res.Returnval); failed != nil {
		return failed
	}
	l.showOverrides(ctx, cluster, config.DrsVmConfig, config.DasVmConfig)
	return nil
}

func named(list string, number int, failed *failure) *failure {
	property := fmt.Sprintf("spec.%s[%d]%s", list, number, failed.message)
	return invalidArgument(property, "A specified parameter was not correct: "+property)
}

func (l *lab) showOverrides(
	ctx *simulator.Context, cluster *simulator.ClusterComputeResource,
	drs []types.ClusterDrsVmConfigInfo, das []types.ClusterDasVmConfigInfo,
) {
	ctx.WithLock(cluster, func() {
		config := *cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
		config.DrsVmConfig, config.DasVmConfig = drs, das
		ctx.Update(cluster, []types.PropertyChange{{Name: "configurationEx", Val: &config}})
	})
}

// place finds where a change goes; the message of its failure is the property that is wrong.
func (l *lab) place(
	change types.ArrayUpdateSpec, key types.ManagedObjectReference, at func(types.ManagedObjectReference) int,
) (int, *failure) {
	if change.Operation == types.ArrayUpdateOperationRemove {
		ref, _ := change.RemoveKey.(types.ManagedObjectReference)
		if at(ref) < 0 {
			return 0, &failure{message: ".removeKey"}
		}
		return at(ref), nil
	}
	_, isVM := l.registry.Get(key).(*simulator.VirtualMachine)
	if !isVM || change.Operation == types.ArrayUpdateOperationEdit && at(key) < 0 {
		return 0, &failure{message: ".info.key"}
	}
	return at(key), nil
}

func (l *lab) overrideDrs(config *types.ClusterConfigInfoEx, change types.ClusterDrsVmConfigSpec) *failure {
	var info types.ClusterDrsVmConfigInfo
	if change.Info != nil {
		info = *change.Info
	}
	at, failed := l.place(change.ArrayUpdateSpec, info.Key, func(vm types.ManagedObjectReference) int {
		return slices.IndexFunc(config.DrsVmConfig, func(o types.ClusterDrsVmConfigInfo) bool { return o.Key == vm })
	})
	if failed != nil {
		return failed
	}
	config.DrsVmConfig = slices.Clone(config.DrsVmConfig)
	switch change.Operation {
	case types.ArrayUpdateOperationAdd: // in place of an entry that is there
		if at >= 0 {
			config.DrsVmConfig = slices.Delete(config.DrsVmConfig, at, at+1)
		}
		config.DrsVmConfig = append(config.DrsVmConfig, info)
	case types.ArrayUpdateOperationRemove:
		config.DrsVmConfig = slices.Delete(config.DrsVmConfig, at, at+1)
	default: // what an edit leaves out stays as it is
		entry := &config.DrsVmConfig[at]
		if info.Enabled != nil {
			entry.Enabled = info.Enabled
		}
		if info.Behavior != "" {
			entry.Behavior = info.Behavior
		}
	}
	return nil
}

func (l *lab) overrideDas(config *types.ClusterConfigInfoEx, change types.ClusterDasVmConfigSpec) *failure {
	var info types.ClusterDasVmConfigInfo
	if change.Info != nil {
		info = *change.Info
	}
	at, failed := l.place(change.ArrayUpdateSpec, info.Key, func(vm types.ManagedObjectReference) int {
		return slices.IndexFunc(config.DasVmConfig, func(o types.ClusterDasVmConfigInfo) bool { return o.Key == vm })
	})
	if failed != nil {
		return failed
	}
	config.DasVmConfig = slices.Clone(config.DasVmConfig)
	switch change.Operation {
	case types.ArrayUpdateOperationAdd:
		if at >= 0 {
			config.DasVmConfig = slices.Delete(config.DasVmConfig, at, at+1)
		}
		config.DasVmConfig = append(config.DasVmConfig, info)
	case types.ArrayUpdateOperationRemove:
		config.DasVmConfig = slices.Delete(config.DasVmConfig, at, at+1)
	default:
		config.DasVmConfig[at].DasSettings = mergeDas(config.DasVmConfig[at].DasSettings, info.DasSettings)
	}
	return nil
}

func mergeDas(has, wish *types.ClusterDasVmSettings) *types.ClusterDasVmSettings {
	if has == nil || wish == nil {
		if wish == nil {
			return has
		}
		return wish
	}
	merged := *has
	if wish.RestartPriority != "" {
		merged.RestartPriority = wish.RestartPriority
	}
	if wish.RestartPriorityTimeout != 0 {
		merged.RestartPriorityTimeout = wish.RestartPriorityTimeout
	}
	if wish.IsolationResponse != "" {
		merged.IsolationResponse = wish.IsolationResponse
	}
	if wish.VmToolsMonitoringSettings != nil {
		merged.VmToolsMonitoringSettings = wish.VmToolsMonitoringSettings
	}
	if wish.VmComponentProtectionSettings != nil {
		merged.VmComponentProtectionSettings = wish.VmComponentProtectionSettings
	}
	return &merged
}

// dropOverrides takes a removed VM out of its cluster's lists.
func (l *lab) dropOverrides(ctx *simulator.Context, vm types.ManagedObjectReference) {
	cluster, ok := l.registry.Get(l.places.cluster).(*simulator.ClusterComputeResource)
	if !ok {
		return
	}
	l.overriding.Lock()
	defer l.overriding.Unlock()
	var drs []types.ClusterDrsVmConfigInfo
	var das []types.ClusterDasVmConfigInfo
	has := 0
	ctx.WithLock(cluster, func() {
		config := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
		drs, das = slices.Clone(config.DrsVmConfig), slices.Clone(config.DasVmConfig)
		has = len(drs) + len(das)
	})
	drs = slices.DeleteFunc(drs, func(o types.ClusterDrsVmConfigInfo) bool { return o.Key == vm })
	das = slices.DeleteFunc(das, func(o types.ClusterDasVmConfigInfo) bool { return o.Key == vm })
	if len(drs)+len(das) < has {
		l.showOverrides(ctx, cluster, drs, das)
	}
}
