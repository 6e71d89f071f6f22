// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// inventoryPolicy is a VM storage policy, with the datastores that satisfy it.
type inventoryPolicy struct {
	Name       string   `json:"name"`
	Datastores []string `json:"datastores"`
}

func (p inventoryPolicy) id() string { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(p.Name)).String() }

// vmHome is the key of a VM's own files among those of its disks.
const vmHome int32 = 0

// policyLedger knows which storage policy each VM's files and disks have. vCenter keeps that apart from the VM as well.
type policyLedger struct {
	mutex sync.Mutex
	held  map[types.ManagedObjectReference]map[int32]string // by VM and device key: the id of the policy
}

func (l *policyLedger) set(vm types.ManagedObjectReference, key int32, policy string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.held == nil {
		l.held = map[types.ManagedObjectReference]map[int32]string{}
	}
	if l.held[vm] == nil {
		l.held[vm] = map[int32]string{}
	}
	if l.held[vm][key] = policy; policy == "" {
		delete(l.held[vm], key)
	}
}

func (l *policyLedger) of(vm types.ManagedObjectReference) map[int32]string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return maps.Clone(l.held[vm])
}

func (l *policyLedger) release(vm types.ManagedObjectReference) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.held, vm)
}

func (l *lab) policy(id string) *inventoryPolicy {
	at := slices.IndexFunc(l.inventory.StoragePolicies, func(p inventoryPolicy) bool { return p.id() == id })
	if at < 0 {
		return nil
	}
	return &l.inventory.StoragePolicies[at]
}

// storageProfile is the policy that a part of a spec names: nil where it names none, "" where it takes one away.
func (l *lab) storageProfile(specs []types.BaseVirtualMachineProfileSpec, property string) (*string, *failure) {
	var id *string
	for _, spec := range specs {
		switch profile := spec.(type) {
		case *types.VirtualMachineDefinedProfileSpec:
			if l.policy(profile.ProfileId) == nil {
				return nil, invalidArgument(property, "A specified parameter was not correct: "+property)
			}
			id = &profile.ProfileId
		case *types.VirtualMachineDefaultProfileSpec, *types.VirtualMachineEmptyProfileSpec:
			none := ""
			id = &none
		}
	}
	return id, nil
}

// checkProfiles refuses policies that nobody knows, before anything is changed.
func (l *lab) checkProfiles(spec *types.VirtualMachineConfigSpec) *failure {
	if _, failed := l.storageProfile(spec.VmProfile, "spec.vmProfile"); failed != nil {
		return failed
	}
	for number, change := range spec.DeviceChange {
		property := fmt.Sprintf("spec.deviceChange[%d].profile", number)
		if _, failed := l.storageProfile(change.GetVirtualDeviceConfigSpec().Profile, property); failed != nil {
			return failed
		}
	}
	return nil
}

// associate notes the policies of a ConfigSpec that has been applied; before has the keys of the devices until then. The
// caller holds the VM's lock.
func (l *lab) associate(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec, before map[int32]bool) {
	note := func(key int32, specs []types.BaseVirtualMachineProfileSpec) {
		if id, _ := l.storageProfile(specs, ""); id != nil {
			l.policies.set(vm.Self, key, *id)
		}
	}
	note(vmHome, spec.VmProfile)
	var made []int32 // keys of new disks, in the order of the spec
	keys := map[int32]bool{}
	for _, device := range vm.Config.Hardware.Device {
		key := device.GetVirtualDevice().Key
		keys[key] = true
		if _, ok := device.(*types.VirtualDisk); ok && !before[key] {
			made = append(made, key)
		}
	}
	for _, change := range spec.DeviceChange {
		wish := change.GetVirtualDeviceConfigSpec()
		disk, ok := wish.Device.(*types.VirtualDisk)
		switch {
		case !ok:
		case wish.Operation == types.VirtualDeviceConfigSpecOperationAdd && len(made) > 0:
			note(made[0], wish.Profile)
			made = made[1:]
		case wish.Operation == types.VirtualDeviceConfigSpecOperationEdit:
			note(disk.Key, wish.Profile)
		}
	}
	for key := range l.policies.of(vm.Self) {
		if key != vmHome && !keys[key] {
			l.policies.set(vm.Self, key, "")
		}
	}
}

func deviceKeys(vm *simulator.VirtualMachine) map[int32]bool {
	keys := map[int32]bool{}
	for _, device := range vm.Config.Hardware.Device {
		keys[device.GetVirtualDevice().Key] = true
	}
	return keys
}

// checkCloneProfiles is checkProfiles for what a clone says about its files and the disks of its source.
func (l *lab) checkCloneProfiles(location *types.VirtualMachineRelocateSpec) *failure {
	if _, failed := l.storageProfile(location.Profile, "spec.location.profile"); failed != nil {
		return failed
	}
	for number, disk := range location.Disk {
		property := fmt.Sprintf("spec.location.disk[%d].profile", number)
		if _, failed := l.storageProfile(disk.Profile, property); failed != nil {
			return failed
		}
	}
	return nil
}

func (l *lab) associateClone(clone types.ManagedObjectReference, location *types.VirtualMachineRelocateSpec) {
	if id, _ := l.storageProfile(location.Profile, ""); id != nil {
		l.policies.set(clone, vmHome, *id)
	}
	for _, disk := range location.Disk {
		if id, _ := l.storageProfile(disk.Profile, ""); id != nil {
			l.policies.set(clone, disk.DiskId, *id)
		}
	}
}

