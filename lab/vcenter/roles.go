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
	"github.com/vmware/govmomi/vim25/types"
)

// limitedUser is what -roles holds: the login that is no administrator's, with its roles and where it holds them. It
// holds no other.
type limitedUser struct {
	User         string              `json:"user"`
	PasswordFile string              `json:"password_file"`
	Roles        map[string][]string `json:"roles"`
	Grants       []grant             `json:"grants"`
	Global       string              `json:"global"` // the role on the global root, where only a person can give one
	password     string
}

type grant struct {
	Type      string `json:"type"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	Propagate bool   `json:"propagate"`
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
	if user.User == "" || len(user.Roles) == 0 || len(user.Grants) == 0 {
		return nil, fmt.Errorf("roles %s: user, roles and grants are needed", file)
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

// forbidden is the fault for a call that a user's role does not allow, nil where it may go on.
func (l *lab) forbidden(user string, method *simulator.Method) types.BaseMethodFault {
	if !l.isLimited(user) || soapReads[method.Name] && readPrivileges[method.Name] == "" {
		return nil
	}
	held := l.permissionsOf(user)
	for _, demand := range l.demands(method) {
		demand.object = l.guarded(demand.object)
		if !slices.Contains(held.privileges(demand.object), demand.privilege) {
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

// mayRest is the check for calls by REST that write, other than a deploy, whose places only its body names.
func (l *lab) mayRest(user string, writes, deploys bool) error {
	if writes && !deploys && !l.holds(user, "ContentLibrary.UpdateLibrary", globalRoot) {
		return fmt.Errorf("%w: %s", errNoPrivilege, "ContentLibrary.UpdateLibrary")
	}
	return nil
}

// mayMake is the check for a VM that no SOAP call asks for.
func (l *lab) mayMake(user string, demands []demand) error {
	for _, demand := range demands {
		if !l.holds(user, demand.privilege, demand.object) {
			return fmt.Errorf("%w: %s on %s", errNoPrivilege, demand.privilege, demand.object.Value)
		}
	}
	return nil
}

// seesLibraries says whether the Content Libraries are there for a user: rights on vCenter's own root do not show them.
func (l *lab) seesLibraries(user string) bool { return l.holds(user, "System.Read", globalRoot) }
