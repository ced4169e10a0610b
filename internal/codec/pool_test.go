package codec

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// block keeps the only worker of a pool busy until free is called.
func block(t *testing.T, p *pool) (free func()) {
	t.Helper()
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.run(context.Background(), 1, func(int) { close(begun); <-end }); err != nil {
			t.Error(err)
		}
	}()
	<-begun
	return func() { close(end); <-ended }
}

func TestPoolDoesAll(t *testing.T) {
	p := newPool(3, 100)
	defer p.close()
	var each [100]atomic.Int32
	if err := p.run(t.Context(), 100, func(i int) { each[i].Add(1) }); err != nil {
		t.Fatal(err)
	}
	for i := range each {
		if n := each[i].Load(); n != 1 {
			t.Errorf("piece %d was done %d times", i, n)
		}
	}
	if err := p.run(t.Context(), 0, nil); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	if room := p.room.Load(); room != 100 || p.busy.Load() != 0 {
		t.Errorf("room %d, busy %d", room, p.busy.Load())
	}
}

// All pieces find room or none is done.
func TestPoolFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, 2)
		defer p.close()
		free := block(t, p)
		if err := p.run(t.Context(), 3, func(int) { t.Error("done") }); !errors.Is(err, errFull) {
			t.Errorf("3 pieces: %v", err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if err := p.run(t.Context(), 2, func(int) {}); err != nil {
				t.Errorf("2 pieces: %v", err)
			}
		})
		synctest.Wait() // until both wait
		if err := p.run(t.Context(), 1, func(int) { t.Error("done") }); !errors.Is(err, errFull) || p.refused.Load() != 2 {
			t.Errorf("one more: %v, %d refused", err, p.refused.Load())
		}
		free()
		both.Wait()
	})
}

// What was cancelled before it began never begins; what runs is waited for.
func TestPoolCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, 8)
		defer p.close()
		free := block(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.run(ctx, 2, func(int) { t.Error("begun") }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		free()

		ctx, cancel = context.WithCancel(t.Context())
		end := make(chan struct{})
		var done, returned atomic.Int32
		go func() {
			if err := p.run(ctx, 2, func(int) { <-end; done.Add(1) }); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			returned.Add(1)
		}()
		synctest.Wait() // the first runs, the second waits
		cancel()
		synctest.Wait()
		if returned.Load() != 0 {
			t.Error("returned while a piece ran")
		}
		close(end)
		synctest.Wait()
		if returned.Load() != 1 || done.Load() != 1 {
			t.Errorf("returned %d, done %d", returned.Load(), done.Load())
		}
	})
}

// Where nothing is left to do, pieces that wait are not waited for.
func TestPoolSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, 4)
		defer p.close()
		free := block(t, p)
		w := newWork(func(int) { t.Error("begun") })
		for range 3 {
			if !p.add(w, true) {
				t.Error("no room")
			}
			w.spend()
		}
		if err := p.wait(t.Context(), w); err != nil {
			t.Error(err)
		}
		free()
		synctest.Wait()
		if room := p.room.Load(); room != 4 {
			t.Errorf("room for %d", room)
		}
	})
}

func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, 8)
		end := make(chan struct{})
		var errs [2]error
		go func() { errs[0] = p.run(t.Context(), 1, func(int) { <-end }) }()
		synctest.Wait()
		go func() { errs[1] = p.run(t.Context(), 1, func(int) { t.Error("begun") }) }()
		synctest.Wait()
		go p.close()
		synctest.Wait()
		if !errors.Is(errs[1], errClosed) {
			t.Errorf("the one that waits: %v", errs[1])
		}
		close(end)
		synctest.Wait()
		if errs[0] != nil && !errors.Is(errs[0], errClosed) {
			t.Errorf("the one that runs: %v", errs[0])
		}
		if err := p.run(t.Context(), 1, func(int) { t.Error("begun") }); !errors.Is(err, errClosed) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// Large calls and batches are told when the queue is full; small ones do not need it.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCodec(t, func(c *Config) { c.Workers, c.Queue, c.InlineBytes = 1, 1, 100 })
		free := block(t, c.pool)
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() { _ = c.pool.run(ctx, 1, func(int) {}) })
		synctest.Wait() // until it waits
		big := post("decode?type=test.Note", string(note(strings.Repeat("x", 200))), asWire)
		err := c.Stage(nil).Serve(t.Context(), big, &client{})
		if got := told(err); !strings.HasPrefix(got, "503 codec_busy : ") {
			t.Errorf("large: %s", got)
		}
		if got := send(c, post("decode", `{"type":"test.Note","items":[{"data":""}]}`, asJSON)); !strings.HasPrefix(got, "503 codec_busy : ") {
			t.Errorf("batch: %s", got)
		}
		if got := send(c, post("decode?type=test.Note", "", asWire)); got != "application/json {}" {
			t.Errorf("small: %s", got)
		}
		cancel()
		waiting.Wait()
		free()
		if c.figures.calls[opDecode][busy].Load() != 2 || c.figures.calls[opDecode][done].Load() != 1 {
			t.Error("the figures do not show it")
		}
	})
}

// The client of a large call leaves while it waits.
func TestCancelledCall(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers, c.InlineBytes = 1, 0 })
	free := block(t, c.pool)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, req := range []string{`{"type":"test.Note","data":{}}`, `{"type":"test.Note","items":[{"data":{}}]}`} {
		out := &client{}
		if err := c.Stage(nil).Serve(ctx, post("encode", req, asJSON), out); !errors.Is(err, context.Canceled) || out.starts > 0 {
			t.Errorf("%v, %d heads", err, out.starts)
		}
	}
	free()
	if n := c.figures.calls[opEncode][cancelled].Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
}
