package fetch

// OnStep has f call step between any two durable steps of a hand-over.
func (f *Fetcher) OnStep(step func(string)) { f.step = step }
