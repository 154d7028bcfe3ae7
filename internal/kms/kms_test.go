package kms_test

import (
	"testing"

	"postern/internal/kms"
)

func TestAKeyIsCalledByItsAddressAlone(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"awskms:///alias/postern?region=eu-west-1":            "awskms:///alias/postern",
		"azurekeyvault://lab.vault.azure.net/keys/postern":    "azurekeyvault://lab.vault.azure.net/keys/postern",
		"hashivault://user:hunter2@postern?engine=other#frag": "hashivault://postern",
		"://%": "a key service",
	} {
		if got := kms.Name(address); got != want {
			t.Errorf("%q is called %q, want %q", address, got, want)
		}
	}
}
