// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	ovfPath    = "/vcenter/ovf/library-item/"
	ovfOldPath = "/com/vmware" + ovfPath + "id:"
)

// ovfTokens are the results of deployments that succeeded, by their client's token: a request that is sent again makes no
// second VM.
type ovfTokens struct {
	mutex sync.Mutex
	made  map[string]types.ManagedObjectReference
}

func (t *ovfTokens) of(token string) (types.ManagedObjectReference, bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	ref, found := t.made[token]
	return ref, found && token != ""
}

func (t *ovfTokens) note(token string, ref types.ManagedObjectReference) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.made == nil {
		t.made = map[string]types.ManagedObjectReference{}
	}
	t.made[token] = ref
}

// ovfRequest is the body of filter and deploy. In the old form maps are lists of pairs, and the token is not in the query.
type ovfRequest struct {
	ClientToken string         `json:"client_token"`
	Target      vcenter.Target `json:"target"`
	Spec        struct {
		vcenter.DeploymentSpec
		NetworkMappings json.RawMessage `json:"network_mappings"`
		StorageMappings json.RawMessage `json:"storage_mappings"`
	} `json:"deployment_spec"`
}

func (r ovfRequest) networks(pairs bool) (map[string]string, error) {
	networks := map[string]string{}
	if len(r.Spec.NetworkMappings) == 0 {
		return networks, nil
	}
	if !pairs {
		return networks, json.Unmarshal(r.Spec.NetworkMappings, &networks)
	}
	var list []vcenter.NetworkMapping
	err := json.Unmarshal(r.Spec.NetworkMappings, &list)
	for _, pair := range list {
		networks[pair.Key] = pair.Value
	}
	return networks, err
}

// serveOVF answers filter and deploy of an OVF item.
func (d *restDoor) serveOVF(answer restAnswer, r *http.Request, id string) {
	if !d.loggedIn(r) {
		answer.unauthenticated()
		return
	}
	item, found := d.lab.ovfItems[id]
	var request ovfRequest
	err := json.NewDecoder(r.Body).Decode(&request)
	switch action := r.URL.Query().Get("action") + r.URL.Query().Get("~action"); {
	case !found:
		answer.fail(http.StatusNotFound, "NOT_FOUND", "There is no OVF item "+id)
	case r.Method != http.MethodPost || action != "filter" && action != "deploy":
		answer.fail(http.StatusBadRequest, "UNSUPPORTED", "The lab offers filter and deploy for OVF items")
	case err != nil || !answer.wrapped && request.ClientToken != "":
		if err == nil {
			err = errors.New("client_token is a query parameter")
		}
		answer.fail(http.StatusBadRequest, "INVALID_ARGUMENT", err.Error())
	case request.Target.ResourcePoolID == "":
		answer.fail(http.StatusBadRequest, "INVALID_ARGUMENT", "target.resource_pool_id is needed")
	case d.lab.missingTarget(request.Target) != "":
		answer.fail(http.StatusNotFound, "NOT_FOUND", "There is no "+d.lab.missingTarget(request.Target))
	case action == "filter":
		answer.ok(http.StatusOK, item.summary())
	default:
		d.deployItem(answer, r, item, request)
	}
}

func (d *restDoor) deployItem(answer restAnswer, r *http.Request, item *ovfItem, request ovfRequest) {
	networks, err := request.networks(answer.wrapped)
	if err != nil {
		answer.fail(http.StatusBadRequest, "INVALID_ARGUMENT", "Could not convert field 'network_mappings': "+err.Error())
		return
	}
	known := item.networks()
	for name, network := range networks {
		if _, found := d.lab.network(network); !found || !slices.Contains(known, name) {
			// vCenter's own answer: it does not say which of them.
			answer.fail(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "An internal error occurred.")
			return
		}
	}
	if missing := item.unmapped(networks); missing != "" {
		answer.ok(http.StatusOK, badInput("network_mappings", missing, "A network of the OVF package has no target network."))
		return
	}
	if len(item.summary().EULAs) > 0 && !request.Spec.AcceptAllEULA {
		answer.ok(http.StatusOK, badInput("accept_all_EULA", "false", "The end user license agreement is not accepted."))
		return
	}
	d.makeOVF(answer, r, request, ovfDeployment{item: item, spec: request.Spec.DeploymentSpec, networks: networks})
}

func (d *restDoor) makeOVF(answer restAnswer, r *http.Request, request ovfRequest, wanted ovfDeployment) {
	folder, store := d.lab.places.folder, d.lab.places.datastore
	if request.Target.FolderID != "" {
		folder.Value = request.Target.FolderID
	}
	if wanted.spec.DefaultDatastoreID != "" {
		store.Value = wanted.spec.DefaultDatastoreID
	}
	var ok bool
	if wanted.store, ok = d.lab.registry.Get(store).(*simulator.Datastore); !ok {
		answer.fail(http.StatusNotFound, "NOT_FOUND", "There is no Datastore:"+store.Value)
		return
	}
	wanted.folder = d.lab.registry.Get(folder).(*simulator.Folder)
	wanted.pool = types.ManagedObjectReference{Type: "ResourcePool", Value: request.Target.ResourcePoolID}
	if request.Target.HostID != "" {
		wanted.host = &types.ManagedObjectReference{Type: "HostSystem", Value: request.Target.HostID}
	}
	if wanted.spec.Name == "" {
		wanted.spec.Name = wanted.item.summary().Name
	}
	user := d.lab.users.of(restToken(r))
	if err := d.lab.mayMake(user, d.lab.importDemands(wanted)); err != nil {
		answer.fail(http.StatusForbidden, "UNAUTHORIZED", err.Error())
		return
	}
	token := request.ClientToken + r.URL.Query().Get("client_token")
	ref, again := d.lab.tokens.of(token)
	if !again {
		var failed *failure
		if ref, failed = d.lab.deployOVF(user, wanted); failed != nil {
			answer.ok(http.StatusOK, serverError(answer.wrapped, failed))
			return
		}
		d.lab.tokens.note(token, ref)
	}
	answer.ok(http.StatusOK, map[string]any{
		"succeeded": true, "resource_id": map[string]string{"type": ref.Type, "id": ref.Value},
	})
}

// badInput and serverError are deployments that failed: the call itself has succeeded.
func badInput(name, value, message string) map[string]any {
	return failedDeployment(map[string]any{"category": "INPUT", "name": name, "value": value, "message": restMessage(message)})
}

func serverError(wrapped bool, failed *failure) map[string]any {
	kind, message := "error", failed.message
	if known, ok := failed.fault.(*types.DuplicateName); ok {
		kind, message = "already_exists", fmt.Sprintf("An object of type \"VirtualMachine\" named %q already exists.", known.Name)
	}
	problem := map[string]any{"messages": []any{restMessage(message)}}
	if wrapped {
		problem["@class"] = "com.vmware.vapi.std.errors." + kind
	} else {
		problem["error_type"] = strings.ToUpper(kind)
	}
	return failedDeployment(map[string]any{"category": "SERVER", "error": problem})
}

func failedDeployment(one map[string]any) map[string]any {
	none := []any{}
	return map[string]any{
		"succeeded": false, "error": map[string]any{"errors": []any{one}, "warnings": none, "information": none},
	}
}

func restMessage(text string) map[string]any {
	return map[string]any{"id": "lab.ovf", "default_message": text, "args": []string{}}
}
