package login

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"postern/internal/catalogue"
)

// A fault can be armed for every number the catalogue knows, and answers as Entra
// would: no number falls back on words of our own.
func TestEveryNumberOfTheCatalogueHasAMeaning(t *testing.T) {
	t.Parallel()
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := meanings()
	for _, e := range c.All() {
		for _, number := range e.Match.AADSTS {
			if number == "any" {
				continue
			}
			n, err := strconv.Atoi(number)
			if _, ok := known[n]; err != nil || !ok {
				t.Errorf("AADSTS%s of %s has no meaning", number, e.ID)
			}
		}
	}
}

func TestMeaningsAreAnswersOfEntra(t *testing.T) {
	t.Parallel()
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	together := 0
	for _, part := range parts() {
		together += len(part)
	}
	if together != len(meanings()) {
		t.Errorf("%d meanings in parts and %d in all: a number is there twice", together, len(meanings()))
	}
	for n := range meanings() {
		f := asserted("AADSTS" + strconv.Itoa(n))
		switch {
		case f.number != n || f.text == "" || strings.Contains(f.text, "%"):
			t.Errorf("AADSTS%d: number %d says %q", n, f.number, f.text)
		case f.status < http.StatusBadRequest || f.status == http.StatusUnauthorized && f.oauth != "invalid_client":
			t.Errorf("AADSTS%d: status %d with %s", n, f.status, f.oauth)
		}
		if _, ok := c.Lookup(catalogue.Query{Protocol: catalogue.OAuth, Code: f.oauth}); !ok {
			t.Errorf("AADSTS%d comes as %q, which no row explains", n, f.oauth)
		}
	}
}
