// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/vmware/govmomi/pbm"
	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// pbmPath is the policy service's second path; some clients use the one, some the other.
const pbmPath = pbm.Path + "/sdk"

type server struct {
	http   *http.Server
	calls  *callLog
	failed chan error
}

// startServer serves the lab's own handler instead of the simulator's Server, which would also serve datastore files and
// guest files to anybody.
func startServer(o options, l *lab) (*server, error) {
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("flags -cert and -key: %w", err)
	}
	calls, err := openCallLog(o.calls, &l.users)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		calls.close()
		return nil, fmt.Errorf("flag -listen: %w", err)
	}
	address := listener.Addr().String()
	s := &server{calls: calls, failed: make(chan error, 1)}
	s.http = &http.Server{
		Handler:           calls.wrap(l.mishaps.wrap(l.handler(address))),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 30 * time.Second,
	}
	go func() {
		if err := s.http.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	if err := l.fillLibrary(); err != nil {
		s.close()
		return nil, fmt.Errorf("cannot fill the content library: %w", err)
	}
	calls.start()
	l.mishaps.armed.Store(true)
	log.Printf("vcenter: %s at https://%s", l.inventory.VCenterInfo.Version, address)
	if o.ready != "" {
		if err := writeReady(o.ready, address); err != nil {
			s.close()
			return nil, fmt.Errorf("flag -ready: %w", err)
		}
	}
	return s, nil
}

// close lets short calls end; a client that waits for updates would otherwise hold the lab for its whole wait.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	s.calls.close()
}

func (l *lab) handler(address string) http.Handler {
	l.service.Listen = &url.URL{
		Scheme: "https", Host: address, Path: vim25.Path, User: url.UserPassword(l.user, l.password),
	}
	l.registry.SessionManager().ServiceHostName = address
	l.registry.SessionManager().ValidLogin = l.validLogin
	l.service.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	l.service.RegisterSDK(l.registry, vim25.Path+"/vimService")
	l.service.RegisterSDK(l.policyRegistry(), pbmPath)
	_, rest := vapi.New(l.service.Listen, l.registry)
	l.service.Handle("/rest/", rest) // Handle also lets the SOAP side find the tags

	mux := http.NewServeMux()
	mux.HandleFunc("POST "+vim25.Path, l.service.ServeSDK)
	mux.HandleFunc("POST "+vim25.Path+"/vimService", l.service.ServeSDK)
	mux.HandleFunc("POST "+pbm.Path, l.service.ServeSDK)
	mux.HandleFunc("POST "+pbmPath, l.service.ServeSDK)
	mux.HandleFunc("GET "+vim25.Path+"/vimServiceVersions.xml", l.service.ServiceVersions)
	l.rest = &restDoor{lab: l, inner: rest}
	mux.HandleFunc("/rest/", l.rest.serveRest)
	mux.HandleFunc("/api", l.rest.serveAPI)
	mux.HandleFunc("/api/", l.rest.serveAPI)
	return mux
}

// client reaches the lab's own API in process, past the login.
func (l *lab) client() (*vim25.Client, error) {
	return vim25.NewClient(context.Background(), l.service)
}

func writeReady(path, address string) error {
	text, err := json.Marshal(map[string]any{"address": address, "pid": os.Getpid()})
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// anonymous are the calls that vCenter answers before the login.
var anonymous = map[string]bool{"RetrieveServiceContent": true, "Login": true, "CloneSession": true, "CurrentTime": true}

// deniedLogins are the ways into the simulator that ask for no password.
var deniedLogins = map[string]bool{
	"LoginByToken": true, "LoginExtensionByCertificate": true, "ImpersonateUser": true, "LoginExtensionBySubjectName": true,
	"LoginBySSPI": true,
}

// gate refuses what the simulator would let in without a login.
func gate(loggedIn bool, this types.ManagedObjectReference, method string) types.BaseMethodFault {
	if deniedLogins[method] {
		return &types.InvalidLogin{}
	}
	// The service instance's own properties are open to everybody on a vCenter as well: clients read its content first.
	if loggedIn || anonymous[method] || method == "Fetch" && this == vim25.ServiceInstance {
		return nil
	}
	return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &this, PrivilegeId: "System.View"}}
}
