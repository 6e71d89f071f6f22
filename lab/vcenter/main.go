// SPDX-License-Identifier: GPL-3.0-or-later

// Command vcenter is the lab's vCenter: govmomi's simulator with the lab's inventory, its own login and TLS, and virtual
// machines that a guest driver at the other end of a socket brings to life.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	guests, listen, cert, key, user, passwordFile string
	calls, ready, inventory, work, faults, roles  string
	keep                                          string
	taskDelay                                     time.Duration
}

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vcenter", flag.ContinueOnError)
	flags.StringVar(&o.guests, "guests", "none", "guest driver: fd:N (an inherited socket) or none")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to serve on; port 0 takes a free one")
	flags.StringVar(&o.cert, "cert", "", "PEM file of the server's certificate chain")
	flags.StringVar(&o.key, "key", "", "PEM file of the certificate's key")
	flags.StringVar(&o.user, "user", "administrator@vsphere.local", "the administrator, who may do everything")
	flags.StringVar(&o.passwordFile, "password-file", "", "file that holds the administrator's password")
	flags.StringVar(&o.calls, "calls", "", "file that gets one JSON line for each API call")
	flags.StringVar(&o.ready, "ready", "", "file that gets address and pid once the server accepts calls")
	flags.StringVar(&o.inventory, "inventory", "", "JSON file of the inventory to serve")
	flags.StringVar(&o.work, "work", "", "folder for the datastore's files; removed at the end")
	flags.StringVar(&o.keep, "keep", "", "folder where VMs are kept for the next start; they are forgotten without it")
	flags.StringVar(&o.faults, "faults", "", "JSON file of delays and of what goes wrong; none without it")
	flags.StringVar(&o.roles, "roles", "", "JSON file of a second user, with the roles that it holds and where")
	flags.DurationVar(&o.taskDelay, "task-delay", 0, "how long clone and power-on take besides their work")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for name, value := range map[string]string{
		"cert": o.cert, "key": o.key, "password-file": o.passwordFile, "inventory": o.inventory, "work": o.work,
	} {
		if value == "" {
			return o, fmt.Errorf("flag -%s is missing; see vcenter -help", name)
		}
	}
	return o, nil
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		log.Fatalf("vcenter: %v", err)
	}
}

// run serves until a signal arrives or the guest driver's end of the socket closes.
func run(o options) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(stop)

	lab, err := newLab(o)
	if err != nil {
		return err
	}
	defer lab.close()
	driver, err := openDriver(o.guests, lab)
	if err != nil {
		return err
	}
	lab.driver = driver
	server, err := startServer(o, lab)
	if err != nil {
		return err
	}
	defer server.close()

	select {
	case received := <-stop:
		log.Printf("vcenter: %s, stopping", received)
	case <-driver.done():
		log.Print("vcenter: the guest driver's end of the socket closed, stopping")
	case err = <-server.failed:
	}
	return err
}

func openDriver(value string, lab *lab) (driver, error) {
	if value == "none" {
		return &pretendDriver{lab: lab}, nil
	}
	number, found := strings.CutPrefix(value, "fd:")
	fd, err := strconv.ParseUint(number, 10, 16)
	if !found || err != nil {
		return nil, fmt.Errorf("flag -guests is %q, expected fd:N or none", value)
	}
	socket := os.NewFile(uintptr(fd), "guests")
	if _, err := socket.Stat(); err != nil {
		return nil, fmt.Errorf("flag -guests is %s, but file descriptor %d is not open: %w", value, fd, err)
	}
	return newSocketDriver(socket, lab.guestEvent)
}
