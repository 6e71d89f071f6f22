// SPDX-License-Identifier: GPL-3.0-or-later

// A client of somebody else's making: it lists VMs and changes them with govmomi's library, and knows nothing of fleet.
//
//	govmomi ADDRESS USER list
//	govmomi ADDRESS USER set-key VM KEY VALUE
//	govmomi ADDRESS USER power-off VM
//
// The password comes from PEER_PASSWORD, the authority from SSL_CERT_FILE.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// seen is one VM as this client sees it.
type seen struct {
	Name     string            `json:"name"`
	Moid     string            `json:"moid"`
	UUID     string            `json:"instance_uuid"`
	Template bool              `json:"template"`
	CPUs     int32             `json:"cpus"`
	MemoryMB int32             `json:"memory_mb"`
	Power    string            `json:"power"`
	Address  string            `json:"address"`
	DisksKB  []int64           `json:"disks_kb"`
	Keys     map[string]string `json:"keys"`
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "expected ADDRESS USER list | set-key VM KEY VALUE | power-off VM")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, user, verb string, arguments []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	where := &url.URL{Scheme: "https", Host: address, Path: "/sdk", User: url.UserPassword(user, os.Getenv("PEER_PASSWORD"))}
	client, err := govmomi.NewClient(ctx, where, false)
	if err != nil {
		return err
	}
	defer func() { _ = client.Logout(ctx) }()
	machines, err := read(ctx, client)
	if err != nil {
		return err
	}
	switch {
	case verb == "list":
		return json.NewEncoder(os.Stdout).Encode(describe(machines))
	case verb == "set-key" && len(arguments) == 3:
		return setKey(ctx, client, machines, arguments[0], arguments[1], arguments[2])
	case verb == "power-off" && len(arguments) == 1:
		return powerOff(ctx, client, machines, arguments[0])
	}
	return fmt.Errorf("no such verb: %s with %d arguments", verb, len(arguments))
}

func read(ctx context.Context, client *govmomi.Client) ([]mo.VirtualMachine, error) {
	kinds := []string{"VirtualMachine"}
	found, err := view.NewManager(client.Client).CreateContainerView(ctx, client.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Destroy(ctx) }()
	var machines []mo.VirtualMachine
	err = found.Retrieve(ctx, kinds, []string{"name", "config", "runtime.powerState", "guest.ipAddress"}, &machines)
	return machines, err
}

func describe(machines []mo.VirtualMachine) []seen {
	told := []seen{}
	for _, machine := range machines {
		one := seen{
			Name: machine.Name, Moid: machine.Self.Value, UUID: machine.Config.InstanceUuid,
			Template: machine.Config.Template, CPUs: machine.Config.Hardware.NumCPU,
			MemoryMB: machine.Config.Hardware.MemoryMB, Power: string(machine.Runtime.PowerState),
			DisksKB: []int64{}, Keys: map[string]string{},
		}
		if machine.Guest != nil {
			one.Address = machine.Guest.IpAddress
		}
		devices := object.VirtualDeviceList(machine.Config.Hardware.Device)
		for _, device := range devices.SelectByType((*types.VirtualDisk)(nil)) {
			one.DisksKB = append(one.DisksKB, device.(*types.VirtualDisk).CapacityInKB)
		}
		for _, option := range machine.Config.ExtraConfig {
			one.Keys[option.GetOptionValue().Key] = fmt.Sprint(option.GetOptionValue().Value)
		}
		told = append(told, one)
	}
	return told
}

func pick(client *govmomi.Client, machines []mo.VirtualMachine, name string) (*object.VirtualMachine, error) {
	for _, machine := range machines {
		if machine.Name == name {
			return object.NewVirtualMachine(client.Client, machine.Self), nil
		}
	}
	return nil, fmt.Errorf("no VM %q", name)
}

func setKey(ctx context.Context, client *govmomi.Client, machines []mo.VirtualMachine, name, key, value string) error {
	machine, err := pick(client, machines, name)
	if err != nil {
		return err
	}
	option := &types.OptionValue{Key: key, Value: value}
	task, err := machine.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{option}})
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

func powerOff(ctx context.Context, client *govmomi.Client, machines []mo.VirtualMachine, name string) error {
	machine, err := pick(client, machines, name)
	if err != nil {
		return err
	}
	task, err := machine.PowerOff(ctx)
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}
