package memory

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

func get(t testing.TB, p *Buffers, n int) *Buffer {
	t.Helper()
	b, err := p.Get(n)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.B) != 0 || cap(b.B) < n {
		t.Fatalf("%d bytes asked for: length %d, capacity %d", n, len(b.B), cap(b.B))
	}
	return b
}

func TestClasses(t *testing.T) {
	for n, want := range map[int]int{
		-1: 1024, 0: 1024, 1: 1024, 1024: 1024, 1025: 2048, 4096: 4096, 4097: 8192, 65536: 65536,
		Largest - 1: Largest, Largest: Largest, Largest + 1: Largest + 1, 5 << 20: 5 << 20,
	} {
		for what, p := range map[string]*Buffers{"zero": {}, "nil": nil} {
			b := get(t, p, n)
			if cap(b.B) != want {
				t.Errorf("%s: %d: %d, want %d", what, n, cap(b.B), want)
			}
			p.Put(b)
		}
	}
	if Smallest<<(classes-1) != Largest || 1<<first != Smallest {
		t.Error("the classes do not end at Largest")
	}
}

// What comes back is what was lent, or stays away.
func TestPut(t *testing.T) {
	var p Buffers
	p.Put(nil)
	b := get(t, &p, 2000)
	b.B = append(b.B, "old"...)
	p.Put(b)
	if b := get(t, &p, 2000); cap(b.B) != 2048 {
		t.Errorf("%d", cap(b.B))
	}
	for what, spoil := range map[string]func(*Buffer){
		"outgrown":        func(b *Buffer) { b.B = append(b.B, make([]byte, 4097)...) },
		"begins later":    func(b *Buffer) { b.B = b.B[:2048][1024:] },
		"another's":       func(b *Buffer) { b.B = make([]byte, 0, 4096) },
		"not from here":   func(b *Buffer) { *b = Buffer{B: make([]byte, 0, 2048)} },
		"nothing at all":  func(b *Buffer) { b.B = nil },
		"larger than all": func(b *Buffer) { *b = *get(t, &p, Largest+1) },
	} {
		b, before := get(t, &p, 2048), p.left.Load()
		spoil(b)
		p.Put(b)
		if p.left.Load() != before+1 {
			t.Errorf("%s: was taken back", what)
		}
	}
}

func TestGrow(t *testing.T) {
	var p Buffers
	b := get(t, &p, 10)
	b.B = append(b.B, "hello"...)
	b, err := p.Grow(b, 5000)
	if err != nil || string(b.B) != "hello" || cap(b.B) != 8192 {
		t.Errorf("%q, %d, %v", b.B, cap(b.B), err)
	}
}

// A refusal is an error for the client, and says that it is the gateway's lack.
func TestRefused(t *testing.T) {
	p := Buffers{Max: 4096}
	b := get(t, &p, 4096)
	b.B = append(b.B, "hello"...)
	same, err := p.Grow(b, 4097)
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Status != 503 || e.Fault != llm.Lacking || e.Upstream != "" || e.RetryAfter == 0 || !strings.Contains(e.Error(), "4097") {
		t.Errorf("%#v", err)
	}
	if same != b || string(b.B) != "hello" {
		t.Error("what could not grow is lost")
	}
	figures := counted{}
	p.Figures(figures)
	if figures["memory_buffers_refused_total"] != 1 || figures["memory_buffers_made_total 4096"] != 1 || len(figures) != classes+3 {
		t.Error(figures)
	}
	huge := 5 << 30
	if _, err := new(Buffers).Get(huge); err == nil {
		t.Error("5 GiB were lent")
	}
}

// counted is what a source counts, by name and label.
type counted map[string]float64

func (c counted) Counter(name, _ string, v float64, labels ...string) {
	if len(labels) > 1 {
		name += " " + labels[1]
	}
	c[name] = v
}
func (counted) Gauge(string, string, float64, ...string)             {}
func (counted) Ratio(string, string, float64, float64, ...string)    {}
func (counted) Histogram(string, string, *perf.Histogram, ...string) {}

// Nobody sees another's bytes while they are lent.
func TestLentOnce(t *testing.T) {
	var p Buffers
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 2000 {
				b, err := p.Get(i)
				if err != nil {
					t.Error(err)
					return
				}
				for range min(i, 200) {
					b.B = append(b.B, byte(g))
				}
				for _, c := range b.B {
					if c != byte(g) {
						t.Error("two have one buffer")
						return
					}
				}
				p.Put(b)
			}
		})
	}
	all.Wait()
}

func BenchmarkBuffers(b *testing.B) {
	var p Buffers
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			buf, _ := p.Get(5000)
			p.Put(buf)
		}
	})
}
