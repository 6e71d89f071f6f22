// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	testUser     = "administrator@vsphere.local"
	testPassword = "correct horse"
	baseline     = "nano-banana-baseline-template"
)

const testInventory = `{"datacenter":"DC0","cluster":"gpu-cluster","hosts":[
 {"name":"esx-01.lab","cpus":32,"memory_mb":65536},{"name":"esx-02.lab","cpus":32,"memory_mb":65536}],
 "datastore":{"name":"vmfs-01","capacity_gb":4096},"portgroup":"testbed","dvswitch":"dvs-01","folder":"nano-banana",
 "library":"nano-banana","templates":[
 {"name":"nano-banana-baseline-template","guest_id":"ubuntu64Guest","firmware":"efi","cpus":4,"memory_mb":6144,
  "disk_gb":40,"hardware_version":"vmx-20"},
 {"name":"nano-banana-stress-template","guest_id":"centos7_64Guest","firmware":"bios","cpus":2,"memory_mb":4096,
  "disk_gb":20,"hardware_version":"vmx-17"}],
 "ovf_items":[
 {"name":"nano-banana-baseline-ovf","descriptor":"baseline.ovf","template":"nano-banana-baseline-template"},
 {"name":"nano-banana-appliance-ovf","descriptor":"appliance.ovf","template":"nano-banana-stress-template"}],
 "vcenter":{"version":"8.0.3","build":"24022515"}}`

// testLab is the running program, reached by govmomi's own client over TLS.
type testLab struct {
	t       *testing.T
	lab     *lab
	guests  *fakeGuests
	url     *url.URL
	client  *vim25.Client
	finder  *find.Finder
	calls   string
	options options
}

func startLab(t *testing.T, change func(*options)) *testLab {
	t.Helper()
	o := testOptions(t)
	if change != nil {
		change(&o)
	}
	l, err := newLab(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	guests := newFakeGuests(t)
	driver, err := newSocketDriver(guests.vcenterEnd, l.guestEvent)
	if err != nil {
		t.Fatal(err)
	}
	l.driver = driver
	s, err := startServer(o, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)

	tl := &testLab{t: t, lab: l, guests: guests, calls: o.calls, options: o}
	tl.url = l.service.Listen
	tl.client = tl.login(testUser, testPassword)
	tl.finder = find.NewFinder(tl.client)
	datacenter, err := tl.finder.DefaultDatacenter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tl.finder.SetDatacenter(datacenter)
	return tl
}

func testOptions(t *testing.T) options {
	t.Helper()
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key := selfSigned(t)
	return options{
		guests: "none", listen: "127.0.0.1:0", user: testUser,
		cert: write("server.pem", certificate), key: write("server.key", key),
		passwordFile: write("password", testPassword+"\n"), inventory: write("inventory.json", testInventory),
		calls: filepath.Join(folder, "calls.jsonl"), ready: filepath.Join(folder, "ready.json"),
		work: filepath.Join(folder, "work"),
	}
}

func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func (tl *testLab) login(user, password string) *vim25.Client {
	tl.t.Helper()
	address := *tl.url
	address.User = url.UserPassword(user, password)
	client, err := govmomi.NewClient(context.Background(), &address, true)
	if err != nil {
		tl.t.Fatal(err)
	}
	return client.Client
}

func (tl *testLab) template(name string) *object.VirtualMachine {
	tl.t.Helper()
	vm, err := tl.finder.VirtualMachine(context.Background(), name)
	if err != nil {
		tl.t.Fatal(err)
	}
	return vm
}

// startClone asks for a clone of the baseline template in the cluster's pool.
func (tl *testLab) startClone(name string, config *types.VirtualMachineConfigSpec) *object.Task {
	tl.t.Helper()
	pool := tl.lab.places.pool
	spec := types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &pool}, Config: config}
	folder := object.NewFolder(tl.client, tl.lab.places.folder)
	task, err := tl.template(baseline).Clone(context.Background(), folder, name, spec)
	if err != nil {
		tl.t.Fatal(err)
	}
	return task
}

func (tl *testLab) clone(name string, config *types.VirtualMachineConfigSpec) *object.VirtualMachine {
	tl.t.Helper()
	info, err := tl.startClone(name, config).WaitForResult(context.Background())
	if err != nil {
		tl.t.Fatal(err)
	}
	return object.NewVirtualMachine(tl.client, info.Result.(types.ManagedObjectReference))
}

