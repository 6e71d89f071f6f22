// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// scripted is the other side of the protocol, line by line.
func scripted(t *testing.T, event func(string, guestFacts)) (*socketDriver, net.Conn, *bufio.Reader) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	lines := bufio.NewReader(ours)
	go func() {
		line, _ := lines.ReadString('\n')
		if line != `{"id":0,"op":"hello","protocol":2}`+"\n" {
			t.Errorf("hello is %q", line)
		}
		_, _ = ours.Write([]byte(`{"id":0,"ok":true}` + "\n"))
	}()
	driver, err := newSocketDriver(theirs, event)
	if err != nil {
		t.Fatal(err)
	}
	return driver, ours, lines
}

func TestAnswersReachTheirRequestInAnyOrder(t *testing.T) {
	driver, conn, lines := scripted(t, nil)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- driver.call("power_on", guestVM{Moid: "vm-1"}, nil, nil) }()
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go func() { second <- driver.call("power_on", guestVM{Moid: "vm-2"}, nil, nil) }()
	if line, _ := lines.ReadString('\n'); !strings.HasPrefix(line, `{"id":2,"op":"power_on","vm":{"moid":"vm-2"`) {
		t.Fatalf("second request is %q", line)
	}
	fmt.Fprintln(conn, `{"id":2,"ok":true}`)
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
	fmt.Fprintln(conn, `{"id":1,"ok":false,"error":{"message":"no space left"}}`)
	if err := <-first; err == nil || err.Error() != "no space left" {
		t.Errorf("first: %v, expected the driver's message", err)
	}
}

func TestAnAnswerTakesEffectBeforeTheNextEvent(t *testing.T) {
	var order []string
	seen := make(chan struct{})
	driver, conn, lines := scripted(t, func(moid string, _ guestFacts) {
		order = append(order, "event "+moid)
		close(seen)
	})
	go func() {
		_, _ = lines.ReadString('\n')
		fmt.Fprint(conn, `{"id":1,"ok":true}`+"\n"+`{"event":"guest","moid":"vm-1","guest":{"power":"poweredOff"}}`+"\n")
	}()
	if err := driver.call("power_on", guestVM{Moid: "vm-1"}, nil, func() { order = append(order, "applied") }); err != nil {
		t.Fatal(err)
	}
	<-seen
	if got := strings.Join(order, ", "); got != "applied, event vm-1" {
		t.Errorf("order is %s", got)
	}
}

func TestALostDriverFailsTheCallsThatWaitForIt(t *testing.T) {
	driver, conn, lines := scripted(t, nil)
	go func() {
		_, _ = lines.ReadString('\n')
		_ = conn.Close()
	}()
	if err := driver.call("power_on", guestVM{Moid: "vm-1"}, nil, nil); !errors.Is(err, errDriverGone) {
		t.Errorf("waiting call: %v", err)
	}
	<-driver.done()
	if err := driver.call("power_on", guestVM{Moid: "vm-1"}, nil, nil); !errors.Is(err, errDriverGone) {
		t.Errorf("later call: %v", err)
	}
}

func TestNonsenseFromTheDriverIsSkipped(t *testing.T) {
	driver, conn, lines := scripted(t, nil)
	go func() {
		_, _ = lines.ReadString('\n')
		fmt.Fprint(conn, "not json\n{}\n"+`{"id":99,"ok":true}`+"\n"+`{"id":1,"ok":true}`+"\n")
	}()
	if err := driver.call("power_on", guestVM{Moid: "vm-1"}, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestADriverThatRefusesHelloIsNotUsed(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = bufio.NewReader(ours).ReadString('\n')
		fmt.Fprintln(ours, `{"id":0,"ok":false,"error":{"message":"guest protocol is 2, expected 3"}}`)
	}()
	if _, err := newSocketDriver(theirs, nil); err == nil || !strings.Contains(err.Error(), "expected 3") {
		t.Errorf("got %v, expected the driver's message", err)
	}
}
