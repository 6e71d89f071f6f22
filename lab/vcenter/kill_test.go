// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/types"
)

const programArguments = "VCENTER_TEST_ARGUMENTS"

// TestMain lets the test's own binary be the program, so that one can be killed.
func TestMain(m *testing.M) {
	if text := os.Getenv(programArguments); text != "" {
		var arguments []string
		if err := json.Unmarshal([]byte(text), &arguments); err != nil {
			panic(err)
		}
		os.Args = append(os.Args[:1], arguments...)
		main()
		return
	}
	os.Exit(m.Run())
}

// program starts the vCenter as a process of its own, and logs in.
func program(t *testing.T, o options) (*exec.Cmd, *find.Finder) {
	t.Helper()
	_ = os.Remove(o.ready)
	arguments, err := json.Marshal([]string{
		"-cert", o.cert, "-key", o.key, "-password-file", o.passwordFile, "-inventory", o.inventory, "-work", o.work,
		"-ready", o.ready, "-keep", o.keep,
	})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), programArguments+"="+string(arguments))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	var ready struct{ Address string }
	for deadline := time.Now().Add(20 * time.Second); ready.Address == ""; time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(o.ready); err == nil && json.Unmarshal(text, &ready) != nil || time.Now().After(deadline) {
			t.Fatal("the program does not start")
		}
	}
	address := &url.URL{Scheme: "https", Host: ready.Address, Path: "/sdk", User: url.UserPassword(testUser, testPassword)}
	client, err := govmomi.NewClient(context.Background(), address, true)
	if err != nil {
		t.Fatal(err)
	}
	return command, find.NewFinder(client.Client)
}

func TestTheProgramFindsItsVMsAfterAKill(t *testing.T) {
	o := testOptions(t)
	o.keep = t.TempDir()
	ctx := context.Background()
	command, finder := program(t, o)
	source, err := finder.VirtualMachine(ctx, "/DC0/vm/nano-banana/"+baseline)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := finder.Folder(ctx, "/DC0/vm/nano-banana")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := finder.ResourcePool(ctx, "/DC0/host/gpu-cluster/Resources")
	if err != nil {
		t.Fatal(err)
	}
	spec := types.VirtualMachineCloneSpec{PowerOn: true}
	spec.Location.Pool = types.NewReference(pool.Reference())
	task, err := source.Clone(ctx, folder, "survivor", spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	// At once: nothing may be written later than the task ends.
	_ = command.Process.Kill()
	_ = command.Wait()

	_, finder = program(t, o)
	vm, err := finder.VirtualMachine(ctx, "/DC0/vm/nano-banana/survivor")
	if err != nil {
		t.Fatal(err)
	}
	if state, err := vm.PowerState(ctx); err != nil || state != poweredOff {
		t.Errorf("it is %s (%v)", state, err)
	}
	on, err := vm.PowerOn(ctx)
	if err == nil {
		err = on.Wait(ctx)
	}
	if err != nil {
		t.Error(err)
	}
}