func (tl *testLab) running(name string) *object.VirtualMachine {
	tl.t.Helper()
	vm := tl.clone(name, nil)
	tl.must(vm.PowerOn(context.Background()))
	return vm
}

// must waits for a task that has to succeed.
func (tl *testLab) must(task *object.Task, err error) {
	tl.t.Helper()
	if err == nil {
		err = task.Wait(context.Background())
	}
	if err != nil {
		tl.t.Fatal(err)
	}
}

// fault waits for a task that has to fail, and gives its fault and message.
func (tl *testLab) fault(task *object.Task, err error) (types.BaseMethodFault, string) {
	tl.t.Helper()
	if err != nil {
		tl.t.Fatalf("the call itself failed, expected a failing task: %v", err)
	}
	info, err := task.WaitForResult(context.Background())
	if err == nil {
		tl.t.Fatal("the task succeeded, expected a fault")
	}
	return info.Error.Fault, info.Error.LocalizedMessage
}

func (tl *testLab) properties(vm *object.VirtualMachine) mo.VirtualMachine {
	tl.t.Helper()
	var properties mo.VirtualMachine
	if err := vm.Properties(context.Background(), vm.Reference(), nil, &properties); err != nil {
		tl.t.Fatal(err)
	}
	return properties
}

func (tl *testLab) loggedCalls() []call {
	tl.t.Helper()
	text, err := os.ReadFile(tl.calls)
	if err != nil {
		tl.t.Fatal(err)
	}
	var calls []call
	for line := range strings.Lines(string(text)) {
		var c call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			tl.t.Fatalf("%q: %v", line, err)
		}
		calls = append(calls, c)
	}
	return calls
}

// eventually waits for what happens beside the test.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if check() {
			return
		}
	}
	t.Fatalf("not within 5 s: %s", what)
}

// fakeGuests is a guest driver at the other end of a pipe. Without an answer function it does everything at once.
type fakeGuests struct {
	t          *testing.T
	vcenterEnd net.Conn
	conn       net.Conn
	write      sync.Mutex

	mutex  sync.Mutex
	answer func(guestRequest) string // the error, "" for ok; runs beside the others
	seen   []guestRequest
}

func newFakeGuests(t *testing.T) *fakeGuests {
	t.Helper()
	ours, theirs := net.Pipe()
	g := &fakeGuests{t: t, vcenterEnd: theirs, conn: ours}
	t.Cleanup(func() { _ = ours.Close() })
	go g.serve()
	return g
}

func (g *fakeGuests) serve() {
	lines := bufio.NewReader(g.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var request guestRequest
		if err := json.Unmarshal(line, &request); err != nil {
			g.t.Errorf("request %q: %v", line, err)
			return
		}
		g.mutex.Lock()
		g.seen = append(g.seen, request)
		answer := g.answer
		g.mutex.Unlock()
		go func() {
			problem := ""
			if answer != nil && request.Op != "hello" {
				problem = answer(request)
			}
			if problem == "" {
				g.send(map[string]any{"id": request.ID, "ok": true})
				return
			}
			g.send(map[string]any{"id": request.ID, "ok": false, "error": map[string]string{"message": problem}})
		}()
	}
}

func (g *fakeGuests) send(message map[string]any) {
	line, err := json.Marshal(message)
	if err != nil {
		g.t.Errorf("%v: %v", message, err)
		return
	}
	g.write.Lock()
	defer g.write.Unlock()
	_, _ = g.conn.Write(append(line, '\n')) // fails when the test is over
}

func (g *fakeGuests) event(vm *object.VirtualMachine, guest map[string]any) {
	g.send(map[string]any{"event": "guest", "moid": vm.Reference().Value, "guest": guest})
}

func (g *fakeGuests) answerWith(answer func(guestRequest) string) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.answer = answer
}

func (g *fakeGuests) operations() []string {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var operations []string
	for _, request := range g.seen {
		operations = append(operations, request.Op)
	}
	return operations
}

// asked are the requests for one operation so far.
func (g *fakeGuests) asked(operation string) []guestRequest {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var found []guestRequest
	for _, request := range g.seen {
		if request.Op == operation {
			found = append(found, request)
		}
	}
	return found
}

// refuse makes one operation fail from now on.
func (g *fakeGuests) refuse(operation, problem string) {
	g.answerWith(func(r guestRequest) string {
		if r.Op == operation {
			return problem
		}
		return ""
	})
}

func (tl *testLab) userInfo() *url.Userinfo { return url.UserPassword(testUser, testPassword) }
