// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// mishapSettings is what -faults holds: how slow this vCenter is, and what goes wrong on it.
type mishapSettings struct {
	Delays       map[string]duration `json:"delays"`         // by method; before its work
	ClonesAtOnce int                 `json:"clones_at_once"` // of one source, 8 unless set; further ones are queued
	Random       randomSettings      `json:"random"`
	Sessions     sessionSettings     `json:"sessions"`
	Drop         dropSettings        `json:"drop_connection"`
	Refuse       []refuseSettings    `json:"refuse"`
}

// randomSettings make tasks fail by chance. Whether one does depends on seed, method, VM name and how often that VM was
// tried, not on the order of calls.
type randomSettings struct {
	Seed    uint64   `json:"seed"`
	Rate    float64  `json:"rate"`
	Methods []string `json:"methods"`
	Faults  []string `json:"faults"`
}

// sessionSettings end each session after its Nth call, SOAP and REST apart; at most Times of them each, 0 is no end.
type sessionSettings struct {
	ExpireAfterCalls     int `json:"expire_after_calls"`
	RestExpireAfterCalls int `json:"rest_expire_after_calls"`
	Times                int `json:"times"`
}

// dropSettings close the connection instead of answering the Nth call of these methods (all, if none are named). With
// Executed the call has done its work: the client cannot know.
type dropSettings struct {
	AfterCalls int      `json:"after_calls"`
	Methods    []string `json:"methods"`
	Executed   bool     `json:"executed"`
	Times      int      `json:"times"` // 1 unless set
}

// refuseSettings make one method's tasks fail for the VMs of that name (a shell pattern), Times of them, 0 is always.
type refuseSettings struct {
	VM     string `json:"vm"`
	Method string `json:"method"`
	Fault  string `json:"fault"`
	Times  int    `json:"times"`
}

type duration time.Duration

// UnmarshalJSON reads "2s", "300ms".
func (d *duration) UnmarshalJSON(text []byte) error {
	var word string
	if err := json.Unmarshal(text, &word); err != nil {
		return fmt.Errorf("a delay is %s, expected a text as \"2s\" or \"300ms\"", text)
	}
	parsed, err := time.ParseDuration(word)
	if err != nil || parsed < 0 {
		return fmt.Errorf("a delay is %q, expected a text as \"2s\" or \"300ms\"", word)
	}
	*d = duration(parsed)
	return nil
}

const clonesAtOnce = 8

// retryable are the faults that random errors take when none are named.
var retryable = []string{"TaskInProgress", "HostNotConnected", "HostCommunication", "ConcurrentAccess"}

var disturbed = []string{"CloneVM_Task", "CreateVM_Task", "ReconfigVM_Task", "PowerOnVM_Task", "PowerOffVM_Task", "Destroy_Task",
	"SuspendVM_Task", "ResetVM_Task", "CreateSnapshot_Task", "CreateSnapshotEx_Task"}

