package door_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/secret"
)

// onlyToken is a store that has one.
type onlyToken struct{ t door.Token }

func (o onlyToken) Token(_ context.Context, id string) (door.Token, error) {
	if id != o.t.ID {
		return door.Token{}, fault.New(fault.NotFound, "read", "none")
	}
	return o.t, nil
}

func TestTokenProvesItself(t *testing.T) {
	t.Parallel()
	made, text, err := door.NewToken("n", "printer", []door.Scope{door.MaySend}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := door.NewToken("n", "printer", []door.Scope{door.MaySend}, time.Now())
	if err != nil || other.Reveal() == text.Reveal() {
		t.Fatal("two tokens are the same", err)
	}
	kept := onlyToken{t: made}
	if found, err := door.FindToken(t.Context(), kept, text); err != nil || found.Name != "n" {
		t.Fatalf("%+v, %v", found, err)
	}
	clear := text.Reveal()
	id := clear[:strings.LastIndex(clear, "_")+1]
	for _, wrong := range []string{"", "postern_", clear + "a", clear[:len(clear)-1], id, id + other.Reveal()[len(id):], strings.ToUpper(clear), other.Reveal()} {
		if _, err := door.FindToken(t.Context(), kept, secret.New(wrong)); !errors.Is(err, fault.Denied) {
			t.Errorf("a wrong token is %v", err)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v %x", made, made.Hash), clear[len(id):]) {
		t.Error("the token keeps its secret")
	}
}

func TestTokenThatMayNotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, device string
		scopes       []door.Scope
	}{{"", "d", []door.Scope{door.MaySend}}, {"a b", "d", []door.Scope{door.MaySend}}, {"n", "d", nil}, {"n", "", []door.Scope{door.MaySend}}, {"n", "d", []door.Scope{"all"}}, {"n", "d", []door.Scope{door.MayReadFetch}}, {"n", "d", []door.Scope{door.MayWriteFetch}}} {
		if _, _, err := door.NewToken(c.name, c.device, c.scopes, time.Now()); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
