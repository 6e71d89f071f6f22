// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheOneUserGetsIn(t *testing.T) {
	tl := startLab(t, nil)
	for _, who := range [][2]string{{testUser, "wrong"}, {testUser, ""}, {"root", testPassword}, {"", ""}} {
		address := *tl.url
		address.User = url.UserPassword(who[0], who[1])
		_, err := govmomi.NewClient(context.Background(), &address, true)
		if !fault.Is(err, &types.InvalidLogin{}) {
			t.Errorf("%v: got %v, expected InvalidLogin", who, err)
		}
	}
}

func TestWithoutALoginOnlyTheServiceContentIsOpen(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, soap.NewClient(tl.url, true))
	if err != nil {
		t.Fatal(err)
	}
	about := client.ServiceContent.About
	if about.FullName != "VMware vCenter Server 8.0.3 build-24022515 (simulated)" || about.ApiVersion != "8.0.3.0" ||
		about.InstanceUuid == "" {
		t.Errorf("about is %+v", about)
	}
	var folder mo.Folder
	err = property.DefaultCollector(client).RetrieveOne(ctx, client.ServiceContent.RootFolder, nil, &folder)
	if !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("reading the root folder: %v, expected NotAuthenticated", err)
	}
	_, err = methods.LoginExtensionByCertificate(ctx, client, &types.LoginExtensionByCertificate{
		This: *client.ServiceContent.SessionManager, ExtensionKey: "x",
	})
	if !fault.Is(err, &types.InvalidLogin{}) {
		t.Errorf("login by extension: %v, expected InvalidLogin", err)
	}
}

