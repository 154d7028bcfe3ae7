package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"postern/internal/config"
)

func TestWhoAsksThroughAProxy(t *testing.T) {
	t.Parallel()
	var trusted config.Networks
	if err := trusted.UnmarshalText([]byte("10.0.0.0/8, 192.0.2.7 fd00::/8")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		trusted config.Networks
		peer    string
		headers []string
		want    string
	}{
		"nobody is trusted":        {nil, "10.1.1.1:5", []string{"203.0.113.9"}, "10.1.1.1:5"},
		"a stranger's word":        {trusted, "203.0.113.1:5", []string{"10.1.1.1"}, "203.0.113.1:5"},
		"one proxy":                {trusted, "10.1.1.1:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"two proxies":              {trusted, "10.1.1.1:5", []string{"203.0.113.9, 192.0.2.7"}, "203.0.113.9:0"},
		"two headers":              {trusted, "[fd00::1]:5", []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9:0"},
		"what the client made up":  {trusted, "10.1.1.1:5", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9:0"},
		"no header":                {trusted, "10.1.1.1:5", nil, "10.1.1.1:0"},
		"nonsense":                 {trusted, "10.1.1.1:5", []string{"203.0.113.9, what, 10.1.1.2"}, "10.1.1.2:0"},
		"with a port":              {trusted, "10.1.1.1:5", []string{"203.0.113.9:4711, 192.0.2.7:80"}, "203.0.113.9:0"},
		"IPv6 with a port":         {trusted, "10.1.1.1:5", []string{"[2001:db8::9]:4711"}, "[2001:db8::9]:0"},
		"IPv6 in brackets":         {trusted, "10.1.1.1:5", []string{"[2001:db8::9]"}, "[2001:db8::9]:0"},
		"only proxies":             {trusted, "10.1.1.1:5", []string{"10.9.9.9"}, "10.9.9.9:0"},
		"IPv4 inside IPv6, mapped": {trusted, "[::ffff:10.1.1.1]:5", []string{"::ffff:203.0.113.9"}, "203.0.113.9:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			h := proxied(c.trusted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			for _, v := range c.headers {
				r.Header.Add("X-Forwarded-For", v)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != c.want {
				t.Errorf("the request comes from %s, want %s", got, c.want)
			}
		})
	}
}
