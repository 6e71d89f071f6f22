// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// inventory is what -inventory holds; the lab's Python side makes it from lab/inventory.yml.
type inventory struct {
	Datacenter      string             `json:"datacenter"`
	Cluster         string             `json:"cluster"`
	Hosts           []inventoryHost    `json:"hosts"`
	Datastore       inventoryDatastore `json:"datastore"`
	Portgroup       string             `json:"portgroup"`
	DVSwitch        string             `json:"dvswitch"`
	Folder          string             `json:"folder"`
	Library         string             `json:"library"`
	Templates       []template         `json:"templates"`
	OVFItems        []ovfItem          `json:"ovf_items"`
	StoragePolicies []inventoryPolicy  `json:"storage_policies"`
	VCenterInfo     struct {
		Version string `json:"version"`
		Build   string `json:"build"`
	} `json:"vcenter"`
}

type inventoryHost struct {
	Name     string         `json:"name"`
	CPUs     int16          `json:"cpus"`
	MemoryMB int64          `json:"memory_mb"`
	GPUs     []inventoryGPU `json:"gpus"`
}

type inventoryDatastore struct {
	Name       string `json:"name"`
	CapacityGB int64  `json:"capacity_gb"`
}

type template struct {
	Name            string `json:"name"`
	GuestID         string `json:"guest_id"`
	Firmware        string `json:"firmware"`
	CPUs            int32  `json:"cpus"`
	MemoryMB        int64  `json:"memory_mb"`
	DiskGB          int64  `json:"disk_gb"`
	HardwareVersion string `json:"hardware_version"`
}

// places are the managed objects that the lab itself needs again.
type places struct {
	datacenter types.ManagedObjectReference
	folder     types.ManagedObjectReference
	cluster    types.ManagedObjectReference
	pool       types.ManagedObjectReference
	hosts      []types.ManagedObjectReference
	datastore  types.ManagedObjectReference
	portgroup  types.ManagedObjectReference
}

