package declare

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Import is what a packed CrushFTP user name is to become: one account, and its
// app unless that is there already.
type Import struct {
	Packed   secret.Text
	Name     string // of the account; "" takes the mailbox's local part
	App      string // "" takes Name
	Mailbox  string // where the packed name has none
	Cloud    string
	Purposes []string
}

// Document says what the import would make. Nothing that is there is changed: an
// app of that name with the same client id is used as it is; one with another, and
// an account of that name, are fault.Conflict.
func (a Applier) Document(ctx context.Context, i Import) (Document, error) {
	const op = "import"
	p, err := entra.ParsePacked(i.Packed)
	if err != nil {
		return Document{}, err
	}
	box, err := i.mailbox(p)
	if err != nil {
		return Document{}, err
	}
	name := cmp.Or(i.Name, box.Local)
	app := cmp.Or(i.App, name)
	doc := Document{Accounts: []Account{{Name: name, App: app, Mailbox: box.String(), Purposes: i.Purposes}}}

	if _, err := a.Vault.Account(ctx, name); err == nil {
		return Document{}, fault.New(fault.Conflict, op, "there is an account %q already", name).WithHint("choose another --name")
	} else if !errors.Is(err, fault.NotFound) {
		return Document{}, err
	}
	have, err := a.Vault.App(ctx, app)
	switch {
	case errors.Is(err, fault.NotFound):
		doc.Apps = []App{{Name: app, Cloud: i.Cloud, Packed: &SecretRef{Value: i.Packed}}}
	case err != nil:
		return Document{}, err
	case !strings.EqualFold(have.ClientID, p.ClientID):
		return Document{}, fault.New(fault.Conflict, op, "there is an app %q already, with another client id", app).WithHint("choose another --app")
	}
	return doc, nil
}

// PackedMailbox is whose account a packed name was; "" where it does not say.
func PackedMailbox(text secret.Text) (string, error) {
	p, err := entra.ParsePacked(text)
	return p.Mailbox, err
}

// mailbox is whose account it is to be.
func (i Import) mailbox(p entra.Packed) (mail.Address, error) {
	const op = "import"
	given := strings.TrimSpace(i.Mailbox)
	switch {
	case given == "" && p.Mailbox == "":
		return mail.Address{}, fault.New(fault.Invalid, op, "the packed name holds no mailbox").WithHint("give --mailbox NAME@DOMAIN")
	case given != "" && p.Mailbox != "" && !strings.EqualFold(given, p.Mailbox):
		return mail.Address{}, fault.New(fault.Invalid, op, "the packed name is of %s, and --mailbox says %s", p.Mailbox, given).WithHint("leave --mailbox out")
	case given == "":
		given = p.Mailbox
	}
	box, err := mail.ParseAddress(given)
	if err != nil {
		return mail.Address{}, fault.Wrap(fault.Invalid, op, err)
	}
	return box, nil
}
