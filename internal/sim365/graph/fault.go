package graph

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// struck lets an armed fault happen at a stage. Done means that the request has been
// dealt with; hangUp, that it must not be answered once it has. A
// reply's Code is "503 ErrorServerBusy text", a status's Code the number, and
// Delay its Retry-After.
func (s *server) struck(w http.ResponseWriter, r *http.Request, stage, mailbox string) (hangUp, done bool) {
	f, ok := s.world.Strike("graph", stage, mailbox)
	if !ok {
		return false, false
	}
	switch f.Kind {
	case world.FaultSlow:
		return false, !pause(r, f.Delay)
	case world.FaultDropAfter:
		return true, false
	case world.FaultDrop, world.FaultHalfClose:
		panic(http.ErrAbortHandler)
	case world.FaultReply:
		status, rest, _ := strings.Cut(f.Code, " ")
		code, message, _ := strings.Cut(rest, " ")
		s.fail(w, r, problem{statusOf(status), code, message})
	case world.FaultStatus:
		if f.Delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.Delay.Seconds())))
		}
		w.WriteHeader(statusOf(f.Code))
	case world.FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("\x00\xff{\"error\": <html><h1>Bad gateway</h1>"))
	default:
		return false, false
	}
	return false, true
}

func statusOf(code string) int {
	n, err := strconv.Atoi(code)
	if err != nil || n < 200 || n > 599 {
		return http.StatusServiceUnavailable
	}
	return n
}

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