func readInventory(path string) (inventory, error) {
	var i inventory
	text, err := os.ReadFile(path)
	if err != nil {
		return i, fmt.Errorf("flag -inventory: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&i); err != nil {
		return i, fmt.Errorf("inventory %s: %w", path, err)
	}
	if err := i.check(); err != nil {
		return i, fmt.Errorf("inventory %s: %w", path, err)
	}
	return i, nil
}

func (i inventory) check() error {
	for name, value := range map[string]string{
		"datacenter": i.Datacenter, "cluster": i.Cluster, "datastore.name": i.Datastore.Name, "portgroup": i.Portgroup,
		"dvswitch": i.DVSwitch, "folder": i.Folder, "library": i.Library, "vcenter.version": i.VCenterInfo.Version,
		"vcenter.build": i.VCenterInfo.Build,
	} {
		if value == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if len(i.Hosts) == 0 {
		return errors.New("hosts is empty, expected at least one")
	}
	for _, host := range i.Hosts {
		if host.Name == "" || host.CPUs <= 0 || host.MemoryMB <= 0 {
			return fmt.Errorf("host %+v: name, cpus and memory_mb are needed", host)
		}
		for _, device := range host.GPUs {
			if err := device.check(); err != nil {
				return fmt.Errorf("host %s: %w", host.Name, err)
			}
		}
	}
	for _, t := range i.Templates {
		if t.Name == "" || t.GuestID == "" || t.CPUs <= 0 || t.MemoryMB <= 0 || t.DiskGB <= 0 {
			return fmt.Errorf("template %+v: name, guest_id, cpus, memory_mb and disk_gb are needed", t)
		}
	}
	for at := range i.OVFItems {
		if err := i.OVFItems[at].read(); err != nil {
			return err
		}
	}
	return nil
}

// build makes the managed objects with the API that clients use, in process.
func (l *lab) build() error {
	context := simulator.NewContext()
	content := vpx.ServiceContent
	content.About = about(content.About, l.inventory)
	l.service = simulator.New(simulator.NewServiceInstance(context, content, vpx.RootFolder))
	l.registry = l.service.Context.Map
	l.registry.AddHandler(registryHook{l})
	l.registry.Put(newDesk(l))
	l.registry.Handler = l.route
	for _, step := range []func(*vim25.Client) error{l.buildDatacenter, l.buildTemplates, l.restoreKept, l.grantRoles} {
		client, err := vim25.NewClient(l.service.Context, l.service)
		if err != nil {
			return err
		}
		if err := step(client); err != nil {
			return fmt.Errorf("cannot build the inventory: %w", err)
		}
	}
	return nil
}

func about(about types.AboutInfo, i inventory) types.AboutInfo {
	about.Version, about.Build = i.VCenterInfo.Version, i.VCenterInfo.Build
	about.ApiVersion = i.VCenterInfo.Version + ".0"
	about.FullName = fmt.Sprintf("VMware vCenter Server %s build-%s (simulated)", about.Version, about.Build)
	about.InstanceUuid = uuid.NewString()
	return about
}

func (l *lab) buildDatacenter(client *vim25.Client) error {
	ctx := context.Background()
	datacenter, err := object.NewRootFolder(client).CreateDatacenter(ctx, l.inventory.Datacenter)
	if err != nil {
		return err
	}
	l.places.datacenter = datacenter.Reference()
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return err
	}
	folder, err := folders.VmFolder.CreateFolder(ctx, l.inventory.Folder)
	if err != nil {
		return err
	}
	l.places.folder = folder.Reference()
	if err := l.buildCluster(ctx, folders.HostFolder); err != nil {
		return err
	}
	if err := l.buildNetwork(ctx, folders.NetworkFolder); err != nil {
		return err
	}
	return l.buildDatastore(ctx, client)
}

func (l *lab) buildCluster(ctx context.Context, folder *object.Folder) error {
	yes := true
	cluster, err := folder.CreateCluster(ctx, l.inventory.Cluster, types.ClusterConfigSpecEx{})
	if err != nil {
		return err
	}
	l.places.cluster = cluster.Reference()
	// The simulator makes every cluster alike, whatever the call asks for.
	config := l.registry.Get(l.places.cluster).(*simulator.ClusterComputeResource).ConfigurationEx.(*types.ClusterConfigInfoEx)
	config.DrsConfig = types.ClusterDrsConfigInfo{Enabled: &yes, DefaultVmBehavior: types.DrsBehaviorFullyAutomated}
	config.DasConfig = types.ClusterDasConfigInfo{Enabled: &yes}
	// The simulator derives the hardware versions on offer from this, and knows no release after 8.0.2.
	esx.HostSystem.Config.Product.Version = "8.0.2"
	for _, host := range l.inventory.Hosts {
		task, err := cluster.AddHost(ctx, types.HostConnectSpec{HostName: host.Name}, true, nil, nil)
		if err != nil {
			return err
		}
		info, err := task.WaitForResult(ctx)
		if err != nil {
			return err
		}
		ref := info.Result.(types.ManagedObjectReference)
		l.places.hosts = append(l.places.hosts, ref)
		l.memory.add(ref, host.MemoryMB)
	}
	for at, ref := range l.places.hosts {
		host := l.registry.Get(ref).(*simulator.HostSystem)
		sizeHost(host, l.inventory.Hosts[at], l.inventory)
		l.equipHost(host, l.inventory.Hosts[at])
	}
	managed := l.registry.Get(l.places.cluster).(*simulator.ClusterComputeResource)
	l.places.pool = *managed.ResourcePool
	sizeCluster(managed, l.inventory)
	sizePool(l.registry.Get(l.places.pool).(*simulator.ResourcePool), managed)
	return nil
}

const coreMHz = 2600

// sizeHost gives the simulator's one kind of host the size that the inventory asks for.
func sizeHost(host *simulator.HostSystem, wish inventoryHost, i inventory) {
	packages := max(int16(1), wish.CPUs/16)
	hardware := *host.Summary.Hardware
	hardware.MemorySize, hardware.CpuMhz = wish.MemoryMB<<20, coreMHz
	hardware.NumCpuPkgs, hardware.NumCpuCores, hardware.NumCpuThreads = packages, wish.CPUs, wish.CPUs
	host.Summary.Hardware = &hardware
	host.Hardware.MemorySize = wish.MemoryMB << 20
	host.Hardware.CpuInfo.NumCpuPackages, host.Hardware.CpuInfo.NumCpuCores = packages, wish.CPUs
	host.Hardware.CpuInfo.NumCpuThreads, host.Hardware.CpuInfo.Hz = wish.CPUs, coreMHz*1_000_000

	product := types.AboutInfo{
		Name: "VMware ESXi", FullName: fmt.Sprintf("VMware ESXi %s (simulated)", i.VCenterInfo.Version),
		Vendor: "VMware, Inc.", Version: i.VCenterInfo.Version, Build: i.VCenterInfo.Build, LocaleVersion: "INTL",
		LocaleBuild: "000", OsType: "vmnix-x86", ProductLineId: "embeddedEsx", ApiType: "HostAgent",
		ApiVersion: i.VCenterInfo.Version + ".0", LicenseProductName: "VMware ESX Server", LicenseProductVersion: "8.0",
	}
	host.Config.Product = product
	host.Summary.Config.Product = &product
}

func sizeCluster(cluster *simulator.ClusterComputeResource, i inventory) {
	summary := cluster.Summary.GetComputeResourceSummary()
	summary.TotalCpu, summary.TotalMemory, summary.NumCpuCores, summary.NumCpuThreads = 0, 0, 0, 0
	for _, host := range i.Hosts {
		summary.TotalCpu += int32(host.CPUs) * coreMHz
		summary.TotalMemory += host.MemoryMB << 20
		summary.NumCpuCores += host.CPUs
		summary.NumCpuThreads += host.CPUs
	}
	summary.EffectiveCpu = summary.TotalCpu
	summary.EffectiveMemory = summary.TotalMemory >> 20
}

func sizePool(pool *simulator.ResourcePool, cluster *simulator.ClusterComputeResource) {
	summary := cluster.Summary.GetComputeResourceSummary()
	set := func(usage *types.ResourcePoolResourceUsage, limit int64) {
		usage.MaxUsage, usage.UnreservedForPool, usage.UnreservedForVm = limit, limit, limit
	}
	set(&pool.Runtime.Memory, summary.TotalMemory)
	set(&pool.Runtime.Cpu, int64(summary.TotalCpu))
}

func (l *lab) buildNetwork(ctx context.Context, folder *object.Folder) error {
	spec := types.DVSCreateSpec{ConfigSpec: &types.VMwareDVSConfigSpec{
		DVSConfigSpec: types.DVSConfigSpec{Name: l.inventory.DVSwitch},
	}}
	task, err := folder.CreateDVS(ctx, spec)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	dvs := object.NewDistributedVirtualSwitch(folder.Client(), info.Result.(types.ManagedObjectReference))
	var members []types.DistributedVirtualSwitchHostMemberConfigSpec
	for _, host := range l.places.hosts {
		members = append(members, types.DistributedVirtualSwitchHostMemberConfigSpec{
			Operation: string(types.ConfigSpecOperationAdd), Host: host,
		})
	}
	if task, err = dvs.Reconfigure(ctx, &types.DVSConfigSpec{Host: members}); err != nil {
		return err
	}
	if err := task.Wait(ctx); err != nil {
		return err
	}
	task, err = dvs.AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{
		Name: l.inventory.Portgroup, NumPorts: 128,
		Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding),
	}})
	if err != nil {
		return err
	}
	if err := task.Wait(ctx); err != nil {
		return err
	}
	managed := l.registry.Get(dvs.Reference()).(*simulator.DistributedVirtualSwitch)
	l.places.portgroup = managed.Portgroup[len(managed.Portgroup)-1]
	return nil
}