// profile is a policy as the policy service shows it: one rule, that the datastore carries a tag.
func (p inventoryPolicy) profile() *pbmtypes.PbmCapabilityProfile {
	long := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	return &pbmtypes.PbmCapabilityProfile{
		PbmProfile: pbmtypes.PbmProfile{
			ProfileId: pbmtypes.PbmProfileId{UniqueId: p.id()}, Name: p.Name,
			CreationTime: long, CreatedBy: "lab", LastUpdatedTime: long, LastUpdatedBy: "lab",
		},
		ProfileCategory: string(pbmtypes.PbmProfileCategoryEnumREQUIREMENT),
		ResourceType:    pbmtypes.PbmProfileResourceType{ResourceType: string(pbmtypes.PbmProfileResourceTypeEnumSTORAGE)},
		Constraints: &pbmtypes.PbmCapabilitySubProfileConstraints{SubProfiles: []pbmtypes.PbmCapabilitySubProfile{{
			Name: "tags",
			Capability: []pbmtypes.PbmCapabilityInstance{{
				Id: pbmtypes.PbmCapabilityMetadataUniqueId{Namespace: "http://www.vmware.com/storage/tag", Id: "lab"},
				Constraint: []pbmtypes.PbmCapabilityConstraintInstance{{
					PropertyInstance: []pbmtypes.PbmCapabilityPropertyInstance{{
						Id:    "com.vmware.storage.tag.lab.property",
						Value: pbmtypes.PbmCapabilityDiscreteSet{Values: []types.AnyType{p.Name}},
					}},
				}},
			}},
		}}},
	}
}

// satisfies says whether a datastore, or every datastore of a cluster of them, satisfies a policy.
func (l *lab) satisfies(policy *inventoryPolicy, hub pbmtypes.PbmPlacementHub) bool {
	ref := types.ManagedObjectReference{Type: hub.HubType, Value: hub.HubId}
	switch object := l.registry.Get(ref).(type) {
	case *simulator.Datastore:
		return slices.Contains(policy.Datastores, object.Name)
	case *simulator.StoragePod:
		for _, child := range object.ChildEntity {
			if !l.satisfies(policy, pbmtypes.PbmPlacementHub{HubType: child.Type, HubId: child.Value}) {
				return false
			}
		}
		return len(object.ChildEntity) > 0
	}
	return false
}

func (l *lab) hubs(asked []pbmtypes.PbmPlacementHub) []pbmtypes.PbmPlacementHub {
	if len(asked) > 0 {
		return asked
	}
	for _, kind := range []string{"Datastore", "StoragePod"} {
		for _, object := range l.registry.All(kind) {
			ref := object.Reference()
			asked = append(asked, pbmtypes.PbmPlacementHub{HubType: ref.Type, HubId: ref.Value})
		}
	}
	return asked
}

// associated are the policies of an object of the policy service: a VM's files, or one of its disks.
func (l *lab) associated(object pbmtypes.PbmServerObjectRef) ([]pbmtypes.PbmProfileId, bool) {
	name, disk, _ := strings.Cut(object.Key, ":")
	vm, ok := l.registry.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: name}).(*simulator.VirtualMachine)
	key := vmHome
	switch pbmtypes.PbmObjectType(object.ObjectType) {
	case pbmtypes.PbmObjectTypeVirtualMachine:
	case pbmtypes.PbmObjectTypeVirtualDiskId:
		number, err := strconv.ParseInt(disk, 10, 32)
		key, ok = int32(number), ok && err == nil
	default:
		ok = false
	}
	if !ok {
		return nil, false
	}
	if id := l.policies.of(vm.Self)[key]; id != "" {
		return []pbmtypes.PbmProfileId{{UniqueId: id}}, true
	}
	return nil, true
}

// policyRegistry is the policy service, which stands beside the API at a path of its own.
func (l *lab) policyRegistry() *simulator.Registry {
	registry := simulator.NewRegistry()
	registry.Namespace, registry.Path, registry.Cookie = pbm.Namespace, pbm.Path, simulator.SOAPCookie
	content := pbmtypes.PbmServiceInstanceContent{
		AboutInfo:                 pbmtypes.PbmAboutInfo{Name: "PBM", Version: "2.0", InstanceUuid: uuid.NewString()},
		SessionManager:            types.ManagedObjectReference{Type: "PbmSessionManager", Value: "SessionManager"},
		CapabilityMetadataManager: types.ManagedObjectReference{Type: "PbmCapabilityMetadataManager", Value: "CapabilityMetadataManager"},
		ProfileManager:            types.ManagedObjectReference{Type: "PbmProfileProfileManager", Value: "ProfileManager"},
		ComplianceManager:         types.ManagedObjectReference{Type: "PbmComplianceManager", Value: "complianceManager"},
		PlacementSolver:           types.ManagedObjectReference{Type: "PbmPlacementSolver", Value: "placementSolver"},
	}
	registry.Put(&policyService{pbm.ServiceInstance, content})
	registry.Put(&profileManager{content.ProfileManager, l})
	registry.Put(&placementSolver{content.PlacementSolver, l})
	registry.Handler = l.routePolicies
	return registry
}
