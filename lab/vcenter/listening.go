// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// listener answers WaitForUpdatesEx for a collector whose filters name objects, or lists of them. The simulator hands every
// collector every change of the whole inventory and reads all objects of all its filters once for each of them: a cost
// that grows with the square of what is under way and that no vCenter has. This one reads what has changed. Collectors
// with any other filter are the simulator's, as before.
type listener struct {
	call  sync.Mutex // one wait at a time, as in vCenter
	shown map[types.ManagedObjectReference]shownObjects
	turn  int

	mutex    sync.Mutex
	watched  map[types.ManagedObjectReference]bool
	changed  map[types.ManagedObjectReference]bool
	removed  []types.ManagedObjectReference // from a list since the last answer: who joins it again is new
	woken    chan struct{}
	canceled chan struct{}
}

// shownObjects are one filter's objects with the properties that the client knows.
type shownObjects map[types.ManagedObjectReference]map[string]types.AnyType

// gatherFor is how long changes gather after the first: one answer then tells of all that end together.
const gatherFor = 8 * time.Millisecond

const versionPrefix = "lab-"

func newListener() *listener {
	return &listener{
		shown: map[types.ManagedObjectReference]shownObjects{}, changed: map[types.ManagedObjectReference]bool{},
		woken: make(chan struct{}, 1), canceled: make(chan struct{}, 1),
	}
}

// listen decides who answers a collector's call.
func (l *lab) listen(ctx *simulator.Context, method *simulator.Method) {
	if known, ok := l.listeners.Load(method.This); ok &&
		(method.Name == "CancelWaitForUpdates" || method.Name == "DestroyPropertyCollector") {
		wake(known.(*listener).canceled)
		if method.Name == "DestroyPropertyCollector" {
			l.listeners.Delete(method.This)
		}
	}
	if modify, ok := method.Body.(*types.ModifyListView); ok {
		l.noteRemoved(modify.Remove)
	}
	request, ok := method.Body.(*types.WaitForUpdatesEx)
	if !ok {
		return
	}
	collector, ok := ctx.Session.Get(method.This).(*simulator.PropertyCollector)
	if !ok {
		return
	}
	if plainFilters(ctx, collector) {
		l.listeners.LoadOrStore(method.This, newListener())
		method.This = deskRef
	} else if strings.HasPrefix(request.Version, versionPrefix) { // a filter of another kind came later
		l.registry.AddHandler(collector)
	}
}

// plainFilters says whether the collector has filters, and all of them name objects or lists of tasks and VMs.
func plainFilters(ctx *simulator.Context, collector *simulator.PropertyCollector) bool {
	var filters []types.ManagedObjectReference
	ctx.WithLock(collector, func() { filters = slices.Clone(collector.Filter) })
	for _, ref := range filters {
		filter, ok := ctx.Session.Get(ref).(*simulator.PropertyFilter)
		if !ok || slices.ContainsFunc(filter.Spec.ObjectSet, func(o types.ObjectSpec) bool {
			return len(o.SelectSet) > 0 && o.Obj.Type != "ListView"
		}) || slices.ContainsFunc(filter.Spec.PropSet, func(p types.PropertySpec) bool {
			return p.Type != "Task" && p.Type != "VirtualMachine"
		}) {
			return false
		}
	}
	return len(filters) > 0
}

// noteChange wakes whoever watches the object. The caller may hold the object's lock.
func (l *lab) noteChange(ref types.ManagedObjectReference) {
	l.listeners.Range(func(_, known any) bool {
		own := known.(*listener)
		own.mutex.Lock()
		defer own.mutex.Unlock()
		if own.watched[ref] {
			own.changed[ref] = true
			wake(own.woken)
		}
		return true
	})
}

func (l *lab) noteRemoved(refs []types.ManagedObjectReference) {
	l.listeners.Range(func(_, known any) bool {
		own := known.(*listener)
		own.mutex.Lock()
		defer own.mutex.Unlock()
		own.removed = append(own.removed, refs...)
		return true
	})
}

