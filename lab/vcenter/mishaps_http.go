// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/soap"
)

const restSessionName = "vmware-api-session-id"

type sessionCount struct {
	calls int
	over  bool
}

// wrap lets sessions end and connections break, before the API sees the call: a session that is over is one that the API
// never hears of again.
func (m *mishaps) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.armed.Load() {
			next.ServeHTTP(w, r)
			return
		}
		r = m.withoutEndedSessions(r)
		if !m.drops(r) {
			next.ServeHTTP(w, r)
			return
		}
		log.Printf("%s %s: %v", r.Method, r.URL.Path, errNoAnswer)
		if m.settings.Drop.Executed {
			next.ServeHTTP(&nobody{header: http.Header{}}, r)
		}
		panic(http.ErrAbortHandler)
	})
}

// withoutEndedSessions takes the sessions that are over out of the request.
func (m *mishaps) withoutEndedSessions(r *http.Request) *http.Request {
	limits := m.settings.Sessions
	if limits.ExpireAfterCalls == 0 && limits.RestExpireAfterCalls == 0 {
		return r
	}
	var kept []*http.Cookie
	gone := false
	for _, cookie := range r.Cookies() {
		over := cookie.Name == soap.SessionCookieName && m.over("soap", cookie.Value, limits.ExpireAfterCalls) ||
			cookie.Name == restSessionName && m.over("rest", cookie.Value, limits.RestExpireAfterCalls)
		gone = gone || over
		if !over {
			kept = append(kept, cookie)
		}
	}
	token := r.Header.Get(restSessionName)
	tokenOver := token != "" && m.over("rest", token, limits.RestExpireAfterCalls)
	if !gone && !tokenOver {
		return r
	}
	changed := r.Clone(r.Context())
	changed.Header.Del("Cookie")
	for _, cookie := range kept {
		changed.AddCookie(cookie)
	}
	if tokenOver {
		changed.Header.Del(restSessionName)
	}
	return changed
}

// over counts a session's call and says whether the session has ended.
func (m *mishaps) over(api, id string, limit int) bool {
	if limit == 0 {
		return false
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	session := m.doors[api+id]
	if session == nil {
		session = &sessionCount{}
		m.doors[api+id] = session
	}
	session.calls++
	times := m.settings.Sessions.Times
	if !session.over && session.calls > limit && (times == 0 || m.ended[api] < times) {
		session.over = true
		m.ended[api]++
	}
	return session.over
}

func (m *mishaps) drops(r *http.Request) bool {
	drop := m.settings.Drop
	if drop.AfterCalls == 0 || len(drop.Methods) > 0 && !slices.Contains(drop.Methods, soapMethodOf(r)) {
		return false
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.calls++
	if m.calls%drop.AfterCalls != 0 || m.dropped >= max(drop.Times, 1) {
		return false
	}
	m.dropped++
	return true
}

// soapMethodOf reads the body and puts it back. An OVF item's deployment, by REST, counts as the method that it leads to.
func soapMethodOf(r *http.Request) string {
	if strings.Contains(r.URL.Path, ovfPath) && strings.Contains(r.URL.RawQuery, "action=deploy") {
		return "ImportVApp"
	}
	if !strings.HasPrefix(r.URL.Path, "/sdk") || r.Body == nil {
		return ""
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if found := soapMethod.FindSubmatch(body); found != nil {
		return string(found[1])
	}
	return ""
}

// nobody takes an answer that is not delivered.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header            { return n.header }
func (n *nobody) Write(text []byte) (int, error) { return len(text), nil }
func (n *nobody) WriteHeader(int)                {}
