package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
)

// noTokens knows nobody.
type noTokens struct{ tokens }

type tokens = door.Tokens

func (noTokens) Token(context.Context, string) (door.Token, error) {
	return door.Token{}, fault.New(fault.NotFound, "read token", "none")
}

func guarded(now func() time.Time) http.Handler {
	return New(Config{Tokens: noTokens{}, Version: "1", Now: now, Log: slog.New(slog.DiscardHandler)})
}

func get(h http.Handler, path, token, remote string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = remote
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestDescription wants every operation described, with its bodies, its errors and the
// token it needs; without a token anybody may read that and nothing else.
func TestDescription(t *testing.T) {
	t.Parallel()
	h := guarded(time.Now)
	w := get(h, "/api/v1/openapi.json", "", "192.0.2.1:1")
	var d struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Security    []map[string][]string
			Responses   map[string]struct{ Content map[string]any }
			RequestBody struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK || d.OpenAPI != "3.1.0" {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	var ops []string
	for path, methods := range d.Paths {
		for method, op := range methods {
			ops = append(ops, method+" "+path)
			if len(op.Security) != 1 || op.Responses["default"].Content["application/problem+json"] == nil {
				t.Errorf("%s %s is described as %+v", method, path, op)
			}
			if sends := method+" "+path == "post /api/v1/messages"; sends != (op.RequestBody.Content[rfc822] != nil && op.RequestBody.Content["application/json"] != nil) {
				t.Errorf("%s %s takes %v", method, path, op.RequestBody.Content)
			}
		}
	}
	slices.Sort(ops)
	const m, k = " /api/v1/messages", " /api/v1/tasks"
	const a, v = " /api/v1/accounts", " /api/v1/devices"
	if want := []string{
		"delete" + a + "/{account}", "delete" + v + "/{device}", "delete" + m + "/{id}",
		"get" + a, "get" + a + "/{account}", "get /api/v1/audit", "get" + v, "get" + v + "/{device}", "get" + m, "get" + m + "/{id}", "get" + m + "/{id}/body",
		"get" + k, "get" + k + "/{task}", "get" + k + "/{task}/ledger", "get" + k + "/{task}/runs", "get" + k + "/{task}/runs/{run}/log", "get /api/v1/users",
		"post" + a + "/{account}/check", "post" + a + "/{account}/disconnect", "post" + a + "/{account}/pause", "post" + a + "/{account}/rename", "post" + a + "/{account}/resume",
		"post /api/v1/alerts/test", "post" + v + "/{device}/password",
		"post" + m, "post" + m + "/delete", "post" + m + "/hold", "post" + m + "/release", "post" + m + "/retry", "post" + m + "/{id}/hold", "post" + m + "/{id}/release", "post" + m + "/{id}/retry",
		"post" + k + "/{task}/ledger/reprocess", "post" + k + "/{task}/ledger/reset", "post" + k + "/{task}/run", "post" + k + "/{task}/stop",
		"put" + a + "/{account}", "put" + v + "/{device}",
	}; !slices.Equal(ops, want) {
		t.Errorf("described are %q", ops)
	}
}

func TestWrongTokensAreHeardTwentyTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	h := guarded(func() time.Time { return now })
	const path, bad = "/api/v1/messages", "postern_x_y"
	for range maxGuesses {
		if w := get(h, path, bad, "192.0.2.1:1"); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	now = now.Add(time.Minute)
	if w := get(h, path, bad, "192.0.2.1:2"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "540" {
		t.Errorf("after %d: %d, wait %q", maxGuesses, w.Code, w.Header().Get("Retry-After"))
	}
	if w := get(h, path, bad, "192.0.2.2:1"); w.Code != http.StatusUnauthorized {
		t.Errorf("from another address: %d", w.Code)
	}
	for i := range maxFlood - maxGuesses {
		if w := get(h, path, bad+strconv.Itoa(i), "192.0.2.1:1"); w.Code != http.StatusUnauthorized {
			t.Fatalf("with another token: %d %s", w.Code, w.Body)
		}
	}
	if w := get(h, path, bad+"0", "192.0.2.1:2"); w.Code != http.StatusTooManyRequests {
		t.Errorf("in a flood: %d", w.Code)
	}
	now = now.Add(forgetAfter)
	if w := get(h, path, bad, "192.0.2.1:1"); w.Code != http.StatusUnauthorized {
		t.Errorf("later: %d", w.Code)
	}
}
