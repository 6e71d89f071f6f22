// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// limitedUser is what -roles holds: the second login, which has the privileges of one role on all objects, and no other.
type limitedUser struct {
	User         string   `json:"user"`
	PasswordFile string   `json:"password_file"`
	Privileges   []string `json:"privileges"`
	password     string
}

func readRoles(file string) (*limitedUser, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("flag -roles: %w", err)
	}
	var user limitedUser
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&user); err != nil {
		return nil, fmt.Errorf("roles %s: %w", file, err)
	}
	if user.User == "" || len(user.Privileges) == 0 {
		return nil, fmt.Errorf("roles %s: user and privileges are needed", file)
	}
	password, err := os.ReadFile(user.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("roles %s: password_file: %w", file, err)
	}
	if user.password = strings.TrimRight(string(password), "\r\n"); user.password == "" {
		return nil, fmt.Errorf("roles %s: %s is empty, expected the password of %s", file, user.PasswordFile, user.User)
	}
	return &user, nil
}

// sessionUsers says who opened a session, SOAP or REST.
type sessionUsers struct {
	mutex sync.Mutex
	names map[string]string
}

func (s *sessionUsers) note(session, user string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.names == nil {
		s.names = map[string]string{}
	}
	s.names[session] = user
}

func (s *sessionUsers) of(session string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.names[session]
}

func (l *lab) validLogin(login *types.Login) bool {
	if l.limited != nil && login.UserName == l.limited.User {
		return login.Password == l.limited.password
	}
	return login.UserName == l.user && login.Password == l.password
}

// isLimited says whether a user holds the role alone. The lab's own calls have no user name.
func (l *lab) isLimited(user string) bool { return l.limited != nil && user == l.limited.User }

func (l *lab) holds(privilege string) bool {
	return strings.HasPrefix(privilege, "System.") || slices.Contains(l.limited.Privileges, privilege)
}

// forbidden is the fault for a call that a user's role does not allow, nil where it may go on.
func (l *lab) forbidden(user string, method *simulator.Method) types.BaseMethodFault {
	if !l.isLimited(user) || soapReads[method.Name] && readPrivileges[method.Name] == "" {
		return nil
	}
	for _, demand := range l.demands(method) {
		if !l.holds(demand.privilege) {
			return noPermission(demand)
		}
	}
	return nil
}

func noPermission(d demand) types.BaseMethodFault {
	return &types.NoPermission{
		Object: &d.object, PrivilegeId: d.privilege,
		MissingPrivileges: []types.NoPermissionEntityPrivileges{{Entity: d.object, PrivilegeIds: []string{d.privilege}}},
	}
}

var errNoPrivilege = errors.New("Permission to perform this operation was denied")

// mayWrite is the check for REST calls: deploy of a VM template item or an OVF item, and others that write.
func (l *lab) mayWrite(user string, writes bool, path, action string) error {
	if !l.isLimited(user) || !writes {
		return nil
	}
	wanted := []string{"ContentLibrary.UpdateLibrary"}
	switch {
	case action == "deploy" && strings.Contains(path, ovfPath):
		wanted = []string{"VApp.Import", "Datastore.AllocateSpace", "Network.Assign"}
	case action == "deploy":
		wanted = []string{"VirtualMachine.Provisioning.DeployTemplate", "VirtualMachine.Inventory.CreateFromExisting",
			"Resource.AssignVMToPool", "Datastore.AllocateSpace"}
	}
	for _, privilege := range wanted {
		if !l.holds(privilege) {
			return fmt.Errorf("%w: %s", errNoPrivilege, privilege)
		}
	}
	return nil
}

// The questions about privileges, which the simulator answers with yes for everybody.

func (d *desk) granted(user, privilege string) bool { return !d.isLimited(user) || d.holds(privilege) }

func (d *desk) availability(user string, entities []types.ManagedObjectReference, ids []string) []types.EntityPrivilege {
	var answer []types.EntityPrivilege
	for _, entity := range entities {
		one := types.EntityPrivilege{Entity: entity}
		for _, id := range ids {
			one.PrivAvailability = append(one.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: d.granted(user, id)})
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
		answer = append(answer, d.granted(user, id))
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
	var answer []types.UserPrivilegeResult
	for _, entity := range r.Entities {
		answer = append(answer, types.UserPrivilegeResult{
			Entity: entity, Privileges: append([]string{"System.Anonymous", "System.View", "System.Read"}, d.limited.Privileges...),
		})
	}
	return &methods.FetchUserPrivilegeOnEntitiesBody{Res: &types.FetchUserPrivilegeOnEntitiesResponse{Returnval: answer}}
}

func (d *desk) sessionUser(ctx *simulator.Context, session string) string {
	if session == ctx.Session.Key {
		return ctx.Session.UserName
	}
	return d.users.of(session)
}
