package vault

import "context"

// Pass lets tests run the keeper once, without its clock.
func (v *Vault) Pass(ctx context.Context) { v.pass(ctx) }
