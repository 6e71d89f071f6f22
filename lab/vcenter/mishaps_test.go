// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func startTroubledLab(t *testing.T, settings string) *testLab {
	t.Helper()
	return startLab(t, func(o *options) {
		o.faults = strings.TrimSuffix(o.inventory, "inventory.json") + "faults.json"
		writeFile(t, o.faults, settings)
	})
}

func (tl *testLab) task(task *object.Task) mo.Task {
	tl.t.Helper()
	var found mo.Task
	if err := task.Properties(context.Background(), task.Reference(), []string{"info"}, &found); err != nil {
		tl.t.Fatal(err)
	}
	return found
}

func TestANinthCloneOfOneSourceWaitsInTheQueue(t *testing.T) {
	tl := startTroubledLab(t, `{"delays":{"CloneVM_Task":"0.6s"}}`)
	var tasks []*object.Task
	begin := time.Now()
	for i := range 9 {
		tasks = append(tasks, tl.startClone(fmt.Sprintf("clone-%d", i), nil))
	}
	states := map[types.TaskInfoState]int{}
	eventually(t, "eight run", func() bool {
		states = map[types.TaskInfoState]int{}
		for _, task := range tasks {
			states[tl.task(task).Info.State]++
		}
		return states[types.TaskInfoStateRunning] == 8
	})
	if states[types.TaskInfoStateQueued] != 1 {
		t.Errorf("states are %v, expected one that is queued", states)
	}
	for _, task := range tasks {
		tl.must(task, nil)
	}
	if took := time.Since(begin); took < 1200*time.Millisecond {
		t.Errorf("nine clones took %s, expected two rounds of 0.6 s", took)
	}
}

func TestEachMethodHasItsOwnDelay(t *testing.T) {
	tl := startTroubledLab(t, `{"delays":{"ReconfigVM_Task":"0.2s","PowerOnVM_Task":"0.3s","PowerOffVM_Task":"0.1s"},"clones_at_once":1}`)
	vm := tl.clone("slow", nil)
	for what, c := range map[string]struct {
		do   func() (*object.Task, error)
		wait time.Duration
	}{
		"reconfigure": {func() (*object.Task, error) {
			return tl.reconfigure(vm, types.VirtualMachineConfigSpec{Annotation: "x"}), nil
		}, 200},
		"power on": {func() (*object.Task, error) { return vm.PowerOn(context.Background()) }, 300},
	} {
		begin := time.Now()
		tl.must(c.do())
		if took := time.Since(begin); took < c.wait*time.Millisecond {
			t.Errorf("%s took %s, expected %d ms", what, took, c.wait)
		}
	}
	begin := time.Now()
	tl.must(vm.PowerOff(context.Background()))
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("power off took %s", took)
	}
}

func TestRandomFaultsAreTheSameForTheSameSeed(t *testing.T) {
	draw := func(seed uint64, names []string) string {
		m := newMishaps(mishapSettings{Random: randomSettings{Seed: seed, Rate: 0.3, Methods: []string{"CloneVM_Task"}}})
		drawn := map[string]string{}
		for _, name := range names {
			for range 3 {
				drawn[name] += m.chosen("CloneVM_Task", name) + ","
			}
		}
		return fmt.Sprint(drawn)
	}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	backwards := []string{"h", "g", "f", "e", "d", "c", "b", "a"}
	if one, two := draw(7, names), draw(7, backwards); one != two {
		t.Errorf("the order of calls matters: %s and %s", one, two)
	}
	if one, two := draw(7, names), draw(8, names); one == two {
		t.Error("another seed draws the same")
	}
	m := newMishaps(mishapSettings{Random: randomSettings{Seed: 1, Rate: 0.05}})
	struck := 0
	for i := range 4000 {
		if m.chosen("PowerOnVM_Task", fmt.Sprint(i)) != "" {
			struck++
		}
	}
	if struck < 140 || struck > 260 {
		t.Errorf("%d of 4000 struck, expected about 200", struck)
	}
	if m.chosen("QueryConfigTarget", "x") != "" {
		t.Error("a read was struck")
	}
}

func TestARandomFaultEndsTheTaskAndChangesNothing(t *testing.T) {
	tl := startTroubledLab(t, `{"random":{"seed":7,"rate":1,"methods":["CloneVM_Task"],"faults":["TaskInProgress"]}}`)
	task := tl.startClone("struck", nil)
	found, message := tl.fault(task, nil)
	struck, ok := found.(*types.TaskInProgress)
	if !ok || struck.Task != task.Reference() || !strings.Contains(message, "already in progress") {
		t.Errorf("got %#v %s", found, message)
	}
	if _, err := tl.finder.VirtualMachine(context.Background(), "struck"); err == nil {
		t.Error("the VM is there")
	}
}

