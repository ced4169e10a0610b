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

// Simulation begins a test that computes, on a clock of its own, what comes of hours of
// load. The race detector makes that five times as long, and the same code's other tests
// have it on: make norace runs this one.
func Simulation(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("a simulation: make norace runs it")
	}
}