func (l *lab) buildDatastore(ctx context.Context, client *vim25.Client) error {
	for _, ref := range l.places.hosts {
		system, err := object.NewHostSystem(client, ref).ConfigManager().DatastoreSystem(ctx)
		if err != nil {
			return err
		}
		datastore, err := system.CreateLocalDatastore(ctx, l.inventory.Datastore.Name, l.work)
		if err != nil {
			return err
		}
		if l.places.datastore.Value == "" { // the simulator names it for the first host alone, the others mount it
			l.places.datastore = datastore.Reference()
		}
	}
	sizeDatastore(l.registry.Get(l.places.datastore).(*simulator.Datastore), l.inventory.Datastore)
	l.space.add(l.inventory.Datastore.Name, l.places.datastore, l.inventory.Datastore.CapacityGB<<30)
	return nil
}

// sizeDatastore makes the simulator's local folder look like the VMFS volume that it stands for. Its URL stays the
// folder's path, because the simulator finds its files by it.
func sizeDatastore(datastore *simulator.Datastore, wish inventoryDatastore) {
	capacity := wish.CapacityGB << 30
	url := datastore.Summary.Url
	id := strings.ReplaceAll(uuid.NewString(), "-", "")
	datastore.Summary.Type = string(types.HostFileSystemVolumeFileSystemTypeVMFS)
	datastore.Summary.Capacity, datastore.Summary.FreeSpace = capacity, capacity
	yes := true
	datastore.Summary.MultipleHostAccess = &yes
	local := false
	datastore.Info = &types.VmfsDatastoreInfo{
		DatastoreInfo: types.DatastoreInfo{
			Name: wish.Name, Url: url, FreeSpace: capacity, MaxFileSize: 64 << 40, MaxVirtualDiskCapacity: 62 << 40,
		},
		MaxPhysicalRDMFileSize: 64 << 40, MaxVirtualRDMFileSize: 62 << 40,
		Vmfs: &types.HostVmfsVolume{
			HostFileSystemVolume: types.HostFileSystemVolume{
				Type: string(types.HostFileSystemVolumeFileSystemTypeVMFS), Name: wish.Name, Capacity: capacity,
			},
			BlockSizeMb: 1, BlockSize: 1024, MaxBlocks: 63 << 20, MajorVersion: 6, Version: "6.82", Local: &local,
			Uuid: fmt.Sprintf("%s-%s-%s-%s", id[:8], id[8:16], id[16:20], id[20:]), VmfsUpgradable: false,
			Extent: []types.HostScsiDiskPartition{{DiskName: "naa.6000c29" + id[:25], Partition: 1}},
		},
	}
}
