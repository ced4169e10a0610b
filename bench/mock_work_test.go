package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCostOf(t *testing.T) {
	for _, want := range []cost{{10 * time.Millisecond, 100 * time.Microsecond, 1, 0}, {1500 * time.Millisecond, 0, 40, 50}} {
		if got, ok := costOf(want.model("off")); !ok || got != want {
			t.Errorf("%s: %+v, %v", want.model("off"), got, ok)
		}
		if strings.Contains(want.model(""), "µ") {
			t.Errorf("%s is not ASCII", want.model(""))
		}
	}
	if got, ok := costOf("work?call-cost=1s"); !ok || got != (cost{time.Second, 0, 1, 0}) {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, bad := range []string{"", "mock-model", "work", "other?call-cost=1s", "work?call-cost=1", "work?workers=0", "work?item-cost=-1s", "work?x=1", "work?cost-spread=101"} {
		if c, ok := costOf(bad); ok {
			t.Errorf("%q: %+v", bad, c)
		}
	}
	c := cost{10 * time.Millisecond, 100 * time.Microsecond, 4, 0}
	if c.of(0) != c.of(1) || c.of(10) != 11*time.Millisecond || int(c.capacity(1)) != 396 || int(c.capacity(10)) != 3636 {
		t.Errorf("%v, %v, %v", c.of(10), c.capacity(1), c.capacity(10))
	}
}

// What a crew does is its cost's alone, in the order in which calls came.
func TestCrew(t *testing.T) {
	const ms = time.Millisecond
	w := &crew{cost: cost{10 * ms, ms, 2, 0}}
	var done []string
	until := func(now time.Duration) {
		for first, ok := w.first(); ok && first.due <= now; first, ok = w.first() {
			w.finish()
			done = append(done, fmt.Sprintf("%d at %v", first.fd, first.due))
		}
	}
	w.join(1, 0, 10, 0)    // until 20
	w.join(2, 0, 1, 0)     // until 11
	w.join(3, 0, 1, 5*ms)  // 11 to 22
	w.join(4, 0, 1, 6*ms)  // leaves in line
	w.join(5, 0, 5, 6*ms)  // 20 to 35
	w.join(6, 0, 1, 7*ms)  // 22 to 33, but leaves at 25
	w.join(7, 0, 1, 10*ms) // 25 to 36
	w.leave(4, 0, 10*ms)
	w.leave(5, 1, 10*ms) // another's
	until(25 * ms)
	w.leave(6, 0, 25*ms)
	until(time.Second)
	w.join(8, 0, 1, 50*ms)
	until(time.Second)
	if want := []string{"2 at 11ms", "1 at 20ms", "3 at 22ms", "5 at 35ms", "7 at 36ms", "8 at 61ms"}; !slices.Equal(done, want) {
		t.Errorf("got %v, want %v", done, want)
	}
	if len(w.busy) > 0 || len(w.line) > 0 {
		t.Errorf("%v and %v are left", w.busy, w.line)
	}
}

// Calls that are spread take what they do on average, and differ.
func TestSpread(t *testing.T) {
	var sum, least, most time.Duration
	const n = 100
	for i := range n {
		d := spread(time.Second, 50, i+1)
		sum += d
		if i == 0 {
			least = d
		}
		least, most = min(least, d), max(most, d)
	}
	if mean := sum / n; mean < 980*time.Millisecond || mean > 1020*time.Millisecond || least < 500*time.Millisecond || most > 1500*time.Millisecond || most-least < 900*time.Millisecond {
		t.Errorf("mean %v, from %v to %v", mean, least, most)
	}
	if d := spread(time.Second, 0, 7); d != time.Second {
		t.Errorf("not spread: %v", d)
	}
}

func TestInputs(t *testing.T) {
	for body, want := range map[string][]string{
		embeddingBody("m"): {"000000000000"},
		`{"input":["000000000001 a", "000000000002"]}`:   {"000000000001", "000000000002"},
		`{"input":[ "a\"]b", "", "\\"],"x":["y"]}`:       {`a\"]b`, "", `\\`},
		`{"input":["a","b`:                               {"a"},
		`{"input":`:                                      nil,
		`{"prompt":"a"}`:                                 nil,
		`{"model":"m","input":"000000000003","n":["a"]}`: {"000000000003"},
	} {
		var got []string
		inputs([]byte(body), func(number []byte) { got = append(got, string(number)) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", body, got, want)
		}
	}
}

// Each input gets a vector that tells whose it is.
func TestEmbeddings(t *testing.T) {
	var r mockReply
	for _, n := range []int{12, 1, 3} {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%0*d what", numberSize, 7*i))
		}
		b, err := json.Marshal(map[string]any{"model": "m", "input": all})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.embeddings(b, time.Now()); got != n {
			t.Errorf("%d vectors, not %d", got, n)
		}
		head, body, _ := strings.Cut(string(r.pieces[0]), "\r\n\r\n")
		var reply struct {
			Data []struct {
				Index     int
				Embedding string
			}
			Usage struct {
				Total int `json:"total_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(body), &reply); err != nil {
			t.Fatal(err)
		}
		if number(field([]byte(head+"\r\n"), "content-length"), 10) != len(body) || len(reply.Data) != n || reply.Usage.Total != 20*n {
			t.Errorf("%s: %d bytes, %d vectors, usage %d", head, len(body), len(reply.Data), reply.Usage.Total)
		}
		for i, d := range reply.Data {
			vector, err := base64.StdEncoding.DecodeString(d.Embedding)
			if d.Index != i || err != nil || len(vector) != 4*dimensions || !strings.HasPrefix(d.Embedding, all[i][:numberSize]) {
				t.Errorf("vector %d is %d: %d bytes, %v", i, d.Index, len(vector), err)
			}
		}
	}
}
