// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"log"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// taskNumbers start far above the simulator's own counter, with which they share the form task-N.
type taskNumbers struct{ last atomic.Int64 }

func (n *taskNumbers) next() string { return fmt.Sprintf("task-%d", 1_000_000+n.last.Add(1)) }

type taskWork func(*simulator.Context) (types.AnyType, *failure)

// startTask is startTaskFor for a task on a VM that exists.
func (l *lab) startTask(ctx *simulator.Context, entity mo.Entity, method string, work taskWork) types.ManagedObjectReference {
	return l.startTaskFor(ctx, entity, method, "", work)
}

// startTaskFor runs work beside the call and reports its end in a vCenter task. The simulator's own Task.Run would hold
// the entity's lock all the while, so that nobody could read a VM that waits for its guest. name is that of the VM which
// the task will make, "" where the entity is the VM.
func (l *lab) startTaskFor(
	ctx *simulator.Context, entity mo.Entity, method, name string, work taskWork,
) types.ManagedObjectReference {
	ctx = fork(ctx)
	task := simulator.CreateTask(entity, method, nil)
	task.Self = types.ManagedObjectReference{Type: "Task", Value: l.tasks.next()}
	task.Info.Key, task.Info.Task, task.Info.Name = task.Self.Value, task.Self, method
	task.Info.Reason = &types.TaskReasonUser{UserName: ctx.Session.UserName}
	task.Info.State = types.TaskInfoStateQueued
	ctx.WithLock(entity, func() {
		task.Info.EntityName = entity.Entity().Name
		if name == "" {
			name = entity.Entity().Name
		}
		ctx.Map.Put(task)
	})
	go func() {
		if method == "CloneVM_Task" {
			defer l.mishaps.queue(entity.Reference())()
		}
		ctx.Map.AtomicUpdate(ctx, task, []types.PropertyChange{
			{Name: "info.startTime", Val: time.Now()}, {Name: "info.state", Val: types.TaskInfoStateRunning},
		})
		result, failed := guarded(method, func() (types.AnyType, *failure) {
			if failed := l.mishaps.strike(method, name, task.Self, l.inventory.Datastore.Name); failed != nil {
				return nil, failed
			}
			if !pausesItself[method] {
				l.mishaps.pause(method)
			}
			return work(ctx)
		})
		changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
		if failed != nil {
			changes = append(changes,
				types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{
					Fault: failed.fault, LocalizedMessage: failed.message,
				}},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
			log.Printf("%s %s: %T: %s", method, entity.Reference().Value, failed.fault, failed.message)
		} else {
			changes = append(changes,
				types.PropertyChange{Name: "info.result", Val: result},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
		}
		ctx.Map.AtomicUpdate(ctx, task, changes)
	}()
	return task.Self
}

// pausesItself are the methods whose delay counts from the moment when it is their turn with the VM.
var pausesItself = set("CloneVM_Task", "PowerOnVM_Task", "ReconfigVM_Task", "ImportVApp")

// guarded turns a panic of the simulator, which casts what a client sent without asking, into a failed task: one bad call
// must not end the lab with all its guests.
func guarded(method string, work func() (types.AnyType, *failure)) (result types.AnyType, failed *failure) {
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("%s: panic: %v\n%s", method, reason, debug.Stack())
			failed = systemError(fmt.Sprintf("bug in the lab's vCenter: %v; see the lab's vcenter.log", reason))
		}
	}()
	return work()
}

// inner waits for a task of the simulator's own, takes it off the lists that clients see, and gives its result.
func (l *lab) inner(ctx *simulator.Context, ref types.ManagedObjectReference) (types.AnyType, *failure) {
	task := l.registry.Get(ref).(*simulator.Task)
	l.endings.wait(l.registry, task)
	without := func(tasks []types.ManagedObjectReference) []types.PropertyChange {
		kept := slices.DeleteFunc(slices.Clone(tasks), func(other types.ManagedObjectReference) bool { return other == ref })
		return []types.PropertyChange{{Name: "recentTask", Val: kept}}
	}
	if entity, ok := l.registry.Get(*task.Info.Entity).(mo.Entity); ok {
		ctx.WithLock(entity, func() { ctx.Update(entity, without(entity.Entity().RecentTask)) })
	}
	manager := l.registry.Get(*vpx.ServiceContent.TaskManager).(*simulator.TaskManager)
	manager.Lock()
	ctx.Update(manager, without(manager.RecentTask))
	manager.Unlock()
	if task.Info.Error == nil {
		return task.Info.Result, nil
	}
	return nil, fromSimulator(task.Info.Error.Fault)
}
