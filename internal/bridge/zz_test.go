package bridge_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"postern/internal/bridge"
)

func TestZZHeap(t *testing.T) {
	s := newStand(t, bridge.Limits{PerMailbox: 5000}, func(p *peer) {
		for p.next() != "" {
			p.say("+ idling\r\n")
		}
	})
	var m runtime.MemStats
	for range 500 {
		c := s.reader()
		c.say("i IDLE\r\n")
		c.want("+")
	}
	time.Sleep(3 * time.Second)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	fmt.Println(m.HeapInuse/1024, m.StackInuse/1024, m.HeapAlloc/1024)
	f, _ := os.Create("/tmp/heap.prof")
	pprof.WriteHeapProfile(f)
	f.Close()
}
