// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
)

const protocolVersion = 2

// driver makes guests do what happens to their VMs.
type driver interface {
	// call returns when the guest did it. with is what the operation needs besides the VM. applied runs between the
	// driver's answer and the next thing that the driver says, so that what the guest does afterwards cannot be overtaken
	// by the answer.
	call(operation string, vm guestVM, with arguments, applied func()) error
	// done is closed when the driver is gone.
	done() <-chan struct{}
}

// arguments are an operation's by name; the driver's other end takes them as keyword arguments.
type arguments map[string]any

type guestVM struct {
	Moid           string            `json:"moid"`
	Name           string            `json:"name"`
	UUID           string            `json:"uuid"`
	InstanceUUID   string            `json:"instance_uuid"` // its identity: moids change when the vCenter is started anew
	Template       string            `json:"template"`
	GuestID        string            `json:"guest_id"`
	CPUs           int32             `json:"cpus"`
	CoresPerSocket int32             `json:"cores_per_socket"`
	MemoryMB       int32             `json:"memory_mb"`
	Firmware       string            `json:"firmware"`
	BootOrder      []string          `json:"boot_order"`  // "disk:KEY", "ethernet:KEY" or "cdrom"; empty: the first disk
	EnableUUID     bool              `json:"enable_uuid"` // the guest sees its disks' identifiers
	GuestInfo      map[string]string `json:"guestinfo"`
	Disks          []guestDisk       `json:"disks"`
	NICs           []guestNIC        `json:"nics"`
}

type guestDisk struct {
	Key           int32  `json:"key"`
	Unit          int32  `json:"unit"`
	Controller    string `json:"controller"` // its type
	ControllerKey int32  `json:"controller_key"`
	Bus           int32  `json:"bus"` // the controller's number among those of its type
	SizeKB        int64  `json:"size_kb"`
	UUID          string `json:"uuid"`
	Origin        bool   `json:"origin"` // its content began as a template's system disk
}

type guestNIC struct {
	Key     int32  `json:"key"`
	MAC     string `json:"mac"`
	Network string `json:"network"`
	Type    string `json:"type"`
}

// guestFacts is what VMware Tools would report. A nil field is unknown and changes nothing.
type guestFacts struct {
	Power        string            `json:"power"`
	ToolsRunning *bool             `json:"tools_running"`
	Hostname     *string           `json:"hostname"`
	Addresses    []string          `json:"addresses"`
	MAC          *string           `json:"mac"`
	GuestInfo    map[string]string `json:"guestinfo"` // what the guest wrote, "" takes a key away
	Crashed      bool              `json:"crashed"`   // its kernel panicked; the VM is still on
}

type guestRequest struct {
	ID        int64     `json:"id"`
	Op        string    `json:"op"`
	Protocol  int       `json:"protocol,omitempty"`
	VM        *guestVM  `json:"vm,omitempty"`
	Arguments arguments `json:"arguments,omitempty"`
}