func TestOneVMIsRefusedAsTheSettingsSay(t *testing.T) {
	tl := startTroubledLab(t, `{"refuse":[{"vm":"bad-*","method":"CloneVM_Task","fault":"NoDiskSpace"},
		{"vm":"twice","method":"CloneVM_Task","fault":"HostNotConnected","times":2}]}`)
	for range 2 {
		found, _ := tl.fault(tl.startClone("bad-1", nil), nil)
		if full, ok := found.(*types.NoDiskSpace); !ok || full.Datastore != "vmfs-01" {
			t.Errorf("got %#v", found)
		}
		if found, _ := tl.fault(tl.startClone("twice", nil), nil); !is[*types.HostNotConnected](found) {
			t.Errorf("got %#v", found)
		}
	}
	tl.clone("twice", nil)
	tl.clone("good", nil)
}

func TestAnExpiredSessionMustLogInAgain(t *testing.T) {
	tl := startTroubledLab(t, `{"sessions":{"expire_after_calls":25,"rest_expire_after_calls":3,"times":1}}`)
	ctx := context.Background()
	calls := 0
	var err error
	for ; calls < 50 && err == nil; calls++ {
		_, err = methods.GetCurrentTime(ctx, tl.client)
		if err == nil {
			var folder mo.Folder
			err = object.NewCommon(tl.client, tl.lab.places.folder).Properties(ctx, tl.lab.places.folder, []string{"name"}, &folder)
		}
	}
	if !fault.Is(err, &types.NotAuthenticated{}) {
		t.Fatalf("after %d calls: %v, expected NotAuthenticated", calls, err)
	}
	if err := session.NewManager(tl.client).Login(ctx, tl.userInfo()); err != nil {
		t.Fatalf("a new login with the old cookie: %v", err)
	}
	for range 40 {
		var folder mo.Folder
		if err := object.NewCommon(tl.client, tl.lab.places.folder).Properties(ctx, tl.lab.places.folder, []string{"name"}, &folder); err != nil {
			t.Fatalf("times is 1, yet: %v", err)
		}
	}
	token := tl.restSession()
	var codes []int
	for range 4 {
		code, _ := tl.ask("GET", "/api/content/library", token, "")
		codes = append(codes, code)
	}
	if fmt.Sprint(codes) != "[200 200 200 401]" {
		t.Errorf("REST answered %v", codes)
	}
	if code, _ := tl.ask("GET", "/api/content/library", tl.restSession(), ""); code != http.StatusOK {
		t.Errorf("after a new REST login: %d", code)
	}
}

func TestALostConnectionLeavesTheClientWithoutAnAnswer(t *testing.T) {
	for _, executed := range []bool{false, true} {
		tl := startTroubledLab(t, fmt.Sprintf(
			`{"drop_connection":{"after_calls":1,"methods":["CloneVM_Task"],"executed":%v}}`, executed))
		spec := types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &tl.lab.places.pool}}
		folder := object.NewFolder(tl.client, tl.lab.places.folder)
		_, err := tl.template(baseline).Clone(context.Background(), folder, "lost", spec)
		if err == nil || soap.IsSoapFault(err) {
			t.Fatalf("got %v, expected a lost connection", err)
		}
		if executed {
			eventually(t, "the clone that nobody heard of", func() bool {
				_, err := tl.finder.VirtualMachine(context.Background(), "lost")
				return err == nil
			})
			continue
		}
		tl.clone("lost", nil)
	}
}

func TestMishapSettingsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`{"dealys":{}}`:                 "dealys",
		`{"delays":{"CloneVM_Task":2}}`: "expected a text",
		`{"delays":{"CloneVM":"2s"}}`:   `"CloneVM" is no method`,
		`{"random":{"rate":5}}`:         "expected 0 to 1",
		`{"random":{"faults":["Bad"]}}`: `"Bad" is no fault`,
		`{"refuse":[{"vm":"","method":"CloneVM_Task","fault":"NoDiskSpace"}]}`: "refuse.vm",
		`{"clones_at_once":-1}`: "expected 1 or more",
	} {
		path := t.TempDir() + "/faults.json"
		writeFile(t, path, text)
		if _, err := readMishaps(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected it to name %q", text, err, want)
		}
	}
}
