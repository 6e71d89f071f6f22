// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

func TestMergeExtraConfig(t *testing.T) {
	options := func(text string) (list []types.BaseOptionValue) {
		for _, pair := range strings.Fields(text) {
			key, value, _ := strings.Cut(pair, "=")
			list = append(list, &types.OptionValue{Key: key, Value: value})
		}
		return list
	}
	cases := []struct{ name, old, change, want string }{
		{"sets", "", "a=1", "a=1"},
		{"replaces in place", "a=1 b=2", "a=3", "a=3 b=2"},
		{"removes by empty value", "a=1 b=2", "a=", "b=2"},
		{"removing what is not there changes nothing", "a=1", "b=", "a=1"},
		{"keeps the simulator's orders as plain keys", "", "SET.guest.ipAddress=1.2.3.4 RUN.container=x",
			"SET.guest.ipAddress=1.2.3.4 RUN.container=x"},
	}
	for _, c := range cases {
		var got []string
		for _, option := range mergeExtraConfig(options(c.old), options(c.change)) {
			got = append(got, option.GetOptionValue().Key+"="+option.GetOptionValue().Value.(string))
		}
		if joined := strings.Join(got, " "); joined != c.want {
			t.Errorf("%s: got %q, expected %q", c.name, joined, c.want)
		}
	}
	numbers := []types.BaseOptionValue{&types.OptionValue{Key: "n", Value: int32(7)}}
	if got := mergeExtraConfig(nil, numbers)[0].GetOptionValue().Value; got != "7" {
		t.Errorf("a number is kept as %#v, expected the string 7", got)
	}
}

func TestMemoryLedgerHoldsOneReservationForEachVM(t *testing.T) {
	ref := func(kind, value string) types.ManagedObjectReference {
		return types.ManagedObjectReference{Type: kind, Value: value}
	}
	host, a, b := ref("HostSystem", "h"), ref("VirtualMachine", "a"), ref("VirtualMachine", "b")
	var ledger memoryLedger
	ledger.add(host, 100)
	steps := []struct {
		vm   types.ManagedObjectReference
		mb   int64
		ok   bool
		free int64
	}{{a, 60, true, 100}, {b, 60, false, 40}, {b, 40, true, 40}, {a, 61, false, 60}, {a, 10, true, 60}, {b, 90, true, 90}}
	for i, step := range steps {
		if free, ok := ledger.reserve(step.vm, host, step.mb); ok != step.ok || free != step.free {
			t.Errorf("step %d: got %d %v, expected %d %v", i, free, ok, step.free, step.ok)
		}
	}
	ledger.release(b)
	if _, ok := ledger.reserve(a, host, 100); !ok {
		t.Error("a released reservation still counts")
	}
}

func TestTranslateKnowsTheLibraryPathsAndNoOthers(t *testing.T) {
	const base = "/rest/com/vmware/content/"
	cases := map[string]string{
		"/api/session":                         sessionPath,
		"/api/content/library":                 base + "library",
		"/api/content/library/7":               base + "library/id:7",
		"/api/content/local-library/7":         base + "local-library/id:7",
		"/api/content/library/item":            base + "library/item",
		"/api/content/library/item/7":          base + "library/item/id:7",
		"/api/content/library/item/7/storage":  "",
		"/api/content/library/7/usages":        "",
		"/api/content/security-policies":       "",
		"/api/vcenter/vm":                      "",
		"/api":                                 "",
		"/api/content/subscribed-library/sync": "",
	}
	for path, want := range cases {
		if got, known := translate(path); got != want || known != (want != "") {
			t.Errorf("%s: got %q, expected %q", path, got, want)
		}
	}
}

func TestEveryReadIsAMethodOfTheAPI(t *testing.T) {
	known := types.TypeFunc()
	for name := range soapReads {
		_, api := known(name)
		if _, policies := known("pbm:" + name); !api && !policies {
			t.Errorf("%s is no method that govmomi knows", name)
		}
	}
}

func TestCallsThatChangeTheInventoryAreNoReads(t *testing.T) {
	for _, name := range []string{"CloneVM_Task", "ReconfigVM_Task", "Destroy_Task", "PowerOnVM_Task", "CreateFolder",
		"MarkAsTemplate", "SetCustomValue", "AddCustomFieldDef", "UpdateOptions", "SomethingNew_Task", "",
		"CreateSnapshot_Task", "RefreshStorageInfo", "CancelTask"} {
		if soapReads[name] {
			t.Errorf("%q counts as a read", name)
		}
	}
	cases := []struct {
		method, path, action string
		write                bool
	}{
		{"GET", "/api/content/library", "", false},
		{"POST", "/api/session", "", false},
		{"DELETE", "/api/session", "", false},
		{"POST", "/rest/com/vmware/cis/session", "", false},
		{"POST", "/api/content/library", "find", false},
		{"POST", "/api/content/library", "", true},
		{"POST", "/api/vcenter/vm-template/library-items/1", "deploy", true},
		{"POST", "/api/vcenter/ovf/library-item/1", "filter", false},
		{"POST", "/api/vcenter/ovf/library-item/1", "deploy", true},
		{"DELETE", "/api/content/library/item/1", "find", true},
		{"PATCH", "/rest/com/vmware/content/library/id:1", "", true},
	}
	for _, c := range cases {
		if got := restWrites(c.method, c.path, c.action); got != c.write {
			t.Errorf("%s %s?%s: write is %v", c.method, c.path, c.action, got)
		}
	}
}

func TestOptionsNameTheMissingFlag(t *testing.T) {
	_, err := parseOptions([]string{"-cert", "c", "-key", "k", "-password-file", "p", "-inventory", "i"})
	if err == nil || !strings.Contains(err.Error(), "-work") {
		t.Errorf("got %v, expected the missing -work", err)
	}
}

func TestInventoryErrorsNameWhatIsWrong(t *testing.T) {
	for change, want := range map[string]string{
		`"datacenter":"DC0"|"datacenter":""`: "datacenter is missing",
		`"cpus":32|"cpus":0`:                 "esx-01.lab",
		`"library"|"librari"`:                "librari",
		`"disk_gb":40|"disk_gb":-1`:          baseline,
	} {
		old, replacement, _ := strings.Cut(change, "|")
		path := t.TempDir() + "/inventory.json"
		writeFile(t, path, strings.Replace(testInventory, old, replacement, 1))
		if _, err := readInventory(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected it to name %q", change, err, want)
		}
	}
}
