package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/internal/codec"
)

func TestBatches(t *testing.T) {
	var out bytes.Buffer
	e := effort{rounds: 1, load: time.Nanosecond}
	if err := e.batches(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n| "); n != 4 {
		t.Errorf("%d rows below the head:\n%s", n, &out)
	}
}

// A batch with an item that was refused is not measured.
func TestComplete(t *testing.T) {
	item := `{"data":{"model":"` + strings.Repeat("x", 100) + `"}}`
	reply := func(n int, last string) []byte {
		return []byte(`{"items":[` + strings.Repeat(item+",", n-1) + last + `]}`)
	}
	if err := complete(reply(batchItems, item)); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{reply(batchItems-1, item), reply(batchItems, `{"error":{"message":"no"}}`), reply(batchItems, "")} {
		if complete(bad) == nil {
			t.Errorf("nothing was wrong with %s", bad[len(bad)-40:])
		}
	}
}

// What comes again is found, all else is not.
func TestRepeater(t *testing.T) {
	for _, percent := range []int{0, 20, 50} {
		c, err := newCodec(func(*codec.Config) {})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r, err := newRepeater(c.Stage(nil), percent)
		if err != nil {
			t.Fatal(err)
		}
		before := count(c)
		for range 1000 {
			r.next()
		}
		after := count(c)
		if hits, all := after.hits-before.hits, after.all-before.all; all != 1000 || hits != float64(10*percent) {
			t.Errorf("%d %%: %v of %v", percent, hits, all)
		}
	}
}
