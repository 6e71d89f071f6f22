// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	"github.com/vmware/govmomi/pbm/methods"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func withPolicies(t *testing.T) (*testLab, *pbm.Client) {
	tl := startLab(t, func(o *options) {
		text := strings.Replace(testInventory, `"vcenter":`,
			`"storage_policies":[{"name":"gold","datastores":["vmfs-01"]},{"name":"vsan","datastores":[]}],"vcenter":`, 1)
		if err := os.WriteFile(o.inventory, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	client, err := pbm.NewClient(context.Background(), tl.client)
	if err != nil {
		t.Fatal(err)
	}
	return tl, client
}

func profiles(t *testing.T, client *pbm.Client) map[string]string {
	t.Helper()
	storage := pbmtypes.PbmProfileResourceType{ResourceType: "STORAGE"}
	ids, err := client.QueryProfile(context.Background(), storage, "REQUIREMENT")
	if err != nil {
		t.Fatal(err)
	}
	found, err := client.RetrieveContent(context.Background(), ids)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, profile := range found {
		names[profile.GetPbmProfile().Name] = profile.GetPbmProfile().ProfileId.UniqueId
	}
	return names
}

func associations(t *testing.T, client *pbm.Client, entities ...pbmtypes.PbmServerObjectRef) []string {
	t.Helper()
	answer, err := methods.PbmQueryAssociatedProfiles(context.Background(), client, &pbmtypes.PbmQueryAssociatedProfiles{
		This: client.ServiceContent.ProfileManager, Entities: entities,
	})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, row := range answer.Returnval {
		id := ""
		if len(row.ProfileId) > 0 {
			id = row.ProfileId[0].UniqueId
		}
		if row.Fault != nil {
			id = "fault"
		}
		found = append(found, id)
	}
	return found
}

func defined(id string) []types.BaseVirtualMachineProfileSpec {
	return []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: id}}
}

func TestAPolicyFitsItsDatastores(t *testing.T) {
	tl, client := withPolicies(t)
	store, err := tl.finder.DefaultDatastore(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, fits := range map[string]bool{"gold": true, "vsan": false} {
		answer, err := methods.PbmCheckCompatibility(context.Background(), client, &pbmtypes.PbmCheckCompatibility{
			This: client.ServiceContent.PlacementSolver, Profile: pbmtypes.PbmProfileId{UniqueId: profiles(t, client)[name]},
		})
		if err != nil {
			t.Fatal(err)
		}
		row := answer.Returnval[0]
		if row.Hub.HubId != store.Reference().Value || (len(row.Error) == 0) != fits {
			t.Errorf("%s: got %+v", name, row)
		}
	}
}

func TestPoliciesOfAVMAndItsDisks(t *testing.T) {
	tl, client := withPolicies(t)
	names := profiles(t, client)
	vm := tl.clone("one", nil)
	devices, err := vm.Device(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	disk := devices.SelectByType((*types.VirtualDisk)(nil))[0].(*types.VirtualDisk)
	home := pbmtypes.PbmServerObjectRef{ObjectType: "virtualMachine", Key: vm.Reference().Value}
	first := pbmtypes.PbmServerObjectRef{ObjectType: "virtualDiskId", Key: vm.Reference().Value + ":2000"}
	gone := pbmtypes.PbmServerObjectRef{ObjectType: "virtualMachine", Key: "vm-0"}
	if found := associations(t, client, home, first, gone); found[0] != "" || found[1] != "" || found[2] != "fault" {
		t.Errorf("a plain clone has %v", found)
	}
	if disk.Key != 2000 {
		t.Fatalf("the template's disk is %d", disk.Key)
	}
	tl.must(vm.Reconfigure(context.Background(), types.VirtualMachineConfigSpec{
		VmProfile: defined(names["gold"]),
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: disk, Profile: defined(names["vsan"]),
		}},
	}))
	if found := associations(t, client, home, first); found[0] != names["gold"] || found[1] != names["vsan"] {
		t.Errorf("got %v", found)
	}
	wrong, _ := tl.fault(vm.Reconfigure(context.Background(), types.VirtualMachineConfigSpec{VmProfile: defined("none")}))
	if _, ok := wrong.(*types.InvalidArgument); !ok {
		t.Errorf("an unknown policy: got %+v", wrong)
	}
	tl.must(vm.Destroy(context.Background()))
	if found := associations(t, client, home); found[0] != "fault" {
		t.Errorf("a removed VM has %v", found)
	}
}

func TestPoliciesInACloneCall(t *testing.T) {
	tl, client := withPolicies(t)
	gold := profiles(t, client)["gold"]
	template := tl.template(baseline)
	source := tl.properties(template)
	folder := object.NewFolder(tl.client, *source.Parent)
	location := types.VirtualMachineRelocateSpec{
		Pool: &tl.lab.places.pool, Profile: defined(gold),
		Disk: []types.VirtualMachineRelocateSpecDiskLocator{
			{DiskId: 2000, Datastore: tl.lab.places.datastore, Profile: defined(gold)},
		},
	}
	tl.must(template.Clone(context.Background(), folder, "one", types.VirtualMachineCloneSpec{Location: location}))
	vm, err := tl.finder.VirtualMachine(context.Background(), "*/one")
	if err != nil {
		t.Fatal(err)
	}
	found := associations(t, client,
		pbmtypes.PbmServerObjectRef{ObjectType: "virtualMachine", Key: vm.Reference().Value},
		pbmtypes.PbmServerObjectRef{ObjectType: "virtualDiskId", Key: vm.Reference().Value + ":2000"})
	if found[0] != gold || found[1] != gold {
		t.Errorf("got %v", found)
	}
	location.Profile = defined("none")
	if _, err = template.Clone(context.Background(), folder, "two", types.VirtualMachineCloneSpec{Location: location}); !fault.Is(
		err, &types.InvalidArgument{}) {
		t.Errorf("an unknown policy: got %v", err)
	}
}

func TestThePolicyServiceAsksForASession(t *testing.T) {
	tl, client := withPolicies(t)
	stranger, err := vim25.NewClient(context.Background(), soap.NewClient(tl.url, true))
	if err != nil {
		t.Fatal(err)
	}
	other, err := pbm.NewClient(context.Background(), stranger)
	if err != nil {
		t.Fatalf("its content is open: %v", err)
	}
	_, err = other.QueryProfile(context.Background(), pbmtypes.PbmProfileResourceType{ResourceType: "STORAGE"}, "")
	if !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("got %v, expected NotAuthenticated", err)
	}
	profiles(t, client)
	calls := tl.loggedCalls()
	if last := calls[len(calls)-1]; last.Method != "PbmRetrieveContent" || last.User != testUser || last.Write {
		t.Errorf("logged %+v", last)
	}
}
