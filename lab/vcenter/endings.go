// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// endings tells at once when a task of the simulator's own has ended. The simulator's Task.Wait looks every 10 ms, four
// times for each clone: most of what a clone took.
type endings struct{ waiting sync.Map } // by task: a channel

const lookAgain = 100 * time.Millisecond // should a change ever pass the registry's handlers by

func (e *endings) noteUpdate(ref types.ManagedObjectReference) {
	if ref.Type != "Task" {
		return
	}
	if woken, ok := e.waiting.Load(ref); ok {
		select {
		case woken.(chan struct{}) <- struct{}{}:
		default:
		}
	}
}

func (e *endings) wait(registry *simulator.Registry, task *simulator.Task) {
	woken := make(chan struct{}, 1)
	e.waiting.Store(task.Self, woken)
	defer e.waiting.Delete(task.Self)
	for !ended(registry, task) {
		select {
		case <-woken:
		case <-time.After(lookAgain):
		}
	}
}

// ended takes the task's lock with a context of its own: whoever executes the task needs the caller's.
func ended(registry *simulator.Registry, task *simulator.Task) (done bool) {
	registry.WithLock(&simulator.Context{}, task, func() {
		state := task.Info.State
		done = state == types.TaskInfoStateSuccess || state == types.TaskInfoStateError
	})
	return done
}
