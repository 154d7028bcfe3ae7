package app

import (
	"crypto/x509"
	"sync"

	"postern/internal/entra"
	"postern/internal/outbound"
)

// pools keeps the authorities that were read, by the bundles they came from: a copy of
// the system's for each connection would be most of what an idle one takes.
type pools struct {
	mu  sync.Mutex
	all map[[2]string]*x509.CertPool
}

// maxPools is more than there are clouds.
const maxPools = 32

// roots are the authorities believed for a cloud's servers: the system's, the
// configuration's and the cloud's own. They are shared, and not to be added to.
func (a *App) roots(cloud entra.Cloud) (*x509.CertPool, error) {
	n, err := a.network()
	if err != nil {
		return nil, err
	}
	bundles := [2]string{n.CA, cloud.CA}
	a.pools.mu.Lock()
	defer a.pools.mu.Unlock()
	if pool, ok := a.pools.all[bundles]; ok {
		return pool, nil
	}
	pool, err := outbound.Roots(bundles[:]...)
	if err != nil {
		return nil, err
	}
	if len(a.pools.all) >= maxPools || a.pools.all == nil {
		a.pools.all = map[[2]string]*x509.CertPool{}
	}
	a.pools.all[bundles] = pool
	return pool, nil
}
