package entra_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

func TestParsePacked(t *testing.T) {
	t.Parallel()
	const value = "Abc8Q~d1E~f2G3h4.I5j6_K7l8-M9n0~oPqRsTuV"
	for name, c := range map[string]struct{ in, mailbox, secret, tenant string }{
		"without a mailbox":         {clientID + "~" + value + "~" + tenantID, "", value, tenantID},
		"with one":                  {"scan@contoso.com~" + clientID + "~" + value + "~contoso.com", "scan@contoso.com", value, "contoso.com"},
		"a blank tenant":            {clientID + "~" + value + "~", "", value, "common"},
		"a tenant of blanks":        {clientID + "~" + value + "~ ", "", value, "common"},
		"a mailbox, a blank tenant": {"scan@contoso.com~" + clientID + "~" + value + "~", "scan@contoso.com", value, "common"},
		"a mailbox with a tilde":    {"sc~an@contoso.com~" + clientID + "~" + value + "~organizations", "sc~an@contoso.com", value, "organizations"},
		"blanks around everything":  {" \tscan@contoso.com ~ " + clientID + " ~ " + value + " ~ common\r\n", "scan@contoso.com", value, "common"},
		"a secret that ends in one": {clientID + "~" + value + "~~contoso.com", "", value + "~", "contoso.com"},
		"no secret":                 {clientID + "~~contoso.com", "", "", "contoso.com"},
		"an older secret":           {clientID + "~0123456789abcdefghijABCDEFGHIJ0123456789~contoso.com", "", "0123456789abcdefghijABCDEFGHIJ0123456789", "contoso.com"},
		"an id in capitals":         {strings.ToUpper(clientID) + "~" + value + "~contoso.com", "", value, "contoso.com"},
	} {
		got, err := entra.ParsePacked(secret.New(c.in))
		if err != nil || got.Mailbox != c.mailbox || !strings.EqualFold(got.ClientID, clientID) || got.Secret.Reveal() != c.secret || got.Tenant != c.tenant || got.Unusable {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What CrushFTP keeps in the secret's place is of no use to anybody else; the rest is.
func TestAPackedSecretThatIsEncrypted(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"q83vEjRWeJCrze8SNFZ4kA==", "q83vEjRWeJA=", "Zm9v+mFy/2Jhejg5MDEyMw==", "abcdefgh0123456789ABCDEFGHIJKLMN", // base64 of whole blocks
		"0123456789abcdef0123456789abcdef", "DES:abcdef", "a b c", "{enc}xyz", "abc8Q~with/a+slash=", "sécret8Q~aaaa", "abc%3D%3D", "x\x01y",
	} {
		got, err := entra.ParsePacked(secret.New("scan@contoso.com~" + clientID + "~" + text + "~contoso.com"))
		if err != nil || !got.Unusable || !got.Secret.Empty() || got.ClientID != clientID || got.Mailbox != "scan@contoso.com" || got.Tenant != "contoso.com" {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestWhatIsNotPacked(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2hunter2"
	for name, in := range map[string]string{
		"nothing":              "",
		"a plain name":         hidden + "@contoso.com",
		"two parts":            clientID + "~" + hidden,
		"no GUID":              "client~" + hidden + "~contoso.com",
		"the tail of a secret": clientID + "~abc8Q~" + hidden,
		"a tenant of tricks":   clientID + "~abc8Q~x~" + hidden + "/..",
		"the Secret ID":        clientID + "~" + tenantID + "~contoso.com",
		"half a mailbox":       "@" + hidden + "~" + clientID + "~abc8Q~x~contoso.com",
		"two mailboxes":        "a@b@" + hidden + ".example~" + clientID + "~abc8Q~x~contoso.com",
	} {
		got, err := entra.ParsePacked(secret.New(in))
		if !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if shown := fmt.Sprintf("%+v %#v %s", err, fault.As(err), fault.HintOf(err)); strings.Contains(shown, hidden) {
			t.Errorf("%s: the error quotes it: %s", name, shown)
		}
	}
}

func FuzzParsePacked(f *testing.F) {
	for _, seed := range []string{
		clientID + "~abc8Q~x~y~contoso.com", "a@b.example~" + clientID + "~abc8Q~x~", clientID + "~~", "~~~", clientID + "~" + clientID + "~" + clientID,
		"a@b~" + clientID + "~a@b~" + clientID + "~x~", clientID + "~q83vEjRWeJA=~",
	} {
		f.Add(seed)
	}
	plain := regexp.MustCompile(`^[0-9A-Za-z~._-]*$`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := entra.ParsePacked(secret.New(text))
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		value := p.Secret.Reveal()
		if entra.ValidateTenant(p.Tenant) != nil || len(p.ClientID) != len(clientID) || entra.ValidateSecret(p.Secret) != nil || !plain.MatchString(value) || p.Unusable && value != "" {
			t.Fatalf("%+v from %q", p, text)
		}
		if !strings.Contains(text, p.Mailbox) || !strings.Contains(text, p.ClientID) || !strings.Contains(text, value) {
			t.Fatalf("%+v is not of %q", p, text)
		}
		packed := p.ClientID + "~" + value + "~" + p.Tenant
		if p.Mailbox != "" {
			packed = p.Mailbox + "~" + packed
		}
		again, err := entra.ParsePacked(secret.New(packed))
		p.Unusable = false // what could not be read is gone
		if err != nil || again != p {
			t.Fatalf("%+v, packed again and read, is %+v, %v", p, again, err)
		}
	})
}
