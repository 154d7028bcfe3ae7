package webhook_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/webhook"
)

func TestSignature(t *testing.T) {
	t.Parallel()
	// printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'sixteen octets!!'
	const want = "t=1700000000,v1=3d05a33a80a1feb8c4e82e4ecc5615b2be2010ac7d6ceefd7574c1d2785a2fcb"
	if got := webhook.Sign(secret.New("sixteen octets!!"), time.Unix(1700000000, 0), []byte(`{"a":1}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	at, key := time.Unix(1700000000, 0), webhook.NewSecret()
	for name, c := range map[string]struct {
		status int
		answer string
		header map[string]string
		kind   fault.Kind
		words  string
	}{
		"taken":      {200, "thank\r\nyou\x1b", nil, 0, "200 OK thank you"},
		"no content": {204, "", nil, 0, "204 No Content"},
		"sick":       {500, "oh", nil, fault.Temporary, "500 Internal Server Error oh"},
		"later":      {503, "", map[string]string{"Retry-After": "7"}, fault.Temporary, "503"},
		"refused":    {401, "", nil, fault.Temporary, "401"},
		"gone":       {410, "", nil, fault.Permanent, "410"},
		"elsewhere":  {302, "", map[string]string{"Location": "https://elsewhere.example/"}, fault.Temporary, "redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				body, _ := io.ReadAll(r.Body)
				if string(body) != `{"a":1}` || r.Header.Get(webhook.HeaderID) != "id-1" || r.Header.Get(webhook.HeaderSignature) != webhook.Sign(key, at, body) {
					t.Errorf("got %s with %v", body, r.Header)
				}
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			}))
			defer srv.Close()
			answer, err := webhook.Post(t.Context(), http.DefaultTransport, webhook.Call{Address: srv.URL, Secret: key, ID: "id-1", Body: []byte(`{"a":1}`), At: at})
			if calls != 1 {
				t.Errorf("%d calls", calls)
			}
			if c.kind == 0 {
				if err != nil || answer != c.words {
					t.Errorf("got %q, %v", answer, err)
				}
				return
			}
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v", err)
			}
			if name == "later" && fault.As(err).RetryAfter != 7*time.Second {
				t.Errorf("it names %s", fault.As(err).RetryAfter)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	_, err := webhook.Post(t.Context(), http.DefaultTransport, webhook.Call{Address: srv.URL, ID: "x", At: time.Now()})
	if !errors.Is(err, fault.Temporary) {
		t.Errorf("got %v", err)
	}
}