func wake(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

func (d *desk) WaitForUpdatesEx(ctx *simulator.Context, r *types.WaitForUpdatesEx) soap.HasFault {
	known, ok := d.listeners.Load(r.This)
	collector, isCollector := ctx.Session.Get(r.This).(*simulator.PropertyCollector)
	if !ok || !isCollector {
		return &methods.WaitForUpdatesExBody{Fault_: notFound(r.This).soap()}
	}
	own := known.(*listener)
	own.call.Lock()
	defer own.call.Unlock()
	if r.Version == "" {
		clear(own.shown)
	}
	var end <-chan time.Time
	once := false
	if r.Options != nil && r.Options.MaxWaitSeconds != nil {
		end = time.After(time.Duration(*r.Options.MaxWaitSeconds) * time.Second)
		once = *r.Options.MaxWaitSeconds == 0
	}
	for {
		updates := own.collect(ctx, collector)
		if len(updates) > 0 || r.Version == "" {
			own.turn++
			return &methods.WaitForUpdatesExBody{Res: &types.WaitForUpdatesExResponse{Returnval: &types.UpdateSet{
				Version: versionPrefix + strconv.Itoa(own.turn), FilterSet: updates,
			}}}
		}
		if once {
			return &methods.WaitForUpdatesExBody{Res: &types.WaitForUpdatesExResponse{}}
		}
		select {
		case <-own.woken:
			time.Sleep(gatherFor)
		case <-own.canceled:
			return &methods.WaitForUpdatesExBody{Fault_: (&failure{&types.RequestCanceled{}, "The request was canceled."}).soap()}
		case <-end:
			return &methods.WaitForUpdatesExBody{Res: &types.WaitForUpdatesExResponse{}}
		}
	}
}

// collect tells what the client does not know yet, by filter.
func (own *listener) collect(ctx *simulator.Context, collector *simulator.PropertyCollector) []types.PropertyFilterUpdate {
	members, lists := map[types.ManagedObjectReference][]types.ManagedObjectReference{}, []types.ManagedObjectReference{}
	for _, ref := range collector.Filter {
		if filter, ok := ctx.Session.Get(ref).(*simulator.PropertyFilter); ok {
			members[ref] = membersOf(ctx, filter.Spec)
			for _, set := range filter.Spec.ObjectSet {
				lists = append(lists, set.Obj)
			}
		}
	}
	changed, removed := own.watch(lists, members)
	var updates []types.PropertyFilterUpdate
	for _, ref := range collector.Filter {
		filter, ok := ctx.Session.Get(ref).(*simulator.PropertyFilter)
		if !ok {
			continue
		}
		if own.shown[ref] == nil {
			own.shown[ref] = shownObjects{}
		}
		known := own.shown[ref]
		for _, object := range removed {
			if slices.Contains(members[ref], object) {
				delete(known, object)
			}
		}
		if told := known.update(ctx, collector, filter.Spec, members[ref], changed); len(told) > 0 {
			updates = append(updates, types.PropertyFilterUpdate{Filter: ref, ObjectSet: told})
		}
	}
	return updates
}

// watch names what wakes the listener from now on, and takes what has changed until now.
func (own *listener) watch(
	lists []types.ManagedObjectReference, members map[types.ManagedObjectReference][]types.ManagedObjectReference,
) (changed map[types.ManagedObjectReference]bool, removed []types.ManagedObjectReference) {
	own.mutex.Lock()
	defer own.mutex.Unlock()
	own.watched = map[types.ManagedObjectReference]bool{}
	for _, refs := range members {
		for _, ref := range refs {
			own.watched[ref] = true
		}
	}
	for _, ref := range lists {
		own.watched[ref] = true
	}
	changed, removed = own.changed, own.removed
	own.changed, own.removed = map[types.ManagedObjectReference]bool{}, nil
	return changed, removed
}

func membersOf(ctx *simulator.Context, spec types.PropertyFilterSpec) []types.ManagedObjectReference {
	var members []types.ManagedObjectReference
	for _, set := range spec.ObjectSet {
		if len(set.SelectSet) == 0 {
			members = append(members, set.Obj)
		} else if view, ok := ctx.Session.Get(set.Obj).(*simulator.ListView); ok {
			ctx.WithLock(view, func() { members = append(members, view.View...) })
		}
	}
	return members
}

func (shown shownObjects) update(
	ctx *simulator.Context, collector *simulator.PropertyCollector, spec types.PropertyFilterSpec,
	members []types.ManagedObjectReference, changed map[types.ManagedObjectReference]bool,
) []types.ObjectUpdate {
	var updates []types.ObjectUpdate
	request := types.PropertyFilterSpec{PropSet: spec.PropSet, ReportMissingObjectsInResults: types.NewBool(true)}
	present := map[types.ManagedObjectReference]bool{}
	for _, ref := range members {
		if ctx.Session.Get(ref) == nil {
			continue
		}
		present[ref] = true
		if shown[ref] == nil || changed[ref] {
			request.ObjectSet = append(request.ObjectSet, types.ObjectSpec{Obj: ref})
		}
	}
	for ref := range shown {
		if !present[ref] {
			delete(shown, ref)
			updates = append(updates, types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: ref})
		}
	}
	if len(request.ObjectSet) == 0 {
		return updates
	}
	answer := collector.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{SpecSet: []types.PropertyFilterSpec{request}})
	body, ok := answer.(*methods.RetrievePropertiesExBody)
	if !ok || body.Res == nil || body.Res.Returnval == nil {
		return updates
	}
	for _, object := range body.Res.Returnval.Objects {
		kind := types.ObjectUpdateKindModify
		if shown[object.Obj] == nil {
			kind, shown[object.Obj] = types.ObjectUpdateKindEnter, map[string]types.AnyType{}
		}
		if changes := news(shown[object.Obj], object.PropSet); len(changes) > 0 || kind == types.ObjectUpdateKindEnter {
			updates = append(updates, types.ObjectUpdate{Kind: kind, Obj: object.Obj, ChangeSet: changes})
		}
	}
	return updates
}

// news are the properties that differ from what is known, which it brings up to date.
func news(known map[string]types.AnyType, properties []types.DynamicProperty) []types.PropertyChange {
	var changes []types.PropertyChange
	for _, property := range properties {
		if value, ok := known[property.Name]; !ok || !reflect.DeepEqual(value, property.Val) {
			known[property.Name] = property.Val
			changes = append(changes, types.PropertyChange{
				Name: property.Name, Op: types.PropertyChangeOpAssign, Val: property.Val,
			})
		}
	}
	return changes
}
