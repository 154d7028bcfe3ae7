package visitor_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/visitor"
)

// page serves one page and records what is posted to it.
func site(t *testing.T, pages map[string]string, posted chan<- string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			posted <- r.URL.Path + "?" + string(b)
		}
		_, _ = io.WriteString(w, pages[r.URL.Path])
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestSignInFillsWhatIsAsked(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 10)
	srv := site(t, map[string]string{
		"/":      `<title>One</title><form method=post action="/two"><input type=hidden name=flow value="a b"><input type=email name=who><button name=do value=next>Next</button><button name=do value=cancel>Cancel</button></form>`,
		"/two":   `<form method=post action="/three"><input type=password name=pw><input type=submit value=Go></form>`,
		"/three": `<p id=authenticator> 123456 </p><form method=post action="/end"><input type=tel name=otc><button>Verify</button></form>`,
		"/end":   `<title>End</title><style>p{}</style><p>All   done</p>`,
	}, posted)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	last, err := visitor.New("").SignIn(ctx, srv.URL+"/", "scan@contoso.com", "pa ss")
	if err != nil || last.Title != "End" || last.Text != "All done" {
		t.Fatalf("ended on %q %q, %v", last.Title, last.Text, err)
	}
	for _, want := range []string{"/two?do=next&flow=a+b&who=scan%40contoso.com", "/three?pw=pa+ss", "/end?otc=123456"} {
		if got := <-posted; got != want {
			t.Errorf("posted %s, want %s", got, want)
		}
	}
}

func TestSubmitPressesTheNamedButton(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 1)
	srv := site(t, map[string]string{"/": `<form method=post><button name=do value=yes>Accept</button><button name=do value=no>Cancel</button></form>`}, posted)
	v := visitor.New("")
	p, err := v.Get(t.Context(), srv.URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Submit(t.Context(), p, p.Forms[0], nil, "Cancel"); err != nil {
		t.Fatal(err)
	}
	if got := <-posted; got != "/?do=no" {
		t.Errorf("posted %s", got)
	}
}

func TestEndlessPagesEnd(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 100)
	srv := site(t, map[string]string{"/": `<form method=post action="/"><button>Again</button></form>`}, posted)
	_, err := visitor.New("").SignIn(t.Context(), srv.URL+"/", "a", "b")
	if err == nil || !strings.Contains(err.Error(), "no end") {
		t.Errorf("got %v", err)
	}
}