// ask is a plain REST call, as a client without govmomi makes it.
func (tl *testLab) ask(method, path, session, body string, header ...string) (int, string) {
	tl.t.Helper()
	request, err := http.NewRequest(method, "https://"+tl.url.Host+path, strings.NewReader(body))
	if err != nil {
		tl.t.Fatal(err)
	}
	if session != "" {
		request.Header.Set("vmware-api-session-id", session)
	}
	if len(header) == 2 {
		request.Header.Set(header[0], header[1])
	}
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if err != nil {
		tl.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		tl.t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

func (tl *testLab) restSession() string {
	tl.t.Helper()
	request, _ := http.NewRequest(http.MethodPost, "/", nil)
	request.SetBasicAuth(testUser, testPassword)
	code, text := tl.ask("POST", "/api/session", "", "", "Authorization", request.Header.Get("Authorization"))
	var session string
	if err := json.Unmarshal([]byte(text), &session); code != http.StatusCreated || err != nil {
		tl.t.Fatalf("POST /api/session: %d %s", code, text)
	}
	return session
}

func TestRESTAsksForTheSameLogin(t *testing.T) {
	tl := startLab(t, nil)
	request, _ := http.NewRequest(http.MethodPost, "/", nil)
	request.SetBasicAuth(testUser, "wrong")
	wrong := request.Header.Get("Authorization")
	for _, c := range []struct{ method, path, authorization string }{
		{"POST", "/api/session", wrong}, {"POST", "/rest/com/vmware/cis/session", wrong},
		{"POST", "/api/session", "SIGN token"}, {"POST", "/rest/com/vmware/cis/session", "SIGN token"},
		{"GET", "/api/session", ""}, {"GET", "/api/content/library", ""}, {"GET", "/rest/com/vmware/content/library", ""},
		{"GET", "/api/vcenter/vm-template/library-items/x", ""},
	} {
		if code, text := tl.ask(c.method, c.path, "", "", "Authorization", c.authorization); code != http.StatusUnauthorized {
			t.Errorf("%s %s with %q: %d %s, expected 401", c.method, c.path, c.authorization, code, text)
		}
	}
	rpc := `{"jsonrpc":"2.0","params":{"serviceId":"com.vmware.cis.session","operationId":"create"}}`
	if code, text := tl.ask("POST", "/api", "", rpc); code != http.StatusNotFound {
		t.Errorf("JSON-RPC login: %d %s, expected 404", code, text)
	}
	session := tl.restSession()
	if code, _ := tl.ask("DELETE", "/api/session", session, ""); code != http.StatusNoContent {
		t.Errorf("DELETE /api/session: %d, expected 204", code)
	}
	if code, _ := tl.ask("GET", "/api/content/library", session, ""); code != http.StatusUnauthorized {
		t.Errorf("after the logout: %d, expected 401", code)
	}
}

func TestALibraryItemLeadsToItsTemplate(t *testing.T) {
	tl := startLab(t, nil)
	session := tl.restSession()
	get := func(method, path, body string, target any) {
		t.Helper()
		code, text := tl.ask(method, path, session, body)
		if err := json.Unmarshal([]byte(text), target); code != http.StatusOK || err != nil {
			t.Fatalf("%s %s: %d %s %v", method, path, code, text, err)
		}
	}
	var ids []string
	get("POST", "/api/content/library?action=find", `{"name":"nano-banana","type":"LOCAL"}`, &ids)
	var items []string
	get("POST", "/api/content/library/item?action=find",
		`{"library_id":"`+ids[0]+`","name":"`+baseline+`"}`, &items)
	var item map[string]any
	get("GET", "/api/content/library/item/"+items[0], "", &item)
	if item["type"] != "vm-template" || item["name"] != baseline || item["Template"] != nil || item["File"] != nil {
		t.Errorf("item is %v", item)
	}
	var info struct {
		VM    string `json:"vm_template"`
		Disks map[string]struct {
			Capacity int64 `json:"capacity"`
		} `json:"disks"`
	}
	get("GET", "/api/vcenter/vm-template/library-items/"+items[0], "", &info)
	if want := tl.template(baseline).Reference().Value; info.VM != want {
		t.Errorf("vm_template is %q, expected %q", info.VM, want)
	}
	if info.Disks["2000"].Capacity != 40<<30 {
		t.Errorf("disks are %+v", info.Disks)
	}
	var none []string
	get("POST", "/api/content/library?action=find", `{"name":"other"}`, &none)
	if none == nil || len(none) != 0 {
		t.Errorf("a library that is not there: %#v, expected an empty list", none)
	}
	if code, _ := tl.ask("GET", "/api/content/library/item/none", session, ""); code != http.StatusNotFound {
		t.Errorf("an item that is not there: %d, expected 404", code)
	}
}

func TestGovmomisLibraryClientFindsAndDeploys(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	client := rest.NewClient(tl.client)
	if err := client.Login(ctx, url.UserPassword(testUser, testPassword)); err != nil {
		t.Fatal(err)
	}
	manager := library.NewManager(client)
	lib, err := manager.GetLibraryByName(ctx, "nano-banana")
	if err != nil {
		t.Fatal(err)
	}
	items, err := manager.GetLibraryItems(ctx, lib.ID)
	if err != nil || len(items) != 4 {
		t.Fatalf("items: %v %v", items, err)
	}
	at := slices.IndexFunc(items, func(i library.Item) bool { return i.Name == baseline })
	info, err := vcenter.NewManager(client).GetLibraryTemplateInfo(ctx, items[at].ID)
	if err != nil || info.VmTemplate != tl.template(baseline).Reference().Value || info.Memory.SizeMB != 6144 {
		t.Errorf("template info: %+v %v", info, err)
	}
	ref, err := vcenter.NewManager(client).DeployTemplateLibraryItem(ctx, items[at].ID, vcenter.DeployTemplate{
		Name: "deployed", Placement: &library.Placement{Folder: tl.lab.places.folder.Value}, PoweredOn: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var vm mo.VirtualMachine
	if err := property.DefaultCollector(tl.client).RetrieveOne(ctx, *ref, nil, &vm); err != nil {
		t.Fatal(err)
	}
	if vm.Config.Template || vm.Runtime.PowerState != poweredOn {
		t.Errorf("deployed: template %v, %s; expected a running VM", vm.Config.Template, vm.Runtime.PowerState)
	}
}

func TestTheCallLogHoldsCallsAndNoArguments(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.clone("secretive", &types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{
		&types.OptionValue{Key: "guestinfo.userdata", Value: "top-secret"},
	}})
	tl.must(vm.PowerOn(context.Background()))
	tl.fault(vm.Destroy(context.Background()))
	session := tl.restSession()
	tl.ask("GET", "/api/content/library", session, "")
	if _, err := vm.PowerOff(context.Background()); err != nil {
		t.Fatal(err)
	}
	template := tl.template(baseline)
	if _, err := template.PowerOn(context.Background()); err == nil {
		t.Error("a template was powered on")
	}

	var writes []string
	for _, c := range tl.loggedCalls() {
		if c.Time == "" || c.Method == "" || c.API == "soap" && c.Object == "" && c.Method != "RetrieveServiceContent" {
			t.Errorf("incomplete line %+v", c)
		}
		if c.Write {
			writes = append(writes, c.Method+" "+c.Object+" "+c.Fault)
		}
		if c.Method == "Login" && c.User != testUser {
			t.Errorf("login of %q", c.User)
		}
	}
	ref, source := "VirtualMachine:"+vm.Reference().Value, "VirtualMachine:"+template.Reference().Value
	want := []string{"CloneVM_Task " + source + " ", "PowerOnVM_Task " + ref + " ", "Destroy_Task " + ref + " ",
		"PowerOffVM_Task " + ref + " ", "PowerOnVM_Task " + source + " NotSupported"}
	if !slices.Equal(writes, want) {
		t.Errorf("writes are\n%s\nexpected\n%s", strings.Join(writes, "\n"), strings.Join(want, "\n"))
	}
	text, _ := os.ReadFile(tl.calls)
	for _, secret := range []string{"top-secret", testPassword, session} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestItStopsWithItsDriverAndLeavesNothing(t *testing.T) {
	o := testOptions(t)
	l, err := newLab(o)
	if err != nil {
		t.Fatal(err)
	}
	guests := newFakeGuests(t)
	d, err := newSocketDriver(guests.vcenterEnd, l.guestEvent)
	if err != nil {
		t.Fatal(err)
	}
	l.driver = d
	s, err := startServer(o, l)
	if err != nil {
		t.Fatal(err)
	}
	var ready struct{ Address string }
	text, err := os.ReadFile(o.ready)
	if err == nil {
		err = json.Unmarshal(text, &ready)
	}
	if err != nil || ready.Address != l.service.Listen.Host {
		t.Errorf("ready file: %s %v", text, err)
	}
	_ = guests.conn.Close()
	<-d.done()
	s.close()
	l.close()
	left, err := os.ReadDir(o.work)
	if err != nil || len(left) != 0 {
		t.Errorf("left in -work: %v %v", left, err)
	}
}

func TestAMissingSocketIsSaidAtTheStart(t *testing.T) {
	for value, want := range map[string]string{"fd:999": "not open", "fd:x": "expected fd:N", "tcp": "expected fd:N"} {
		if _, err := openDriver(value, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
}
