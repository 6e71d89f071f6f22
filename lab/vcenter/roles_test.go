// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const limitedName, limitedPassword = "testbed@vsphere.local", "battery staple"

var cloning = []string{"VirtualMachine.Provisioning.DeployTemplate", "VirtualMachine.Inventory.CreateFromExisting",
	"Resource.AssignVMToPool", "Datastore.AllocateSpace", "Network.Assign", "VirtualMachine.Config.AddNewDisk",
	"VirtualMachine.Config.AddRemoveDevice", "VirtualMachine.Config.AdvancedConfig", "VirtualMachine.Config.Resource",
	"VirtualMachine.Config.CPUCount", "VirtualMachine.Config.Memory"}

// startLimitedLab is a lab whose client is the second user, with these privileges everywhere.
func startLimitedLab(t *testing.T, privileges ...string) *testLab {
	t.Helper()
	return startGrantedLab(t, limitedUser{
		Roles:  map[string][]string{"all": privileges},
		Grants: []grant{{"Folder", "rootFolder", "all", true}}, Global: "all",
	})
}

// startGrantedLab is a lab whose client is the second user, with these roles.
func startGrantedLab(t *testing.T, user limitedUser) *testLab {
	t.Helper()
	tl := startLab(t, func(o *options) {
		folder := filepath.Dir(o.inventory)
		writeFile(t, folder+"/limited", limitedPassword+"\n")
		user.User, user.PasswordFile = limitedName, folder+"/limited"
		text, err := json.Marshal(user)
		if err != nil {
			t.Fatal(err)
		}
		o.roles = folder + "/roles.json"
		writeFile(t, o.roles, string(text))
	})
	tl.client = tl.login(limitedName, limitedPassword)
	return tl
}

func (tl *testLab) denied(err error) types.NoPermission {
	tl.t.Helper()
	if !soap.IsSoapFault(err) {
		tl.t.Fatalf("got %v, expected NoPermission", err)
	}
	found, ok := soap.ToSoapFault(err).VimFault().(types.NoPermission)
	if !ok {
		tl.t.Fatalf("got %v, expected NoPermission", err)
	}
	return found
}

func (tl *testLab) fullClone() types.VirtualMachineCloneSpec {
	pool := tl.lab.places.pool
	locked := true
	return types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{Pool: &pool},
		Config: &types.VirtualMachineConfigSpec{
			NumCPUs: 1, MemoryMB: 1024, MemoryReservationLockedToMax: &locked, DeviceChange: dataDisk(1),
			ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "nb.owner", Value: "me"}},
		},
	}
}

func TestTheRoleAllowsWhatItNames(t *testing.T) {
	tl := startLimitedLab(t, append(cloning, "VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff",
		"VirtualMachine.Inventory.Delete")...)
	ctx := context.Background()
	task, err := object.NewVirtualMachine(tl.client, tl.lab.templates[baseline]).Clone(
		ctx, object.NewFolder(tl.client, tl.lab.places.folder), "allowed", tl.fullClone())
	if err != nil {
		t.Fatal(err)
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		t.Fatal(err)
	}
	vm := object.NewVirtualMachine(tl.client, info.Result.(types.ManagedObjectReference))
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.PowerOff(ctx))
	tl.must(vm.Destroy(ctx))
}

func TestACloneNeedsEachOfItsPrivileges(t *testing.T) {
	for _, missing := range cloning {
		if missing == "Network.Assign" {
			continue // this clone plugs in no card
		}
		t.Run(missing, func(t *testing.T) {
			kept := slices.DeleteFunc(slices.Clone(cloning), func(p string) bool { return p == missing })
			tl := startLimitedLab(t, kept...)
			_, err := object.NewVirtualMachine(tl.client, tl.lab.templates[baseline]).Clone(
				context.Background(), object.NewFolder(tl.client, tl.lab.places.folder), "denied", tl.fullClone())
			if found := tl.denied(err); found.PrivilegeId != missing || found.Object == nil {
				t.Errorf("got %+v", found)
			}
		})
	}
}