// guestMessage is an answer (ID set) or an event.
type guestMessage struct {
	ID    *int64 `json:"id"`
	OK    bool   `json:"ok"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Event string      `json:"event"`
	Moid  string      `json:"moid"`
	Guest *guestFacts `json:"guest"`
}

type pendingCall struct {
	applied func()
	answer  chan error
}

// socketDriver speaks the guest protocol, one JSON object a line, with the lab's Python side.
type socketDriver struct {
	socket io.ReadWriteCloser
	event  func(moid string, facts guestFacts)
	closed chan struct{}

	write   sync.Mutex
	mutex   sync.Mutex
	last    int64
	pending map[int64]pendingCall
	gone    bool
}

var errDriverGone = errors.New("the lab's guest driver is gone")

// newSocketDriver says hello and fails when the other side does not speak the same protocol.
func newSocketDriver(socket io.ReadWriteCloser, event func(string, guestFacts)) (*socketDriver, error) {
	d := &socketDriver{socket: socket, event: event, closed: make(chan struct{}), pending: map[int64]pendingCall{}}
	d.last = -1 // hello is request 0
	go d.read()
	if err := d.request(guestRequest{Op: "hello", Protocol: protocolVersion}, nil); err != nil {
		return nil, fmt.Errorf("guest driver: hello: %w", err)
	}
	return d, nil
}

func (d *socketDriver) done() <-chan struct{} { return d.closed }

func (d *socketDriver) call(operation string, vm guestVM, with arguments, applied func()) error {
	return d.request(guestRequest{Op: operation, VM: &vm, Arguments: with}, applied)
}

func (d *socketDriver) request(request guestRequest, applied func()) error {
	waiting := pendingCall{applied: applied, answer: make(chan error, 1)}
	d.mutex.Lock()
	if d.gone {
		d.mutex.Unlock()
		return errDriverGone
	}
	d.last++
	request.ID = d.last
	d.pending[request.ID] = waiting
	d.mutex.Unlock()

	line, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("guest driver: %s: %w", request.Op, err)
	}
	d.write.Lock()
	_, err = d.socket.Write(append(line, '\n'))
	d.write.Unlock()
	if err != nil {
		d.mutex.Lock()
		delete(d.pending, request.ID)
		d.mutex.Unlock()
		return fmt.Errorf("%w: %w", errDriverGone, err)
	}
	return <-waiting.answer
}

func (d *socketDriver) read() {
	lines := bufio.NewReader(d.socket)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var message guestMessage
		if err := json.Unmarshal(line, &message); err != nil {
			log.Printf("guest driver: not a message: %v: %.200q", err, line)
			continue
		}
		d.handle(message)
	}
	d.mutex.Lock()
	d.gone = true
	for id, waiting := range d.pending {
		delete(d.pending, id)
		waiting.answer <- errDriverGone
	}
	d.mutex.Unlock()
	close(d.closed)
}

func (d *socketDriver) handle(message guestMessage) {
	switch {
	case message.Event == "guest" && message.Guest != nil:
		d.event(message.Moid, *message.Guest)
	case message.ID != nil:
		d.answer(*message.ID, message)
	default:
		log.Printf("guest driver: neither an answer nor a guest event: %+v", message)
	}
}

func (d *socketDriver) answer(id int64, message guestMessage) {
	d.mutex.Lock()
	waiting, found := d.pending[id]
	delete(d.pending, id)
	d.mutex.Unlock()
	switch {
	case !found:
		log.Printf("guest driver: answer to request %d, which nobody waits for", id)
	case message.OK:
		if waiting.applied != nil {
			waiting.applied()
		}
		waiting.answer <- nil
	case message.Error != nil && message.Error.Message != "":
		waiting.answer <- errors.New(message.Error.Message)
	default:
		waiting.answer <- errors.New("the guest driver failed without saying why")
	}
}

// pretendDriver stands in where no guests are wanted: every operation succeeds, and a VM that is on has an address of the
// documentation range.
type pretendDriver struct {
	lab   *lab
	mutex sync.Mutex
	last  int
	known map[string]string
}

func (d *pretendDriver) done() <-chan struct{} { return nil }

func (d *pretendDriver) call(operation string, vm guestVM, with arguments, applied func()) error {
	if applied != nil {
		applied()
	}
	running, stopped := true, guestFacts{Power: "poweredOff"}
	if operation == "revert" && with["power"] == string(poweredOn) {
		operation = "resume"
	}
	switch operation {
	case "power_on", "resume", "reset", "reboot":
		name := vm.Name
		d.lab.guestEvent(vm.Moid, guestFacts{
			Power: "poweredOn", ToolsRunning: &running, Hostname: &name, Addresses: []string{d.address(vm.Moid)},
		})
	case "shutdown":
		d.lab.guestEvent(vm.Moid, stopped)
	}
	return nil
}

func (d *pretendDriver) address(moid string) string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.known == nil {
		d.known = map[string]string{}
	}
	if d.known[moid] == "" {
		d.last++
		d.known[moid] = fmt.Sprintf("192.0.2.%d", 1+d.last%254)
	}
	return d.known[moid]
}
