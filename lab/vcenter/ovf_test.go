// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/types"
)

// ovfClient is govmomi's own client of the OVF calls, and the ids of the library's items by name.
func (tl *testLab) ovfClient() (*vcenter.Manager, map[string]string) {
	tl.t.Helper()
	ctx := context.Background()
	client := rest.NewClient(tl.client)
	if err := client.Login(ctx, tl.userInfo()); err != nil {
		tl.t.Fatal(err)
	}
	libraries, err := library.NewManager(client).GetLibraries(ctx)
	if err != nil {
		tl.t.Fatal(err)
	}
	items, err := library.NewManager(client).GetLibraryItems(ctx, libraries[0].ID)
	if err != nil {
		tl.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, item := range items {
		ids[item.Name] = item.ID
		if strings.HasSuffix(item.Name, "-ovf") != (item.Type == library.ItemTypeOVF) {
			tl.t.Errorf("%s is of type %s", item.Name, item.Type)
		}
	}
	return vcenter.NewManager(client), ids
}

func (tl *testLab) target() vcenter.Target {
	return vcenter.Target{ResourcePoolID: tl.lab.places.pool.Value, FolderID: tl.lab.places.folder.Value}
}

func TestFilterOfAnOVFItem(t *testing.T) {
	tl := startLab(t, nil)
	manager, ids := tl.ovfClient()
	ctx := context.Background()
	one, err := manager.FilterLibraryItem(ctx, ids["nano-banana-baseline-ovf"], vcenter.FilterRequest{Target: tl.target()})
	if err != nil || !slices.Equal(one.Networks, []string{"VM Network"}) || len(one.EULAs) != 0 || one.Name != "baseline" {
		t.Errorf("%+v %v", one, err)
	}
	if size := one.AdditionalParams[0]; size.Type != "SizeParams" || size.ApproximateFlatDeploymentSize != 40<<30 {
		t.Errorf("size: %+v", size)
	}
	two, err := manager.FilterLibraryItem(ctx, ids["nano-banana-appliance-ovf"], vcenter.FilterRequest{Target: tl.target()})
	if err != nil || !slices.Equal(two.Networks, []string{"management", "data"}) || len(two.EULAs) != 1 {
		t.Errorf("%+v %v", two, err)
	}
}

func TestDeployOfAnOVFItem(t *testing.T) {
	tl := startLab(t, nil)
	manager, ids := tl.ovfClient()
	ctx := context.Background()
	deploy := vcenter.Deploy{Target: tl.target(), DeploymentSpec: vcenter.DeploymentSpec{
		Name: "made", Annotation: "whose", DefaultDatastoreID: tl.lab.places.datastore.Value, StorageProvisioning: "thin",
		NetworkMappings: []vcenter.NetworkMapping{{Key: "VM Network", Value: tl.lab.places.portgroup.Value}},
	}}
	ref, err := manager.DeployLibraryItem(ctx, ids["nano-banana-baseline-ovf"], deploy)
	if err != nil {
		t.Fatal(err)
	}
	machine := object.NewVirtualMachine(tl.client, *ref)
	vm := tl.properties(machine)
	hardware := vm.Config.Hardware
	if vm.Name != "made" || vm.Config.Annotation != "whose" || hardware.NumCPU != 4 || hardware.MemoryMB != 6144 {
		t.Errorf("%s, %q, %d CPUs, %d MB", vm.Name, vm.Config.Annotation, hardware.NumCPU, hardware.MemoryMB)
	}
	if vm.Config.Firmware != "efi" || vm.Config.GuestId != "ubuntu64Guest" || vm.Config.Version != "vmx-20" {
		t.Errorf("%s, %s, %s", vm.Config.Firmware, vm.Config.GuestId, vm.Config.Version)
	}
	devices := object.VirtualDeviceList(hardware.Device)
	disks, cards := devices.SelectByType((*types.VirtualDisk)(nil)), devices.SelectByType((*types.VirtualVmxnet3)(nil))
	if len(disks) != 1 || disks[0].(*types.VirtualDisk).CapacityInKB != 40<<20 || len(cards) != 1 {
		t.Fatalf("disks %v, cards %v", disks, cards)
	}
	card := cards[0].(*types.VirtualVmxnet3)
	backing, _ := card.Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
	if backing == nil || backing.Port.PortgroupKey != tl.lab.places.portgroup.Value || card.MacAddress == "" {
		t.Errorf("card %+v", card)
	}
	if got := object.OptionValueList(vm.Config.ExtraConfig).StringMap()["guestinfo.userdata"]; got == "" {
		t.Error("the descriptor's extra configuration is not there")
	}
	tl.must(machine.PowerOn(ctx))
	if got := tl.origins("power_on"); got != "[2000]" || tl.guests.asked("clone") != nil {
		t.Errorf("disks with the template's system: %s; copied: %+v", got, tl.guests.asked("clone"))
	}
	if tl.lab.machine(*ref).template != baseline {
		t.Errorf("its guest is that of %q", tl.lab.machine(*ref).template)
	}

	_, err = manager.DeployLibraryItem(ctx, ids["nano-banana-baseline-ovf"], deploy)
	if err == nil || !strings.Contains(err.Error(), `named "made" already exists`) {
		t.Errorf("the name is taken: %v", err)
	}
}

func TestWhileTheDisksOfAnOVFItemAreCopied(t *testing.T) {
	tl := startTroubledLab(t, `{"delays":{"ImportVApp":"400ms"}}`)
	manager, ids := tl.ovfClient()
	ctx := context.Background()
	ended := make(chan error)
	go func() {
		_, err := manager.DeployLibraryItem(ctx, ids["nano-banana-baseline-ovf"], vcenter.Deploy{
			Target: tl.target(), DeploymentSpec: vcenter.DeploymentSpec{Name: "made", Annotation: "whose",
				NetworkMappings: []vcenter.NetworkMapping{{Key: "VM Network", Value: tl.lab.places.portgroup.Value}}},
		})
		ended <- err
	}()
	var machine *object.VirtualMachine
	eventually(t, "the VM is seen", func() (seen bool) {
		var err error
		machine, err = tl.finder.VirtualMachine(ctx, "made")
		return err == nil
	})
	vm := tl.properties(machine)
	if vm.Config.Annotation != "whose" || !slices.Contains(vm.DisabledMethod, "PowerOnVM_Task") {
		t.Errorf("%q, %v", vm.Config.Annotation, vm.DisabledMethod)
	}
	for name, start := range map[string]func(context.Context) (*object.Task, error){
		"power on": machine.PowerOn, "destroy": machine.Destroy,
	} {
		if fault, _ := tl.fault(start(ctx)); faultName(fault) != "TaskInProgress" {
			t.Errorf("%s: %T", name, fault)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if vm := tl.properties(machine); len(vm.DisabledMethod) != 0 {
		t.Errorf("afterwards: %v", vm.DisabledMethod)
	}
	tl.must(machine.PowerOn(ctx))
}

func TestDeployOfAnOVFItemFails(t *testing.T) {
	tl := startLab(t, nil)
	manager, ids := tl.ovfClient()
	map1 := func(names ...string) (mappings []vcenter.NetworkMapping) {
		for _, name := range names {
			mappings = append(mappings, vcenter.NetworkMapping{Key: name, Value: tl.lab.places.portgroup.Value})
		}
		return mappings
	}
	for name, c := range map[string]struct {
		change func(*vcenter.Deploy)
		want   string
	}{
		"network without a target": {func(d *vcenter.Deploy) { d.NetworkMappings = map1("data") }, "has no target network"},
		"more mappings than cards": {func(d *vcenter.Deploy) { d.NetworkMappings = map1("data", "management", "third") }, "500"},
		"a target that is not":     {func(d *vcenter.Deploy) { d.NetworkMappings[0].Value = "network-none" }, "500"},
		"license not accepted":     {func(d *vcenter.Deploy) { d.AcceptAllEULA = false }, "not accepted"},
		"pool that is not there":   {func(d *vcenter.Deploy) { d.ResourcePoolID = "resgroup-none" }, "404"},
		"datastore that is not":    {func(d *vcenter.Deploy) { d.DefaultDatastoreID = "datastore-none" }, "404"},
		"no pool":                  {func(d *vcenter.Deploy) { d.ResourcePoolID = "" }, "400"},
	} {
		deploy := vcenter.Deploy{Target: tl.target(), DeploymentSpec: vcenter.DeploymentSpec{
			Name: "never", AcceptAllEULA: true, NetworkMappings: map1("management", "data"),
		}}
		c.change(&deploy)
		_, err := manager.DeployLibraryItem(context.Background(), ids["nano-banana-appliance-ovf"], deploy)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %s", name, err, c.want)
		}
	}
	if _, err := tl.finder.VirtualMachine(context.Background(), "never"); err == nil {
		t.Error("a failed deployment left a VM behind")
	}
}

func TestDeployOfAnOVFItemByAPI(t *testing.T) {
	tl := startLab(t, nil)
	_, ids := tl.ovfClient()
	request, _ := http.NewRequest(http.MethodPost, "/", nil)
	request.SetBasicAuth(testUser, testPassword)
	_, token := tl.ask("POST", "/api/session", "", "", "Authorization", request.Header.Get("Authorization"))
	token = strings.Trim(token, "\"\n")
	target := `"target":{"resource_pool_id":"` + tl.lab.places.pool.Value + `"}`
	path := "/api/vcenter/ovf/library-item/" + ids["nano-banana-baseline-ovf"]
	code, text := tl.ask("POST", path+"?action=filter", token, "{"+target+"}")
	if code != http.StatusOK || !strings.Contains(text, `"networks":["VM Network"]`) || !strings.Contains(text, `"EULAs":[]`) {
		t.Errorf("filter: %d %s", code, text)
	}
	body := `{` + target + `,"deployment_spec":{"name":"made","accept_all_EULA":false,` +
		`"network_mappings":{"VM Network":"` + tl.lab.places.portgroup.Value + `"}}}`
	_, first := tl.ask("POST", path+"?action=deploy&client_token=once", token, body)
	_, second := tl.ask("POST", path+"?action=deploy&client_token=once", token, body)
	if !strings.Contains(first, `"succeeded":true`) || first != second {
		t.Errorf("with one token: %s, then %s", first, second)
	}
	_, third := tl.ask("POST", path+"?action=deploy&client_token=twice", token, body)
	if !strings.Contains(third, `"succeeded":false`) || !strings.Contains(third, `"error_type":"ALREADY_EXISTS"`) {
		t.Errorf("with another token: %s", third)
	}
	if code, _ := tl.ask("POST", path+"?action=filter", "", "{"+target+"}"); code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", code)
	}
}
