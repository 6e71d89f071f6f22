// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Roles and permissions are kept by the simulator's AuthorizationManager, where clients change them as well; what follows
// from them is decided here, by the rules of vSphere Security, "Hierarchical Inheritance of Permissions".

// globalRoot lies above the root folder and the Content Libraries. No managed object stands for it.
var globalRoot = types.ManagedObjectReference{Type: "GlobalRoot", Value: "global-root"}

// permissionsOf is what one user was given: a role on each of some objects.
type permissionsOf struct {
	lab    *lab
	on     map[types.ManagedObjectReference]types.Permission
	roles  map[int32][]string
	global string
}

func (l *lab) authorization(do func(*simulator.AuthorizationManager)) {
	manager := l.registry.Get(*vpx.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)
	fork(l.service.Context).WithLock(manager, func() { do(manager) })
}

func (l *lab) permissionsOf(user string) permissionsOf {
	p := permissionsOf{
		lab: l, on: map[types.ManagedObjectReference]types.Permission{}, roles: map[int32][]string{}, global: l.limited.Global,
	}
	l.authorization(func(manager *simulator.AuthorizationManager) {
		for _, role := range manager.RoleList {
			p.roles[role.RoleId] = role.Privilege
			if role.Name == p.global {
				p.on[globalRoot] = types.Permission{RoleId: role.RoleId, Propagate: true}
			}
		}
		all := manager.RetrieveAllPermissions(&types.RetrieveAllPermissions{}).(*methods.RetrieveAllPermissionsBody)
		for _, one := range all.Res.Returnval {
			if !one.Group && sameUser(one.Principal, user) && one.Entity != nil {
				p.on[*one.Entity] = one
			}
		}
	})
	return p
}

// privileges are those that the user has on an object: by the permission on the object itself, or by what its parents hand
// down, each by the nearest of its own. A VM has two parents, its folder and its resource pool, and takes from both.
func (p permissionsOf) privileges(on types.ManagedObjectReference) []string {
	if permission, found := p.on[on]; found {
		return p.roles[permission.RoleId]
	}
	return p.inherited(on)
}

func (p permissionsOf) inherited(on types.ManagedObjectReference) []string {
	var found []string
	for _, parent := range p.lab.parents(on) {
		if permission, known := p.on[parent]; known && permission.Propagate {
			found = append(found, p.roles[permission.RoleId]...)
			continue
		}
		found = append(found, p.inherited(parent)...)
	}
	return found
}

func (l *lab) parents(of types.ManagedObjectReference) []types.ManagedObjectReference {
	var found []*types.ManagedObjectReference
	switch object := l.registry.Get(of).(type) {
	case *simulator.VirtualMachine:
		fork(l.service.Context).WithLock(object, func() { found = append(found, object.Parent, object.ResourcePool) })
	case mo.Entity:
		if object.Entity().Parent == nil {
			return []types.ManagedObjectReference{globalRoot}
		}
		found = append(found, object.Entity().Parent)
	}
	var parents []types.ManagedObjectReference
	for _, parent := range found {
		if parent != nil {
			parents = append(parents, *parent)
		}
	}
	return parents
}

// guarded is the inventory's object on which a privilege for another managed object is checked.
func (l *lab) guarded(ref types.ManagedObjectReference) types.ManagedObjectReference {
	switch object := l.registry.Get(ref).(type) {
	case *simulator.VirtualMachineSnapshot:
		return object.Vm
	case mo.Entity:
		return ref
	}
	if ref == globalRoot {
		return ref
	}
	return vpx.ServiceContent.RootFolder
}

func (l *lab) holds(user, privilege string, on types.ManagedObjectReference) bool {
	return !l.isLimited(user) || slices.Contains(l.permissionsOf(user).privileges(on), privilege)
}

