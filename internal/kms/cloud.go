//go:build cloudkeys

package kms

import (
	"context"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/secrets"
	_ "gocloud.dev/secrets/awskms"        // awskms://
	_ "gocloud.dev/secrets/azurekeyvault" // azurekeyvault://
	_ "gocloud.dev/secrets/gcpkms"        // gcpkms://
	_ "gocloud.dev/secrets/hashivault"    // hashivault://

	"postern/internal/fault"
)

// askFor bounds one request, retries of the service's library included: those go on for
// minutes by themselves.
const askFor = 20 * time.Second

// Open names a key in a service. Nothing is asked of the service yet.
func Open(ctx context.Context, address string) (Keeper, error) {
	const op = "master_key_url"
	known := secrets.DefaultURLMux()
	if u, err := url.Parse(address); err != nil || !known.ValidKeeperScheme(u.Scheme) {
		return nil, fault.New(fault.Invalid, op, "%q is no address of a key service", Name(address)).
			WithHint("allowed: %s://…", strings.Join(known.KeeperSchemes(), "://…, "))
	}
	k, err := known.OpenKeeper(ctx, address)
	if err != nil {
		return nil, fault.New(fault.Invalid, op, "%s: %w", Name(address), err).
			WithHint("see https://gocloud.dev/howto/secrets/ for the form of the address, and give Postern the service's credentials as its own tools take them")
	}
	return keeper{name: Name(address), remote: k}, nil
}

// keeper says of a service's errors what they ask for.
type keeper struct {
	name   string
	remote *secrets.Keeper
}

func (k keeper) Encrypt(ctx context.Context, clear []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	b, err := k.remote.Encrypt(ctx, clear)
	return b, k.judge("encrypt with the master key", err)
}

func (k keeper) Decrypt(ctx context.Context, sealed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	b, err := k.remote.Decrypt(ctx, sealed)
	return b, k.judge("decrypt with the master key", err)
}

func (k keeper) judge(op string, err error) error {
	if err == nil {
		return nil
	}
	said := fault.New(fault.Temporary, op, "%s: %w", k.name, oneLine{err})
	switch gcerrors.Code(err) {
	case gcerrors.PermissionDenied:
		said.Kind = fault.Invalid
		return said.WithHint("let this machine's identity encrypt and decrypt with that key")
	case gcerrors.NotFound, gcerrors.InvalidArgument, gcerrors.FailedPrecondition:
		said.Kind = fault.Invalid
		return said.WithHint("name the key that this database was last moved to (master_key_url), and see that it is enabled; without it a new database is needed and every account must sign in again")
	}
	return said.WithHint("see that the key service can be reached from here, that it knows this machine, and that master_key_url names the key this database was last moved to")
}

// oneLine is an error whose words fit on a line; the services' do not.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

func (e oneLine) Unwrap() error { return e.error }
