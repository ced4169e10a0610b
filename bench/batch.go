package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"sluice/internal/codec"
)

// batchItems is how many messages a batch has.
const batchItems = 1000

// batches compares one worker on one CPU with two on two, on batches of chats.
// Time by the clock is what workers save; on a machine that does other things
// too, only the shortest times are theirs. Hashing shows what a second CPU can
// save there.
func (e *effort) batches(w io.Writer) error {
	fmt.Fprintf(w, "| batch of %d chats, ms by the clock | 1 CPU | 2 CPUs | speed-up | of medians |\n", batchItems)
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: |")
	for _, path := range []string{"decode", "encode"} {
		if err := e.batch(w, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	piece := new([1 << 20]byte)
	e.clocked(w, "SHA-256 of 8 MB, for comparison", [2]func(){func() { hash(piece, 1) }, func() { hash(piece, 2) }})
	fmt.Fprintln(w)
	return nil
}

// hash hashes 8 MB in some threads. All read the same, so that neither memory
// nor caches tell them apart.
func hash(piece *[1 << 20]byte, threads int) {
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			for range 8 / threads {
				sha256.Sum256(piece[:])
			}
		})
	}
	all.Wait()
}

// batchBody is an envelope of chats that differ.
func batchBody(path string) ([]byte, error) {
	b := []byte(`{"type":"` + chatType + `","items":[`)
	for n := range batchItems {
		wire, text, err := forms(chat(n))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"data":`...)
		if path == "encode" {
			b = append(b, text...)
		} else {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, wire)
			b = append(b, '"')
		}
		b = append(b, '}')
	}
	return append(b, "]}"...), nil
}

func (e *effort) batch(w io.Writer, path string) error {
	body, err := batchBody(path)
	if err != nil {
		return err
	}
	req := post(path, "", "application/json", body)
	var work [2]func()
	for i := range work {
		c, err := newCodec(func(c *codec.Config) { c.Workers, c.ResultCacheBytes = i+1, 0 })
		if err != nil {
			return err
		}
		defer c.Close()
		stage := c.Stage(nil)
		reply, err := ask(stage, req)
		if err == nil {
			err = complete(reply)
		}
		if err != nil {
			return err
		}
		work[i] = func() {
			if err := stage.Serve(context.Background(), req, dropped{}); err != nil {
				panic(err) // it was answered a moment ago
			}
		}
	}
	e.clocked(w, path, work)
	return nil
}

// clocked prints how long work for one CPU and for two takes, in turn, in ms.
func (e *effort) clocked(w io.Writer, name string, work [2]func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var times [2][]float64
	for begin := time.Now(); len(times[1]) < e.rounds || time.Since(begin) < 10*time.Duration(e.rounds)*e.load; {
		for i, do := range work {
			runtime.GOMAXPROCS(i + 1)
			start := time.Now()
			do()
			times[i] = append(times[i], micro(time.Since(start))/1000)
		}
	}
	one, two := slices.Min(times[0]), slices.Min(times[1])
	fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %.2f |\n", name, one, two, one/two, median(times[0])/median(times[1]))
}

// complete makes sure that all items of a batch were done.
func complete(reply []byte) error {
	var r struct {
		Items []struct{ Data json.RawMessage }
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return err
	}
	if len(r.Items) != batchItems {
		return fmt.Errorf("the reply has %d items, not %d", len(r.Items), batchItems)
	}
	for i := range r.Items {
		if len(bytes.TrimSpace(r.Items[i].Data)) < 100 {
			return fmt.Errorf("item %d was not done: %s", i, r.Items[i].Data)
		}
	}
	return nil
}