// sameUser compares a permission's DOMAIN\user with a login's user@domain.
func sameUser(principal, user string) bool {
	if domain, name, found := strings.Cut(principal, `\`); found {
		principal = name + "@" + domain
	}
	return strings.EqualFold(principal, user)
}

// grantRoles gives the lab's own login what -roles says, as an administrator does it: roles, then permissions.
func (l *lab) grantRoles(client *vim25.Client) error {
	if l.limited == nil {
		return nil
	}
	manager, ctx := *vpx.ServiceContent.AuthorizationManager, context.Background()
	for name, privileges := range l.limited.Roles {
		_, err := methods.AddAuthorizationRole(ctx, client, &types.AddAuthorizationRole{
			This: manager, Name: name, PrivIds: privileges,
		})
		if err != nil {
			return fmt.Errorf("role %s: %w", name, err)
		}
	}
	ids := map[string]int32{}
	l.authorization(func(manager *simulator.AuthorizationManager) {
		for _, role := range manager.RoleList {
			ids[role.Name] = role.RoleId
		}
	})
	name, domain, _ := strings.Cut(l.limited.User, "@")
	principal := strings.ToUpper(domain) + `\` + name
	for _, grant := range l.limited.Grants {
		entity, err := l.named(grant.Type, grant.Name)
		if err != nil {
			return err
		}
		id, known := ids[grant.Role]
		if !known {
			return fmt.Errorf("there is no role %s to give on %s %s", grant.Role, grant.Type, grant.Name)
		}
		_, err = methods.SetEntityPermissions(ctx, client, &types.SetEntityPermissions{
			This: manager, Entity: entity,
			Permission: []types.Permission{{Principal: principal, RoleId: id, Propagate: grant.Propagate}},
		})
		if err != nil {
			return fmt.Errorf("role %s on %s %s: %w", grant.Role, grant.Type, grant.Name, err)
		}
	}
	return nil
}

// named finds an object of the inventory; a Network may be a distributed port group.
func (l *lab) named(kind, name string) (ref types.ManagedObjectReference, err error) {
	if name == "rootFolder" {
		return vpx.ServiceContent.RootFolder, nil
	}
	found := l.registry.All(kind)
	if kind == "Network" {
		found = append(found, l.registry.All("DistributedVirtualPortgroup")...)
	}
	for _, entity := range found {
		if entity.Entity().Name == name {
			return entity.Reference(), nil
		}
	}
	return ref, fmt.Errorf("roles: there is no %s named %s to give a role on", kind, name)
}

// SetEntityPermissions leaves the other users' permissions alone; the simulator's replaces them all.
func (d *desk) SetEntityPermissions(_ *simulator.Context, r *types.SetEntityPermissions) soap.HasFault {
	var answer soap.HasFault
	d.authorization(func(manager *simulator.AuthorizationManager) {
		all := manager.RetrieveAllPermissions(&types.RetrieveAllPermissions{}).(*methods.RetrieveAllPermissionsBody)
		merged := slices.Clone(r.Permission)
		for at := range merged {
			merged[at].Entity = &r.Entity
		}
		for _, one := range all.Res.Returnval {
			replaced := slices.ContainsFunc(r.Permission, func(p types.Permission) bool {
				return p.Group == one.Group && strings.EqualFold(p.Principal, one.Principal)
			})
			if one.Entity != nil && *one.Entity == r.Entity && !replaced {
				merged = append(merged, one)
			}
		}
		answer = manager.SetEntityPermissions(&types.SetEntityPermissions{Entity: r.Entity, Permission: merged})
	})
	return answer
}

// The questions about privileges, which the simulator answers with yes for everybody.

func (d *desk) availability(user string, entities []types.ManagedObjectReference, ids []string) []types.EntityPrivilege {
	var answer []types.EntityPrivilege
	for _, entity := range entities {
		one := types.EntityPrivilege{Entity: entity}
		for _, id := range ids {
			granted := d.holds(user, id, entity)
			one.PrivAvailability = append(one.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: granted})
		}
		answer = append(answer, one)
	}
	return answer
}

func (d *desk) HasPrivilegeOnEntities(ctx *simulator.Context, r *types.HasPrivilegeOnEntities) soap.HasFault {
	return &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{
		Returnval: d.availability(d.sessionUser(ctx, r.SessionId), r.Entity, r.PrivId),
	}}
}

func (d *desk) HasPrivilegeOnEntity(ctx *simulator.Context, r *types.HasPrivilegeOnEntity) soap.HasFault {
	var answer []bool
	user := d.sessionUser(ctx, r.SessionId)
	for _, id := range r.PrivId {
		answer = append(answer, d.holds(user, id, r.Entity))
	}
	return &methods.HasPrivilegeOnEntityBody{Res: &types.HasPrivilegeOnEntityResponse{Returnval: answer}}
}

func (d *desk) HasUserPrivilegeOnEntities(_ *simulator.Context, r *types.HasUserPrivilegeOnEntities) soap.HasFault {
	return &methods.HasUserPrivilegeOnEntitiesBody{Res: &types.HasUserPrivilegeOnEntitiesResponse{
		Returnval: d.availability(r.UserName, r.Entities, r.PrivId),
	}}
}

func (d *desk) FetchUserPrivilegeOnEntities(
	_ *simulator.Context, r *types.FetchUserPrivilegeOnEntities,
) soap.HasFault {
	manager, ok := d.registry.Get(r.This).(*simulator.AuthorizationManager)
	if !ok {
		return &methods.FetchUserPrivilegeOnEntitiesBody{Fault_: notFound(r.This).soap()}
	}
	if !d.isLimited(r.UserName) {
		return manager.FetchUserPrivilegeOnEntities(r)
	}
	held := d.permissionsOf(r.UserName)
	var answer []types.UserPrivilegeResult
	for _, entity := range r.Entities {
		names := slices.Clone(held.privileges(entity))
		slices.Sort(names)
		answer = append(answer, types.UserPrivilegeResult{Entity: entity, Privileges: slices.Compact(names)})
	}
	return &methods.FetchUserPrivilegeOnEntitiesBody{Res: &types.FetchUserPrivilegeOnEntitiesResponse{Returnval: answer}}
}

func (d *desk) sessionUser(ctx *simulator.Context, session string) string {
	if session == ctx.Session.Key {
		return ctx.Session.UserName
	}
	return d.users.of(session)
}
