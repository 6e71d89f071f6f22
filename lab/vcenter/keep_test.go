// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func startKeepingLab(t *testing.T, folder string) *testLab {
	t.Helper()
	return startLab(t, func(o *options) { o.keep = folder })
}

// afterKill is a lab that starts with what another one has on disk now, as if that one were killed.
func (tl *testLab) afterKill() *testLab {
	tl.t.Helper()
	copied := filepath.Join(tl.t.TempDir(), "keep")
	if err := os.Mkdir(copied, 0o700); err != nil {
		tl.t.Fatal(err)
	}
	for _, name := range tl.keptFiles() {
		text, err := os.ReadFile(filepath.Join(tl.options.keep, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), text, 0o600)
		}
		if err != nil && !strings.HasPrefix(name, unfinished) {
			tl.t.Fatal(err)
		}
	}
	return startLab(tl.t, func(o *options) { o.keep, o.inventory = copied, tl.options.inventory })
}

func (tl *testLab) keptFiles() []string {
	tl.t.Helper()
	entries, err := os.ReadDir(tl.options.keep)
	if err != nil {
		tl.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestAKilledLabFindsItsVMsAgain(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	ctx := context.Background()
	folder, err := object.NewFolder(first.client, first.lab.places.folder).CreateFolder(ctx, "team")
	if err != nil {
		t.Fatal(err)
	}
	vm := first.clone("vm", &types.VirtualMachineConfigSpec{
		NumCPUs: 2, MemoryMB: 2048, Annotation: "kept", DeviceChange: dataDisk(3), ExtraConfig: option("nb.owner", "me"),
		ManagedBy:                    &types.ManagedByInfo{ExtensionKey: "nanobanana.testbed", Type: "fleet"},
		MemoryReservationLockedToMax: types.NewBool(true),
	})
	first.must(folder.MoveInto(ctx, []types.ManagedObjectReference{vm.Reference()}))
	first.must(vm.PowerOn(ctx)) // the move is on disk before the guest starts
	before := first.properties(vm)
	first.guests.event(vm, map[string]any{"power": "poweredOn", "tools_running": true, "addresses": []string{"10.0.0.1"},
		"guestinfo": map[string]string{"guestinfo.runtime": "only"}})
	eventually(t, "the guest's value", func() bool { return extraConfig(*first.properties(vm).Config)["guestinfo.runtime"] != "" })

	second := first.afterKill()
	found, err := second.finder.VirtualMachine(ctx, "/DC0/vm/nano-banana/team/vm")
	if err != nil {
		t.Fatal(err)
	}
	after := second.properties(found)
	if after.Runtime.PowerState != poweredOff || after.Guest.IpAddress != "" || after.Config.Template {
		t.Errorf("it is %s with %q", after.Runtime.PowerState, after.Guest.IpAddress)
	}
	if got := extraConfig(*after.Config); !reflect.DeepEqual(got, extraConfig(*before.Config)) {
		t.Errorf("extraConfig is %v", got)
	}
	sameConfiguration(t, before, after)
	if *after.Config.MemoryAllocation.Reservation != 2048 || after.Summary.Config.ManagedBy == nil {
		t.Errorf("allocation is %+v, summary %+v", after.Config.MemoryAllocation, after.Summary.Config)
	}
	second.must(found.PowerOn(ctx))
	was, is := first.guests.asked("power_on")[0].VM, second.guests.asked("power_on")[0].VM
	was.Moid, is.Moid = "", ""
	if !reflect.DeepEqual(was, is) {
		t.Errorf("the driver was told\n%+v and is told\n%+v", was, is)
	}
	second.must(second.clone("another", nil).PowerOn(ctx)) // the datastore has room for both
	second.must(found.PowerOff(ctx))
	second.must(found.Destroy(ctx))
	if got := second.guests.asked("destroy"); len(got) != 1 || got[0].VM.InstanceUUID != before.Config.InstanceUuid {
		t.Errorf("destroyed %+v", got)
	}
}

// sameConfiguration compares what clients can see of a VM's hardware and identity.
func sameConfiguration(t *testing.T, before, after mo.VirtualMachine) {
	t.Helper()
	was, is := *before.Config, *after.Config
	if was.Uuid != is.Uuid || was.InstanceUuid != is.InstanceUuid || was.Annotation != is.Annotation || was.Name != is.Name ||
		was.Firmware != is.Firmware || was.Version != is.Version || was.GuestId != is.GuestId ||
		was.Files.VmPathName != is.Files.VmPathName || was.Hardware.MemoryMB != is.Hardware.MemoryMB ||
		was.Hardware.NumCPU != is.Hardware.NumCPU || !was.CreateDate.Equal(*is.CreateDate) {
		t.Errorf("config was %+v, is %+v", was, is)
	}
	summary := after.Summary.Config
	if summary.NumCpu != was.Hardware.NumCPU || summary.MemorySizeMB != was.Hardware.MemoryMB || summary.Name != was.Name ||
		summary.NumVirtualDisks != before.Summary.Config.NumVirtualDisks || summary.Uuid != was.Uuid ||
		summary.NumEthernetCards != before.Summary.Config.NumEthernetCards || summary.InstanceUuid != was.InstanceUuid {
		t.Errorf("summary was %+v, is %+v", before.Summary.Config, summary)
	}
	devices := object.VirtualDeviceList(is.Hardware.Device)
	if len(devices) != len(was.Hardware.Device) {
		t.Errorf("%d devices, were %d", len(devices), len(was.Hardware.Device))
	}
	for _, device := range was.Hardware.Device {
		found := devices.FindByKey(device.GetVirtualDevice().Key)
		switch device := device.(type) {
		case *types.VirtualDisk:
			had := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			has := found.(*types.VirtualDisk).Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if had.Uuid != has.Uuid || had.FileName != has.FileName || found.(*types.VirtualDisk).CapacityInKB != device.CapacityInKB {
				t.Errorf("disk was %+v, is %+v", had, has)
			}
		case *types.VirtualVmxnet3:
			if card := found.(*types.VirtualVmxnet3); card.MacAddress != device.MacAddress || card.AddressType != device.AddressType {
				t.Errorf("card was %+v, is %+v", device, card)
			}
		case types.BaseVirtualController:
			had, has := device.GetVirtualController(), found.(types.BaseVirtualController).GetVirtualController()
			if had.BusNumber != has.BusNumber || !slices.Equal(had.Device, has.Device) {
				t.Errorf("controller was %+v, is %+v", had, has)
			}
		}
	}
}

func TestSnapshotsAreKeptInTheirTree(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	ctx := context.Background()
	vm := first.clone("vm", &types.VirtualMachineConfigSpec{NumCPUs: 1, DeviceChange: dataDisk(1)})
	first.must(vm.CreateSnapshot(ctx, "root", "the first", false, false))
	first.must(first.reconfigure(vm, types.VirtualMachineConfigSpec{NumCPUs: 2}), nil)
	first.must(vm.PowerOn(ctx))
	first.must(vm.CreateSnapshot(ctx, "memory", "", true, false))
	memory := first.driverID(vm)
	first.must(vm.RevertToSnapshot(ctx, "root", false))
	first.must(vm.CreateSnapshot(ctx, "branch", "", false, false))
	branch := first.driverID(vm)
	before := first.properties(vm)

	second := first.afterKill()
	found := second.template("vm")
	after := second.properties(found)
	var were, are []string
	visit := func(names *[]string) func(*types.VirtualMachineSnapshotTree) {
		return func(tree *types.VirtualMachineSnapshotTree) {
			*names = append(*names, tree.Name+" "+tree.Description+" "+string(tree.State)+" "+tree.CreateTime.String())
		}
	}
	eachSnapshot(before.Snapshot, visit(&were))
	eachSnapshot(after.Snapshot, visit(&are))
	if !slices.Equal(were, are) || len(after.RootSnapshot) != 1 {
		t.Errorf("snapshots were %q, are %q", were, are)
	}
	second.must(found.RevertToCurrentSnapshot(ctx, true))
	if got, want := second.lastArguments("revert"), "power=poweredOff snapshot="+branch; got != want {
		t.Errorf("current: got %s, expected %s", got, want)
	}
	second.must(found.CreateSnapshot(ctx, "later", "", false, false))
	numbers := map[int32]bool{}
	eachSnapshot(second.properties(found).Snapshot, func(tree *types.VirtualMachineSnapshotTree) { numbers[tree.Id] = true })
	if len(numbers) != 4 {
		t.Errorf("the snapshots' numbers are %v", numbers)
	}
	second.must(found.RevertToSnapshot(ctx, "memory", false))
	if got, want := second.lastArguments("revert"), "power=poweredOn snapshot="+memory; got != want {
		t.Errorf("memory: got %s, expected %s", got, want)
	}
	if now := second.properties(found); now.Config.Hardware.NumCPU != 2 || now.Runtime.PowerState != poweredOn {
		t.Errorf("%d CPUs, %s", now.Config.Hardware.NumCPU, now.Runtime.PowerState)
	}
	second.must(found.RemoveAllSnapshot(ctx, nil))
	third := second.afterKill()
	if third.properties(third.template("vm")).Snapshot != nil {
		t.Error("removed snapshots are back")
	}
}

func TestWhatIsKeptFollowsEachChange(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	ctx := context.Background()
	vm := first.clone("vm", nil)
	file := first.instance(vm) + ".json"
	kept := func() (record struct {
		Config struct {
			Name       string
			Template   bool
			Annotation string
			Version    string
		}
		Told bool
	}) {
		text, err := os.ReadFile(filepath.Join(first.options.keep, file))
		if err == nil {
			err = json.Unmarshal(text, &record)
		}
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	for _, step := range []struct {
		name string
		do   func() (*object.Task, error)
		at   func() bool
	}{
		{"reconfigured", func() (*object.Task, error) {
			return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{Annotation: "new"})
		}, func() bool { return kept().Config.Annotation == "new" && !kept().Told }},
		{"started", func() (*object.Task, error) { return vm.PowerOn(ctx) }, func() bool { return kept().Told }},
		{"stopped", func() (*object.Task, error) { return vm.PowerOff(ctx) }, func() bool { return kept().Told }},
		{"a template", func() (*object.Task, error) { return nil, vm.MarkAsTemplate(ctx) }, func() bool { return kept().Config.Template }},
		{"no template", func() (*object.Task, error) {
			return nil, vm.MarkAsVirtualMachine(ctx, *object.NewResourcePool(first.client, first.lab.places.pool), nil)
		}, func() bool { return !kept().Config.Template }},
	} {
		task, err := step.do()
		if err == nil && task != nil {
			err = task.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !step.at() { // when the task has ended, not some time later
			t.Errorf("%s: kept %+v", step.name, kept())
		}
	}
	for name, do := range map[string]func() (*object.Task, error){
		"renamed": func() (*object.Task, error) { return vm.Rename(ctx, "renamed") },
		"vmx-21":  func() (*object.Task, error) { return vm.UpgradeVM(ctx, "vmx-21") },
	} {
		first.must(do())
		eventually(t, name, func() bool { return kept().Config.Name == name || kept().Config.Version == name })
	}
	first.must(vm.Destroy(ctx))
	if files := first.keptFiles(); slices.Contains(files, file) {
		t.Errorf("left: %v", files)
	}
}

func TestFoldersAndTemplatesAreKept(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	ctx := context.Background()
	outer, err := object.NewFolder(first.client, first.lab.places.folder).CreateFolder(ctx, "outer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outer.CreateFolder(ctx, "empty"); err != nil {
		t.Fatal(err)
	}
	golden := first.running("golden")
	first.must(golden.PowerOff(ctx))
	if err := golden.MarkAsTemplate(ctx); err != nil {
		t.Fatal(err)
	}
	first.must(outer.MoveInto(ctx, []types.ManagedObjectReference{golden.Reference()}))
	first.must(outer.Rename(ctx, "renamed"))
	first.lab.close() // what is written a moment later is written by then

	second := startKeepingLab(t, first.options.keep)
	if _, err := second.finder.Folder(ctx, "/DC0/vm/nano-banana/renamed/empty"); err != nil {
		t.Error(err)
	}
	template, err := second.finder.VirtualMachine(ctx, "/DC0/vm/nano-banana/renamed/golden")
	if err != nil {
		t.Fatal(err)
	}
	if now := second.properties(template); !now.Config.Template || !now.Summary.Config.Template || now.ResourcePool != nil {
		t.Errorf("it is %+v in pool %v", now.Summary.Config, now.ResourcePool)
	}
	task, err := second.cloneOf(template, "copy", types.VirtualMachineCloneSpec{})
	second.must(task, err)
	if want := "linked=false snapshot= source=" + second.instance(template); second.lastArguments("clone") != want ||
		second.origins("clone") != "[2000]" || second.guests.asked("clone")[0].VM.Template != "golden" {
		t.Errorf("the driver was asked %s with %s", second.lastArguments("clone"), second.origins("clone"))
	}
	if built := len(second.lab.templates); built != 2 { // nothing of them is on disk
		t.Errorf("%d templates of the inventory", built)
	}
}

func TestBrokenRecordsArePutAside(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	whole := first.clone("whole", nil)
	text, err := os.ReadFile(filepath.Join(first.options.keep, first.instance(whole)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]string{
		"empty.json": "", "half.json": string(text[:len(text)/2]), "other.json": `{"format":1}`,
		"future.json":   strings.Replace(string(text), `"format":1`, `"format":99`, 1),
		"misnamed.json": string(text),
		"list.json":     "[]", foldersFile: "{", unfinished + "1": "{", "notes.txt": "no record",
	}
	changed := func(id, old, new string) { // with an identity of its own
		replaced := strings.NewReplacer(first.instance(whole), id, `"name":"whole"`, `"name":"`+id+`"`, old, new)
		if old == "" {
			replaced = strings.NewReplacer(first.instance(whole), id)
		}
		broken[id+".json"] = replaced.Replace(string(text))
	}
	changed("ffffffff-0000-4000-8000-000000000001", "", "") // a second VM of that name
	changed("ffffffff-0000-4000-8000-000000000002", "[vmfs-01] whole/", "[vmfs-01] ../../outside/")
	changed("ffffffff-0000-4000-8000-000000000003", "[vmfs-01]", "[elsewhere]")
	for name, content := range broken {
		if err := os.WriteFile(filepath.Join(first.options.keep, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := first.afterKill()
	list, err := second.finder.VirtualMachineList(context.Background(), "*")
	if err != nil || len(list) != 3 {
		t.Errorf("VMs are %v (%v), expected the whole one and two templates", list, err)
	}
	aside := 0
	for _, name := range second.keptFiles() {
		if strings.HasSuffix(name, ".broken") {
			aside++
		}
		if strings.HasPrefix(name, unfinished) {
			t.Errorf("%s is left", name)
		}
	}
	if aside != 9 {
		t.Errorf("%d are put aside: %v", aside, second.keptFiles())
	}
}

func TestStoragePoliciesAreKept(t *testing.T) {
	first := startLab(t, func(o *options) {
		o.keep = filepath.Join(t.TempDir(), "keep")
		text := strings.Replace(testInventory, `"ovf_items"`, `"storage_policies":[{"name":"gold","datastores":["vmfs-01"]}],"ovf_items"`, 1)
		if err := os.WriteFile(o.inventory, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	gold := first.lab.inventory.StoragePolicies[0].id()
	vm := first.clone("vm", &types.VirtualMachineConfigSpec{VmProfile: []types.BaseVirtualMachineProfileSpec{
		&types.VirtualMachineDefinedProfileSpec{ProfileId: gold},
	}})
	if got := first.lab.policies.of(vm.Reference())[vmHome]; got != gold {
		t.Fatalf("policy is %q", got)
	}
	second := first.afterKill()
	if got := second.lab.policies.of(second.template("vm").Reference())[vmHome]; got != gold {
		t.Errorf("policy is %q, expected %q", got, gold)
	}
}

func TestACloneIsKeptWithItsContent(t *testing.T) {
	first := startKeepingLab(t, t.TempDir())
	source := first.running("source")
	var during []string
	first.guests.answerWith(func(r guestRequest) string {
		if r.Op == "clone" {
			during = first.keptFiles()
		}
		return ""
	})
	task, err := first.cloneOf(source, "copy", types.VirtualMachineCloneSpec{})
	first.must(task, err)
	file := first.instance(first.template("copy")) + ".json"
	if slices.Contains(during, file) {
		t.Error("kept while its disks are half there")
	}
	if !slices.Contains(first.keptFiles(), file) {
		t.Error("not kept")
	}
	if first.lab.machine(first.template("copy").Reference()).told.Load() == nil {
		t.Error("the driver must hear when it goes")
	}
}

func TestNothingIsKeptUnasked(t *testing.T) {
	tl := startLab(t, nil)
	tl.running("vm")
	if tl.lab.keep != nil {
		t.Error("there is a keeper")
	}
}