func TestACallOutsideTheRoleNamesPrivilegeAndObject(t *testing.T) {
	tl := startLimitedLab(t, "VirtualMachine.Interact.PowerOn")
	administrator := tl.login(testUser, testPassword)
	limited := tl.client
	tl.client = administrator
	made := tl.clone("vm", nil)
	tl.client = limited
	ctx := context.Background()
	vm := object.NewVirtualMachine(limited, made.Reference())
	for want, call := range map[string]func() error{
		"VirtualMachine.Interact.PowerOff": func() error { _, err := vm.PowerOff(ctx); return err },
		"VirtualMachine.Interact.Suspend":  func() error { _, err := vm.Suspend(ctx); return err },
		"VirtualMachine.Interact.Reset":    func() error { _, err := vm.Reset(ctx); return err },
		"VirtualMachine.Inventory.Delete":  func() error { _, err := vm.Destroy(ctx); return err },
		"VirtualMachine.Config.Rename":     func() error { _, err := vm.Rename(ctx, "x"); return err },
		"VirtualMachine.Config.Annotation": func() error {
			_, err := vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{Annotation: "x"})
			return err
		},
		"VirtualMachine.State.CreateSnapshot":        func() error { _, err := vm.CreateSnapshot(ctx, "s", "", false, false); return err },
		"VirtualMachine.Provisioning.MarkAsTemplate": func() error { return vm.MarkAsTemplate(ctx) },
	} {
		if found := tl.denied(call()); found.PrivilegeId != want || found.Object == nil || *found.Object != vm.Reference() {
			t.Errorf("expected %s on %v, got %+v", want, vm.Reference(), found)
		}
	}
	tl.must(vm.PowerOn(ctx))
	_, err := object.NewFolder(limited, tl.lab.places.folder).CreateFolder(ctx, "new")
	if found := tl.denied(err); found.PrivilegeId != "Folder.Create" || *found.Object != tl.lab.places.folder {
		t.Errorf("got %+v", found)
	}
	answer, err := methods.HasPrivilegeOnEntities(ctx, limited, &types.HasPrivilegeOnEntities{
		This: *limited.ServiceContent.AuthorizationManager, Entity: []types.ManagedObjectReference{vm.Reference()},
		SessionId: tl.sessionKey(), PrivId: []string{"VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff"},
	})
	if err != nil {
		t.Fatal(err)
	}
	granted := answer.Returnval[0].PrivAvailability
	if !granted[0].IsGranted || granted[1].IsGranted {
		t.Errorf("HasPrivilegeOnEntities says %+v", granted)
	}
}

func (tl *testLab) sessionKey() string {
	for _, cookie := range tl.client.Jar.Cookies(tl.url) {
		if cookie.Name == soap.SessionCookieName {
			return cookie.Value
		}
	}
	tl.t.Fatal("no session")
	return ""
}

func TestTheSecondLoginHasItsOwnPasswordAndName(t *testing.T) {
	tl := startLimitedLab(t, "VirtualMachine.Interact.PowerOn")
	address := *tl.url
	address.User = url.UserPassword(limitedName, testPassword)
	if _, err := govmomi.NewClient(context.Background(), &address, true); !fault.Is(err, &types.InvalidLogin{}) {
		t.Errorf("with the other's password: %v", err)
	}
	calls := tl.loggedCalls()
	last := calls[len(calls)-1]
	if !slices.ContainsFunc(calls, func(c call) bool { return c.Method == "Login" && c.User == limitedName && c.Fault == "" }) {
		t.Errorf("the log does not name the second user: %+v", last)
	}
	request, _ := http.NewRequest(http.MethodPost, "/", nil)
	request.SetBasicAuth(limitedName, limitedPassword)
	code, text := tl.ask("POST", "/api/session", "", "", "Authorization", request.Header.Get("Authorization"))
	token := strings.Trim(text, `"`)
	if code != http.StatusCreated {
		t.Fatalf("REST login: %d %s", code, text)
	}
	if code, text := tl.ask("GET", "/api/content/library", token, ""); code != http.StatusOK {
		t.Errorf("reading the libraries: %d %s", code, text)
	}
	var item string
	for id := range tl.lab.items {
		item = id
	}
	code, text = tl.ask("POST", "/api/vcenter/vm-template/library-items/"+item+"?action=deploy", token,
		`{"name":"x","placement":{"folder":"`+tl.lab.places.folder.Value+`"}}`)
	if code != http.StatusForbidden || !strings.Contains(text, "VirtualMachine.Provisioning.DeployTemplate") {
		t.Errorf("deploying: %d %s", code, text)
	}
	for id, ovf := range tl.lab.ovfItems {
		if ovf.Name == "nano-banana-baseline-ovf" {
			item = id
		}
	}
	code, text = tl.ask("POST", "/api/vcenter/ovf/library-item/"+item+"?action=deploy", token,
		`{"target":{"resource_pool_id":"`+tl.lab.places.pool.Value+`"},"deployment_spec":{"network_mappings":{"VM Network":"`+
			tl.lab.places.portgroup.Value+`"}}}`)
	if code != http.StatusForbidden || !strings.Contains(text, "VApp.Import") {
		t.Errorf("deploying an OVF item: %d %s", code, text)
	}
}

func TestRolesAreChecked(t *testing.T) {
	folder := t.TempDir()
	for text, want := range map[string]string{
		`{"users":"x"}`:           "users",
		`{"user":"x","roles":{}}`: "user, roles and grants are needed",
		`{"user":"x","roles":{"r":[]},"grants":[{"role":"r"}],"password_file":"` + folder + `/none"}`: "password_file",
	} {
		writeFile(t, folder+"/roles.json", text)
		if _, err := readRoles(folder + "/roles.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if _, err := readRoles(folder + "/no-such"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
