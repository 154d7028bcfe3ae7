package vault

import (
	"context"
	"time"
)

// Pass lets tests run the keeper once, without its clock, and see for how long it
// would wait.
func (v *Vault) Pass(ctx context.Context) time.Duration { return v.pass(ctx) }

// KeeperDue and Due are when the keeper, and those who ask, replace a token.
func KeeperDue(account string, a Access) time.Time { return a.dueAt(keeperShare(account)) }
func Due(a Access) time.Time                       { return a.dueAt(latestShare) }

// Idle says whether the keeper finds a grant unused for too long.
func (v *Vault) Idle(a Account, g Grant) bool { return v.idle(a, g) }
