// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"unicode"
)

const (
	sessionPath = "/rest/com/vmware/cis/session"
	itemsPath   = "/vcenter/vm-template/library-items/"
)

// restDoor stands before the simulator's REST side, which knows the Content Library under /rest alone: it serves the same
// under /api as vCenter 8 does, adds VM template items, and keeps out who has not logged in.
type restDoor struct {
	lab   *lab
	inner http.Handler
}

// serveRest answers the old form, in which results are wrapped in {"value": ...}.
func (d *restDoor) serveRest(w http.ResponseWriter, r *http.Request) {
	if !d.permitted(restAnswer{w, true}, r) {
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/rest"+itemsPath); ok {
		d.serveItem(restAnswer{w, true}, r, path)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/rest"+ovfOldPath); ok {
		d.serveOVF(restAnswer{w, true}, r, path)
		return
	}
	answer := restAnswer{w, true}
	code, header, body := d.ask(r, r.Method, r.URL.Path, r.URL.Query(), r.Body)
	copyCookies(w, header)
	switch {
	case code == http.StatusUnauthorized:
		answer.unauthenticated()
	case code == http.StatusOK && bytes.HasPrefix(body, []byte(`{"value":`)):
		answer.ok(code, valueOf(r, body))
	default:
		if kind := header.Get("Content-Type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.WriteHeader(code)
		_, _ = w.Write(body)
	}
}

// serveAPI answers the form of vCenter 7 and later: no wrapping, plain identifiers, ?action=.
func (d *restDoor) serveAPI(w http.ResponseWriter, r *http.Request) {
	answer := restAnswer{w, false}
	if !d.permitted(answer, r) {
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/api"+itemsPath); ok {
		d.serveItem(answer, r, path)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/api"+ovfPath); ok {
		d.serveOVF(answer, r, path)
		return
	}
	path, known := translate(r.URL.Path)
	if !known {
		answer.fail(http.StatusNotFound, "NOT_FOUND", "The lab's vCenter does not offer "+r.URL.Path)
		return
	}
	query, body := r.URL.Query(), io.Reader(r.Body)
	if action := query.Get("action"); action != "" {
		query.Set("~action", action)
	}
	if strings.HasPrefix(r.URL.Path, "/api/content/") && r.Method == http.MethodPost {
		plain, _ := io.ReadAll(r.Body)
		body = bytes.NewReader(append(append([]byte(`{"spec":`), plain...), '}'))
	}
	code, header, text := d.ask(r, r.Method, path, query, body)
	copyCookies(w, header)
	switch {
	case code == http.StatusUnauthorized:
		answer.unauthenticated()
	case code == http.StatusNotFound:
		answer.fail(code, "NOT_FOUND", "The object at "+r.URL.Path+" was not found")
	case code >= http.StatusBadRequest:
		answer.fail(code, "INVALID_ARGUMENT", strings.TrimSpace(string(text)))
	case len(bytes.TrimSpace(text)) == 0 || r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer.ok(created(r), valueOf(r, text))
	}
}

// valueOf is the result in a simulator's answer: a list where the simulator says null, and no fields that only the
// simulator has, which are the ones that begin with a capital.
func valueOf(r *http.Request, text []byte) any {
	var wrapped struct {
		Value any `json:"value"`
	}
	if err := json.Unmarshal(text, &wrapped); err != nil {
		log.Printf("%s %s: the simulator's answer is no JSON: %v", r.Method, r.URL.Path, err)
	}
	if fields, ok := wrapped.Value.(map[string]any); ok {
		maps.DeleteFunc(fields, func(name string, _ any) bool { return unicode.IsUpper(rune(name[0])) })
	}
	if wrapped.Value == nil && isList(r) {
		return []string{}
	}
	return wrapped.Value
}

// ask lets the simulator answer in its own terms.
func (d *restDoor) ask(
	r *http.Request, method, path string, query url.Values, body io.Reader,
) (code int, header http.Header, text []byte) {
	// The simulator takes any "SIGN" token for a login.
	if _, _, basic := r.BasicAuth(); path == sessionPath && method == http.MethodPost && query.Get("~action") == "" && !basic {
		return http.StatusUnauthorized, nil, nil
	}
	request := r.Clone(r.Context())
	request.Method, request.Body = method, io.NopCloser(body)
	request.URL.Path, request.URL.RawPath, request.URL.RawQuery = path, "", query.Encode()
	recorder := httptest.NewRecorder()
	d.inner.ServeHTTP(recorder, request)
	if user, _, basic := r.BasicAuth(); basic && path == sessionPath && recorder.Code == http.StatusOK {
		var made struct {
			Value string `json:"value"`
		}
		if json.Unmarshal(recorder.Body.Bytes(), &made) == nil {
			d.lab.users.note(made.Value, user)
		}
	}
	return recorder.Code, recorder.Header(), recorder.Body.Bytes()
}

// restToken is the request's session, "" without one.
func restToken(r *http.Request) string {
	if token := r.Header.Get(restSessionName); token != "" {
		return token
	}
	if cookie, err := r.Cookie(restSessionName); err == nil {
		return cookie.Value
	}
	return ""
}

// permitted refuses what the roles of the session's user do not allow.
func (d *restDoor) permitted(answer restAnswer, r *http.Request) bool {
	action, user := r.URL.Query().Get("action")+r.URL.Query().Get("~action"), d.lab.users.of(restToken(r))
	if isLibrary(r.URL.Path) && !d.lab.seesLibraries(user) {
		if isList(r) {
			answer.ok(http.StatusOK, []string{})
		} else {
			answer.fail(http.StatusForbidden, "UNAUTHORIZED", errNoPrivilege.Error()+": System.Read")
		}
		return false
	}
	err := d.lab.mayRest(user, restWrites(r.Method, r.URL.Path, action), action == "deploy")
	if err != nil {
		answer.fail(http.StatusForbidden, "UNAUTHORIZED", err.Error())
	}
	return err == nil
}

func isLibrary(path string) bool {
	return strings.Contains(path, "/content/") || strings.Contains(path, itemsPath)
}

func (d *restDoor) loggedIn(r *http.Request) bool {
	code, _, _ := d.ask(r, http.MethodGet, sessionPath, url.Values{}, http.NoBody)
	return code == http.StatusOK
}

func copyCookies(w http.ResponseWriter, header http.Header) {
	for _, cookie := range header.Values("Set-Cookie") {
		w.Header().Add("Set-Cookie", cookie)
	}
}

// translate finds the simulator's path for an /api path.
func translate(path string) (string, bool) {
	if path == "/api/session" {
		return sessionPath, true
	}
	rest, ok := strings.CutPrefix(path, "/api/content/")
	if !ok {
		return "", false
	}
	parts := strings.Split(rest, "/")
	const base = "/rest/com/vmware/content/"
	switch {
	case len(parts) == 1 && (parts[0] == "library" || parts[0] == "local-library"):
		return base + parts[0], true
	case len(parts) == 2 && rest == "library/item":
		return base + rest, true
	case len(parts) == 2 && (parts[0] == "library" || parts[0] == "local-library"):
		return base + parts[0] + "/id:" + parts[1], true
	case len(parts) == 3 && strings.HasPrefix(rest, "library/item/"):
		return base + "library/item/id:" + parts[2], true
	}
	return "", false
}

func isList(r *http.Request) bool {
	path := r.URL.Path
	list := strings.HasSuffix(path, "/content/library") || strings.HasSuffix(path, "/content/local-library") ||
		strings.HasSuffix(path, "/content/library/item")
	query := r.URL.Query()
	return list && (r.Method == http.MethodGet || query.Get("action") == "find" || query.Get("~action") == "find")
}

func created(r *http.Request) int {
	if r.Method == http.MethodPost && r.URL.Query().Get("action") == "" {
		return http.StatusCreated
	}
	return http.StatusOK
}

// restAnswer writes results and errors in the form of the door that the request came through.
type restAnswer struct {
	w       http.ResponseWriter
	wrapped bool
}

func (a restAnswer) ok(code int, value any) {
	if a.wrapped {
		value = map[string]any{"value": value}
	}
	a.json(code, value)
}

func (a restAnswer) fail(code int, kind, message string) {
	type text struct {
		Args    []string `json:"args"`
		Default string   `json:"default_message"`
		ID      string   `json:"id"`
	}
	messages := []text{{[]string{}, message, "lab." + strings.ToLower(kind)}}
	if a.wrapped {
		name := "com.vmware.vapi.std.errors." + strings.ToLower(kind)
		a.json(code, map[string]any{"type": name, "value": map[string]any{"messages": messages}})
		return
	}
	a.json(code, map[string]any{"error_type": kind, "messages": messages})
}

func (a restAnswer) unauthenticated() {
	a.w.Header().Set("WWW-Authenticate", `Basic realm="VAPI endpoint"`)
	a.fail(http.StatusUnauthorized, "UNAUTHENTICATED", "Authentication required.")
}

func (a restAnswer) json(code int, value any) {
	a.w.Header().Set("Content-Type", "application/json")
	a.w.WriteHeader(code)
	_ = json.NewEncoder(a.w).Encode(value)
}
