package testkit

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// patience is how long Until waits: what is so at all is so long before, on a busy
// machine too.
const patience = time.Minute

// Until waits for what others bring about in their own time. It asks again at
// growing distances, and ends the test after a minute.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	pause := time.Millisecond
	for end := time.Now().Add(patience); !is(); time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		pause = min(pause*5/4, 20*time.Millisecond)
	}
}

// Buffer is a log that may be read while it is written. The zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written up to now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Simulation begins a test that computes alone, in one goroutine: what comes of hours of
// load on a clock of its own, or of thousands of inputs. The race detector makes that five
// times as long and finds nothing, and the same code's other tests have it on: make norace
// runs this one.
func Simulation(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("it computes alone: make norace runs it")
	}
}

// InTime has try show what comes of a time-out that somebody in it has to keep. A machine
// that is busy may keep them from that: a try that fails is made again with a time-out
// four times as long, which what is wrong fails with as well. The last one is above ten
// seconds.
func InTime(t testing.TB, timeout time.Duration, try func(timeout time.Duration) error) {
	t.Helper()
	for {
		err := try(timeout)
		if err == nil {
			return
		}
		if timeout > 10*time.Second {
			t.Fatal(err)
		}
		t.Logf("with a time-out of %v: %v", timeout, err)
		timeout *= 4
	}
}
