package store

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"postern/internal/fault"
)

// maxUnflushed is how many commits may wait for the same flush.
const maxUnflushed = 16

// flusher makes commits durable while the writer is at the next ones. SQLite writes a
// commit to its log and leaves the flush to us (synchronous = NORMAL; it still flushes
// what a checkpoint needs). A change is answered after a flush that began when its commit
// had ended; so is one that failed, because what it saw may not be durable yet.
//
// After a flush that failed nobody knows what the disk has: the system forgets what it
// could not write, and calls the next flush a success. So there is no next one, and no
// change any more, until Postern starts again and SQLite has read its log anew.
type flusher struct {
	sync   func() error
	queue  chan []*pending
	ended  chan struct{}
	broken atomic.Pointer[fault.Error]
}

// newFlusher starts one. Closing its queue ends it, when all are answered.
func newFlusher(sync func() error) *flusher {
	f := &flusher{sync: sync, queue: make(chan []*pending, maxUnflushed), ended: make(chan struct{})}
	go f.loop()
	return f
}

func (f *flusher) loop() {
	defer close(f.ended)
	for batch := range f.queue {
		f.settle(f.join(batch))
	}
}

// join adds what has been committed meanwhile.
func (f *flusher) join(batch []*pending) []*pending {
	for {
		select {
		case more := <-f.queue: // nil when it is closed
			if more == nil {
				return batch
			}
			batch = append(batch, more...)
		default:
			return batch
		}
	}
}

// settle flushes and answers.
func (f *flusher) settle(batch []*pending) {
	err := f.failed()
	if err == nil {
		err = f.flush()
	}
	for _, p := range batch {
		if err != nil {
			p.err = ambiguous(err)
		}
		p.answer <- p.err
	}
}

func (f *flusher) flush() error {
	err := f.sync()
	if err == nil {
		return nil
	}
	f.broken.Store(&fault.Error{Kind: fault.Temporary, Op: "flush", Err: fmt.Errorf("the disk did not keep what was written: %w", err),
		Hint: "look into the system log for disk errors, then restart Postern"})
	return f.failed()
}

// failed says why there is no flush any more, nil while there is.
func (f *flusher) failed() error {
	if e := f.broken.Load(); e != nil {
		return e
	}
	return nil
}

// openLog opens SQLite's log for flushes of our own, and makes its name durable.
func openLog(dir, path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}
