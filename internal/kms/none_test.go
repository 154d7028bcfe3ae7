//go:build !cloudkeys

package kms_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/kms"
)

func TestWithoutTheTagThereIsNoService(t *testing.T) {
	t.Parallel()
	_, err := kms.Open(t.Context(), "awskms:///alias/postern?region=eu-west-1")
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "awskms:///alias/postern") {
		t.Errorf("it says %v", err)
	}
	if hint := fault.HintOf(err); !strings.Contains(hint, "-tags cloudkeys") {
		t.Errorf("the next step is %q", hint)
	}
}

// The plain binary carries none of the services' libraries.
func TestThePlainBinaryIsSmall(t *testing.T) {
	t.Parallel()
	list := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "go", append(append([]string{"list", "-deps"}, args...), "postern/cmd/postern")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	plain := list()
	for _, library := range []string{"gocloud.dev", "github.com/aws/", "github.com/Azure/", "cloud.google.com/", "github.com/hashicorp/vault"} {
		if strings.Contains(plain, library) {
			t.Errorf("the plain binary links %s", library)
		}
	}
	if !strings.Contains(plain, "postern/internal/kms") || !strings.Contains(list("-tags", "cloudkeys"), "gocloud.dev/secrets/hashivault") {
		t.Error("the list does not show what it should: with the tag the libraries are there")
	}
}
