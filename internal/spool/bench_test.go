package spool

import (
	"bytes"
	"io"
	"testing"

	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// What passing 16 MiB costs, without a Store, and kept in a file or in memory.
func BenchmarkPass(b *testing.B) {
	const size = 16 << 20
	body := make([]byte, size)
	for _, c := range []struct {
		name  string
		above int64
		keeps bool
	}{{"once", 0, false}, {"file", 0, true}, {"memory", size, true}} {
		b.Run(c.name, func(b *testing.B) {
			s := stored(b, func(cfg *memory.Config) { cfg.SpoolAbove = c.above })
			src, to := bytes.NewReader(nil), make([]byte, 32<<10)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(body)
				sp := s.Spool(src, size)
				drain(sp.Reader(c.keeps), to)
				sp.Last()
				sp.End()
			}
		})
	}
}

func drain(r io.Reader, to []byte) {
	for {
		if _, err := r.Read(to); err != nil {
			return
		}
	}
}

// A body that is small costs the Spool and its reader; its bytes cost nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	s := stored(t, nil)
	body := make([]byte, 100_000)
	src, to := bytes.NewReader(nil), make([]byte, 1000)
	n := testing.AllocsPerRun(100, func() {
		src.Reset(body)
		sp := s.Spool(src, int64(len(body)))
		drain(sp.Reader(true), to)
		sp.End()
	})
	if n > 2 {
		t.Errorf("%v allocations", n)
	}
}
