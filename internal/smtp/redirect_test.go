package smtp_test

import (
	"context"
	"net"
)

// redirect dials one address whatever is asked for.
type redirect struct{ to string }

func (r redirect) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, r.to)
}
