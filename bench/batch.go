package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"sluice/internal/codec"
	"sluice/internal/llm"
)

// batchItems is how many messages a batch has.
const batchItems = 1000

// batches compares one worker with two on batches of chats. Time by the clock
// is what workers save; on a machine that does other things too, only the
// shortest times are theirs.
func (e *effort) batches(w io.Writer) error {
	fmt.Fprintf(w, "| batch of %d chats, ms by the clock | 1 worker | 2 workers | speed-up | of medians |\n", batchItems)
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: |")
	for _, path := range []string{"decode", "encode"} {
		body, err := batchBody(path)
		if err != nil {
			return err
		}
		one, two, err := e.batch(post(path, "", "application/json", body))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %.2f |\n", path, slices.Min(one), slices.Min(two),
			slices.Min(one)/slices.Min(two), median(one)/median(two))
	}
	fmt.Fprintln(w)
	return nil
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

// batch gives the times in ms that one worker and two took, in turn.
func (e *effort) batch(req *llm.Request) (one, two []float64, err error) {
	var stages [2]llm.Handler
	for i := range stages {
		c, err := newCodec(func(c *codec.Config) { c.Workers, c.ResultCacheBytes = i+1, 0 })
		if err != nil {
			return nil, nil, err
		}
		defer c.Close()
		stages[i] = c.Stage(nil)
		reply, err := ask(stages[i], req)
		if err == nil {
			err = complete(reply)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	var times [2][]float64
	for begin := time.Now(); len(times[1]) < e.rounds || time.Since(begin) < 20*time.Duration(e.rounds)*e.load; {
		for i, s := range stages {
			start := time.Now()
			if err := s.Serve(context.Background(), req, dropped{}); err != nil {
				return nil, nil, err
			}
			times[i] = append(times[i], micro(time.Since(start))/1000)
		}
	}
	return times[0], times[1], nil
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
