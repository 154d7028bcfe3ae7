package login

import (
	"net/http"
	"strconv"
	"time"

	"postern/internal/sim365/world"
)

// struck lets an armed fault happen where no work would be half done. It reports
// whether the request has been dealt with.
func (s *Server) struck(w http.ResponseWriter, r *http.Request, where, stage, mailbox string, fail func(*failure)) bool {
	f, ok := s.world.Strike(where, stage, mailbox)
	return ok && s.misbehave(w, r, f, fail)
}

// misbehave does what a fault says. A slow answer goes on afterwards.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, f world.Fault, fail func(*failure)) bool {
	s.config.Log.InfoContext(r.Context(), "fault", "where", f.Where, "kind", string(f.Kind), "id", f.ID)
	switch f.Kind {
	case world.FaultSlow:
		if !pause(r, f.Delay) {
			hangUp()
		}
		return false
	case world.FaultReply:
		retryAfter(w, f.Delay)
		fail(asserted(f.Code))
	case world.FaultStatus:
		status, err := strconv.Atoi(f.Code)
		if err != nil || status < 100 || status > 599 {
			status = http.StatusServiceUnavailable
		}
		retryAfter(w, f.Delay)
		w.WriteHeader(status)
	case world.FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("\x00\xff{\"access_token\": <html><h1>Our services aren't available right now</h1>"))
	case world.FaultDrop, world.FaultDropAfter, world.FaultHalfClose:
		hangUp()
	default:
		return false
	}
	return true
}

func retryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.Seconds())))
	}
}

// pause waits, unless the client gives up first.
func pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// hangUp closes the connection without an answer. It is net/http's own way to do
// so, for HTTP/1 and HTTP/2 alike; the server catches it silently.
func hangUp() { panic(http.ErrAbortHandler) }
