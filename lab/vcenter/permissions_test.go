// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

const powerOn, powerOff, takeSnapshot = "VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff",
	"VirtualMachine.State.CreateSnapshot"

// eachPlace gives one role on each kind of place, as the playbook does.
func eachPlace() limitedUser {
	return limitedUser{
		Roles: map[string][]string{"folder": {powerOn}, "compute": {powerOff}, "template": {takeSnapshot}, "library": {}},
		Grants: []grant{
			{"Folder", "rootFolder", "compute", false}, {"Datacenter", "DC0", "ReadOnly", true},
			{"Folder", "nano-banana", "folder", true}, {"ClusterComputeResource", "gpu-cluster", "compute", true},
			{"VirtualMachine", baseline, "template", true}, {"Network", "testbed", "template", true},
		},
		Global: "library",
	}
}

func TestAVMTakesFromItsFolderAndItsPool(t *testing.T) {
	tl := startGrantedLab(t, eachPlace())
	limited := tl.client
	tl.client = tl.login(testUser, testPassword)
	vm := tl.clone("vm", nil).Reference()
	stress := tl.lab.templates["nano-banana-stress-template"]
	places := tl.lab.places
	for _, test := range []struct {
		on   types.ManagedObjectReference
		want []string
	}{
		{vm, []string{powerOff, powerOn}},
		{places.folder, []string{powerOn}},
		{places.pool, []string{powerOff}},
		{places.hosts[0], []string{powerOff}},
		{tl.lab.templates[baseline], []string{takeSnapshot}}, // what stands on the object itself counts alone
		{stress, []string{powerOn}},
		{places.portgroup, []string{takeSnapshot}},
		{places.datastore, nil},
		{places.datacenter, nil},
		{vpx.ServiceContent.RootFolder, []string{powerOff}},
	} {
		answer, err := methods.FetchUserPrivilegeOnEntities(context.Background(), limited, &types.FetchUserPrivilegeOnEntities{
			This:     *limited.ServiceContent.AuthorizationManager,
			Entities: []types.ManagedObjectReference{test.on}, UserName: limitedName,
		})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(answer.Returnval[0].Privileges, func(id string) bool { return strings.HasPrefix(id, "System.") })
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: got %v, expected %v", test.on, got, test.want)
		}
	}
}

func TestAPermissionThatIsTakenAwayIsMissed(t *testing.T) {
	tl := startGrantedLab(t, eachPlace())
	limited := tl.client
	tl.client = tl.login(testUser, testPassword)
	ctx := context.Background()
	made := tl.clone("vm", nil)
	vm := object.NewVirtualMachine(limited, made.Reference())
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.PowerOff(ctx))
	manager := object.NewAuthorizationManager(tl.client)
	if err := manager.RemoveEntityPermission(ctx, tl.lab.places.folder, `VSPHERE.LOCAL\testbed`, false); err != nil {
		t.Fatal(err)
	}
	_, err := vm.PowerOn(ctx)
	if found := tl.denied(err); found.PrivilegeId != powerOn || *found.Object != vm.Reference() {
		t.Errorf("got %+v", found)
	}
	roles, err := manager.RoleList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	grant := types.Permission{Principal: `vsphere.local\Testbed`, RoleId: roles.ByName("folder").RoleId, Propagate: false}
	for _, place := range []types.ManagedObjectReference{tl.lab.places.folder, vpx.ServiceContent.RootFolder} {
		if err := manager.SetEntityPermissions(ctx, place, []types.Permission{grant}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vm.PowerOn(ctx); tl.denied(err).PrivilegeId != powerOn {
		t.Error("a permission that does not propagate reaches the VM")
	}
	found, err := manager.RetrieveEntityPermissions(ctx, vpx.ServiceContent.RootFolder, false)
	if err != nil || len(found) < 3 { // the administrators' are still there, and the user has one only
		t.Errorf("got %+v, %v", found, err)
	}
	grant.Propagate = true
	if err := manager.SetEntityPermissions(ctx, vm.Reference(), []types.Permission{grant}); err != nil {
		t.Fatal(err)
	}
	tl.must(vm.PowerOn(ctx))
}

func TestASnapshotIsGuardedByItsVM(t *testing.T) {
	tl := startGrantedLab(t, eachPlace())
	limited := tl.client
	tl.client = tl.login(testUser, testPassword)
	ctx := context.Background()
	vm := tl.clone("vm", nil)
	task, err := vm.CreateSnapshot(ctx, "s", "", false, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = methods.RevertToSnapshot_Task(ctx, limited, &types.RevertToSnapshot_Task{This: info.Result.(types.ManagedObjectReference)})
	if found := tl.denied(err); *found.Object != vm.Reference() || found.PrivilegeId != "VirtualMachine.State.RevertToSnapshot" {
		t.Errorf("got %+v", found)
	}
}

func TestLibrariesAreSeenByTheGlobalRootAlone(t *testing.T) {
	for name, global := range map[string]string{"with": "library", "without": ""} {
		t.Run(name, func(t *testing.T) {
			user := eachPlace()
			user.Global = global
			tl := startGrantedLab(t, user)
			request, _ := http.NewRequest(http.MethodPost, "/", nil)
			request.SetBasicAuth(limitedName, limitedPassword)
			_, token := tl.ask("POST", "/api/session", "", "", "Authorization", request.Header.Get("Authorization"))
			token = strings.Trim(token, "\"\n")
			code, text := tl.ask("GET", "/api/content/library", token, "")
			if empty := strings.TrimSpace(text) == "[]"; code != http.StatusOK || empty != (global == "") {
				t.Errorf("libraries: %d %s", code, text)
			}
			for item := range tl.lab.items {
				want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[global != ""]
				if code, text := tl.ask("GET", "/api/vcenter/vm-template/library-items/"+item, token, ""); code != want {
					t.Errorf("item: %d %s", code, text)
				}
			}
		})
	}
}

func TestAGrantOnWhatIsNotThereIsRefused(t *testing.T) {
	for want, bad := range map[string]grant{
		"no Folder named nowhere": {"Folder", "nowhere", "folder", true}, "no role typo": {"Folder", "rootFolder", "typo", true},
	} {
		user := eachPlace()
		user.User, user.Grants = limitedName, []grant{bad}
		o := testOptions(t)
		l, err := newLab(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		l.limited = &user
		client, err := l.client()
		if err != nil {
			t.Fatal(err)
		}
		if err := l.grantRoles(client); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %s, got %v", want, err)
		}
	}
}
