// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// listener stands between the registry and a property collector that a client waits with. The simulator hands every
// collector every change of the whole inventory and then reads all objects of all its filters once for each of them: a
// cost that grows with the square of what is under way and that no vCenter has. A collector whose filters name objects,
// or lists of tasks and VMs, hears of those only; any other hears of everything, as before.
type listener struct {
	*simulator.PropertyCollector
	filters    []types.ManagedObjectReference
	everything bool
	kinds      map[string]bool
	objects    map[types.ManagedObjectReference]bool
}

func (l *listener) hears(ref types.ManagedObjectReference) bool {
	return l.everything || l.kinds[ref.Type] || l.objects[ref]
}

// PutObject matters where a traversal may reach the new object; a list and a name do not find objects by themselves.
func (l *listener) PutObject(ctx *simulator.Context, object mo.Reference) {
	if l.everything {
		l.PropertyCollector.PutObject(ctx, object)
	}
}

func (l *listener) UpdateObject(ctx *simulator.Context, object mo.Reference, changes []types.PropertyChange) {
	if l.hears(object.Reference()) {
		l.PropertyCollector.UpdateObject(ctx, object, changes)
	}
}

func (l *listener) RemoveObject(ctx *simulator.Context, ref types.ManagedObjectReference) {
	if l.hears(ref) {
		l.PropertyCollector.RemoveObject(ctx, ref)
	}
}

// include widens what is heard by what a filter is about.
func (l *listener) include(spec types.PropertyFilterSpec) {
	for _, set := range spec.ObjectSet {
		l.objects[set.Obj] = true
		l.everything = l.everything || (len(set.SelectSet) > 0 && set.Obj.Type != "ListView")
	}
	for _, set := range spec.PropSet {
		listed := slices.ContainsFunc(spec.ObjectSet, func(o types.ObjectSpec) bool { return o.Obj.Type == "ListView" })
		l.kinds[set.Type] = l.kinds[set.Type] || listed
		l.everything = l.everything || (listed && set.Type != "Task" && set.Type != "VirtualMachine")
	}
}

// listen puts a listener before the collector of each WaitForUpdatesEx after its first. A filter that came since then is
// read at once: the simulator would read it only when something else happens.
func (l *lab) listen(ctx *simulator.Context, method *simulator.Method) {
	if method.Name == "DestroyPropertyCollector" {
		l.listeners.Delete(method.This)
	}
	request, ok := method.Body.(*types.WaitForUpdatesEx)
	if !ok || request.Version == "" {
		return
	}
	collector, ok := ctx.Session.Get(method.This).(*simulator.PropertyCollector)
	if !ok {
		return
	}
	ctx.WithLock(collector, func() {
		filters := slices.Clone(collector.Filter)
		if known, ok := l.listeners.Load(method.This); ok && slices.Equal(known.(*listener).filters, filters) {
			return
		}
		own := &listener{
			PropertyCollector: collector, filters: filters,
			kinds: map[string]bool{}, objects: map[types.ManagedObjectReference]bool{},
		}
		for _, ref := range filters {
			if filter, ok := ctx.Session.Get(ref).(*simulator.PropertyFilter); ok {
				own.include(filter.Spec)
			}
		}
		l.listeners.Store(method.This, own)
		l.registry.AddHandler(own)
		collector.UpdateObject(ctx, collector, nil)
	})
}
