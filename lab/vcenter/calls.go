// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
)

// call is one line of the call log. It never holds arguments, so no secret can be in it.
type call struct {
	Time    string  `json:"time"`
	API     string  `json:"api"`
	Method  string  `json:"method"`
	Object  string  `json:"object"`
	User    string  `json:"user"`
	Write   bool    `json:"write"`
	Seconds float64 `json:"seconds"`
	Fault   string  `json:"fault"`
}

// callLog appends one line for each API call as soon as it is answered.
type callLog struct {
	users   *sessionUsers
	started atomic.Bool
	mutex   sync.Mutex
	file    *os.File
}

func openCallLog(path string, users *sessionUsers) (*callLog, error) {
	c := &callLog{users: users}
	if path == "" {
		return c, nil
	}
	var err error
	if c.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("flag -calls: %w", err)
	}
	return c, nil
}

// start begins the log: what the lab itself calls while it builds its inventory is not in it.
func (c *callLog) start() { c.started.Store(true) }

func (c *callLog) close() {
	if c.file != nil {
		_ = c.file.Close()
	}
}

func (c *callLog) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.file == nil || !c.started.Load() || r.URL.Path == "/sdk/vimServiceVersions.xml" {
			next.ServeHTTP(w, r)
			return
		}
		begin := time.Now()
		line := call{Time: begin.UTC().Format(time.RFC3339Nano)}
		answer := &answerWatch{ResponseWriter: w, code: http.StatusOK}
		if strings.HasPrefix(r.URL.Path, "/sdk") || strings.HasPrefix(r.URL.Path, "/pbm") {
			c.soap(&line, r)
		} else {
			c.rest(&line, r)
		}
		ended := false
		defer func() {
			line.Fault = answer.fault(line.API)
			if line.Method == "Login" {
				c.noteLogin(answer.Header(), line.User)
			}
			if !ended {
				line.Fault = "panic" // net/http closes the connection and logs why
			}
			if line.Fault == "NotAuthenticated" || answer.code == http.StatusUnauthorized {
				line.User = ""
			}
			line.Seconds = time.Since(begin).Round(time.Microsecond).Seconds()
			c.append(line)
		}()
		next.ServeHTTP(answer, r)
		ended = true
	})
}

var (
	soapMethod = regexp.MustCompile(`<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?(\w+)`)
	loginUser  = regexp.MustCompile(`<(?:[\w-]+:)?userName[^>]*>([^<]*)<`)
	soapCookie = regexp.MustCompile(`<(?:[\w-]+:)?vcSessionCookie[^>]*>([^<]*)<`)
	soapThis   = regexp.MustCompile(`<(?:[\w-]+:)?_this\b[^>]*?\stype="([^"]+)"[^>]*>([^<]*)<`)
	soapFault  = regexp.MustCompile(`<(\w+)Fault xmlns`)
)

func (c *callLog) soap(line *call, r *http.Request) {
	line.API = "soap"
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		log.Printf("call log: %v", err)
	}
	if found := soapMethod.FindSubmatch(body); found != nil {
		line.Method = string(found[1])
	}
	if found := soapThis.FindSubmatch(body); found != nil {
		line.Object = string(found[1]) + ":" + string(found[2])
	}
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil {
		line.User = c.users.of(cookie.Value)
	}
	if found := soapCookie.FindSubmatch(body); found != nil {
		line.User = c.users.of(string(found[1]))
	}
	if found := loginUser.FindSubmatch(body); found != nil && line.Method == "Login" {
		line.User = string(found[1])
	}
	line.Write = !soapReads[line.Method]
}

// noteLogin remembers whose the new session is.
func (c *callLog) noteLogin(header http.Header, user string) {
	response := http.Response{Header: header}
	for _, cookie := range response.Cookies() {
		if cookie.Name == soap.SessionCookieName {
			c.users.note(cookie.Value, user)
		}
	}
}

func (c *callLog) rest(line *call, r *http.Request) {
	line.API = "rest"
	action := r.URL.Query().Get("action") + r.URL.Query().Get("~action")
	line.Method = r.Method + " " + r.URL.Path
	if action != "" {
		line.Method += "?action=" + action
	}
	line.User = c.users.of(restToken(r))
	if user, _, ok := r.BasicAuth(); ok {
		line.User = user
	}
	line.Write = restWrites(r.Method, r.URL.Path, action)
}

func (c *callLog) append(line call) {
	text, err := json.Marshal(line)
	if err != nil {
		log.Printf("call log: %v", err)
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, err := c.file.Write(append(text, '\n')); err != nil {
		log.Printf("call log: %v", err)
	}
}

// answerWatch keeps the beginning of a fault, where its type stands.
type answerWatch struct {
	http.ResponseWriter
	code int
	text []byte
}

func (a *answerWatch) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

func (a *answerWatch) Write(text []byte) (int, error) {
	if a.code >= http.StatusBadRequest && len(a.text) < 4096 {
		a.text = append(a.text, text[:min(len(text), 4096)]...)
	}
	return a.ResponseWriter.Write(text)
}

func (a *answerWatch) fault(api string) string {
	switch {
	case a.code < http.StatusBadRequest:
		return ""
	case api == "rest":
		return fmt.Sprintf("%d", a.code)
	}
	if found := soapFault.FindSubmatch(a.text); found != nil {
		return string(found[1])
	}
	return fmt.Sprintf("%d", a.code)
}