func readMishaps(file string) (mishapSettings, error) {
	var s mishapSettings
	if file == "" {
		return s, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("flag -faults: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("faults %s: %w", file, err)
	}
	if err := s.check(); err != nil {
		return s, fmt.Errorf("faults %s: %w", file, err)
	}
	return s, nil
}

func (s mishapSettings) check() error {
	if s.Random.Rate < 0 || s.Random.Rate > 1 {
		return fmt.Errorf("random.rate is %v, expected 0 to 1", s.Random.Rate)
	}
	if s.ClonesAtOnce < 0 {
		return fmt.Errorf("clones_at_once is %d, expected 1 or more", s.ClonesAtOnce)
	}
	methods := slices.Concat(s.Random.Methods, s.Drop.Methods)
	faults := slices.Clone(s.Random.Faults)
	for method := range s.Delays {
		methods = append(methods, method)
	}
	for _, refuse := range s.Refuse {
		methods, faults = append(methods, refuse.Method), append(faults, refuse.Fault)
		if _, err := path.Match(refuse.VM, ""); err != nil || refuse.VM == "" {
			return fmt.Errorf("refuse.vm is %q, expected a VM's name or a pattern as nb-*", refuse.VM)
		}
	}
	for _, method := range methods {
		if _, known := types.TypeFunc()(method); !known {
			return fmt.Errorf("%q is no method of the vSphere API", method)
		}
	}
	for _, fault := range faults {
		if _, err := newFault(fault); err != nil {
			return err
		}
	}
	return nil
}

func newFault(name string) (types.BaseMethodFault, error) {
	if kind, known := types.TypeFunc()(name); known {
		if fault, ok := reflect.New(kind).Interface().(types.BaseMethodFault); ok {
			return fault, nil
		}
	}
	return nil, fmt.Errorf("%q is no fault of the vSphere API, expected a type as TaskInProgress", name)
}

// mishaps applies the settings. Nothing goes wrong before armed: the lab builds its inventory with the same calls.
type mishaps struct {
	settings mishapSettings
	armed    atomic.Bool

	mutex   sync.Mutex
	tries   map[string]uint64 // by method and VM name
	refused []int             // by index of settings.Refuse
	places  map[types.ManagedObjectReference]chan struct{}
	doors   map[string]*sessionCount
	ended   map[string]int // by API
	calls   int
	dropped int
}

func newMishaps(settings mishapSettings) *mishaps {
	if settings.ClonesAtOnce == 0 {
		settings.ClonesAtOnce = clonesAtOnce
	}
	if settings.Random.Faults == nil {
		settings.Random.Faults = retryable
	}
	if settings.Random.Methods == nil {
		settings.Random.Methods = disturbed
	}
	return &mishaps{
		settings: settings, tries: map[string]uint64{}, refused: make([]int, len(settings.Refuse)),
		places: map[types.ManagedObjectReference]chan struct{}{}, doors: map[string]*sessionCount{}, ended: map[string]int{},
	}
}

// queue waits for one of the places that a source has for its clones, in order of arrival.
func (m *mishaps) queue(source types.ManagedObjectReference) (leave func()) {
	m.mutex.Lock()
	places, found := m.places[source]
	if !found {
		places = make(chan struct{}, m.settings.ClonesAtOnce)
		m.places[source] = places
	}
	m.mutex.Unlock()
	places <- struct{}{}
	return func() { <-places }
}

func (m *mishaps) pause(method string) {
	if delay := m.settings.Delays[method]; delay > 0 && m.armed.Load() {
		time.Sleep(time.Duration(delay))
	}
}

// strike is the fault that a task has to end with, nil for none.
func (m *mishaps) strike(method, name string, task types.ManagedObjectReference, datastore string) *failure {
	if !m.armed.Load() {
		return nil
	}
	kind := m.chosen(method, name)
	if kind == "" {
		return nil
	}
	fault, err := newFault(kind)
	if err != nil { // checked when the settings were read
		return systemError(err.Error())
	}
	fields := reflect.ValueOf(fault).Elem()
	if field := fields.FieldByName("Task"); field.IsValid() && field.Type() == reflect.TypeOf(task) {
		field.Set(reflect.ValueOf(task))
	}
	if field := fields.FieldByName("Datastore"); field.IsValid() && field.Kind() == reflect.String {
		field.SetString(datastore)
	}
	return &failure{fault, messageOf(kind)}
}

func (m *mishaps) chosen(method, name string) string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for i, refuse := range m.settings.Refuse {
		if refuse.Method != method || refuse.Times > 0 && m.refused[i] >= refuse.Times {
			continue
		}
		if ok, _ := path.Match(refuse.VM, name); ok {
			m.refused[i]++
			return refuse.Fault
		}
	}
	random := m.settings.Random
	if random.Rate == 0 || !slices.Contains(random.Methods, method) {
		return ""
	}
	key := method + " " + name
	m.tries[key]++
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(key))
	dice := rand.New(rand.NewPCG(random.Seed, hash.Sum64()+m.tries[key]))
	if dice.Float64() >= random.Rate {
		return ""
	}
	return random.Faults[dice.IntN(len(random.Faults))]
}

func messageOf(fault string) string {
	known := map[string]string{
		"TaskInProgress":    "The operation is not allowed in the current state because another task is already in progress.",
		"HostNotConnected":  "Unable to communicate with the remote host, since it is disconnected.",
		"HostCommunication": "Unable to communicate with the host.",
		"ConcurrentAccess":  concurrentAccess().message,
		"NoDiskSpace":       "Insufficient disk space on datastore.",
		"NoPermission":      "Permission to perform this operation was denied.",
	}
	if message := known[fault]; message != "" {
		return message
	}
	return fmt.Sprintf("The operation failed: %s.", fault)
}

var errNoAnswer = errors.New("the settings of -faults drop this connection")
