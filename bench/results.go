package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"sluice/internal/codec"
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// results compares a codec that keeps results with one that keeps none, on chats
// some of which come again.
func (e *effort) results(w io.Writer) error {
	fmt.Fprintln(w, "| decode, µs a request of 2 kB | hits | result cache | without | ratio |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: |")
	for _, percent := range []int{0, 20, 50} {
		hits, costs, err := e.repeated(percent)
		if err != nil {
			return fmt.Errorf("%d %% again: %w", percent, err)
		}
		gain := ratio(costs[1], costs[0])
		fmt.Fprintf(w, "| %d %% come again | %.1f %% | %s | %s | %.2f |\n", percent, 100*hits, micros(median(costs[0])), micros(median(costs[1])), gain)
	}
	fmt.Fprintln(w)
	return nil
}

// repeated gives the share of hits and what a request costs with kept results
// and without.
func (e *effort) repeated(percent int) (hits float64, costs [][]float64, err error) {
	var work []func()
	var keeps *codec.Codec
	for _, size := range []int64{codec.Default().ResultCacheBytes, 0} {
		c, err := newCodec(func(c *codec.Config) { c.ResultCacheBytes = size })
		if err != nil {
			return 0, nil, err
		}
		defer c.Close()
		r, err := newRepeater(c.Stage(nil), percent)
		if err != nil {
			return 0, nil, err
		}
		if size > 0 {
			keeps = c
		}
		work = append(work, r.next)
	}
	before := count(keeps)
	costs = e.alternate(work)
	after := count(keeps)
	return (after.hits - before.hits) / (after.all - before.all), costs, nil
}

// again is how many chats there are that come again.
const again = 64

// repeater sends chats to a stage. A share of them are of a few that come again
// and again, the others differ from each other.
type repeater struct {
	stage   llm.Handler
	percent int
	hot     [again]*llm.Request
	cold    *llm.Request
	digits  []byte // in cold's body
	n       int
}

func newRepeater(stage llm.Handler, percent int) (*repeater, error) {
	r := &repeater{stage: stage, percent: percent}
	request := func(n int) (*llm.Request, error) {
		wire, _, err := forms(chat(n))
		return post("decode", "type="+chatType, "application/x-protobuf", wire), err
	}
	var err error
	if r.cold, err = request(0); err != nil {
		return nil, err
	}
	const before = "Question "
	at := bytes.Index(r.cold.Body, []byte(before+"000000")) + len(before)
	r.digits = r.cold.Body[at : at+6]
	for i := range r.hot {
		if r.hot[i], err = request(999_999 - i); err != nil {
			return nil, err
		}
		for range 2 { // what comes for the second time is kept
			if _, err := ask(stage, r.hot[i]); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// next sends the next chat.
func (r *repeater) next() {
	r.n++
	req := r.cold
	if r.n*r.percent/100 > (r.n-1)*r.percent/100 {
		req = r.hot[r.n*r.percent/100%again]
	} else {
		number := r.n % (1_000_000 - again)
		for i := len(r.digits) - 1; i >= 0; i, number = i-1, number/10 {
			r.digits[i] = '0' + byte(number%10)
		}
	}
	if err := r.stage.Serve(context.Background(), req, dropped{}); err != nil {
		panic(err) // others like it were answered
	}
}

// counter reads how many results were looked for and found.
type counter struct{ hits, all float64 }

func count(s perf.Source) (c counter) {
	s.Figures(&c)
	return c
}

func (c *counter) Counter(name, _ string, value float64, labels ...string) {
	if name == "protobuf_results_total" {
		c.all += value
		if labels[1] == "hit" {
			c.hits += value
		}
	}
}

func (c *counter) Gauge(string, string, float64, ...string)             {}
func (*counter) Ratio(string, string, float64, float64, ...string)      {}
func (c *counter) Histogram(string, string, *perf.Histogram, ...string) {}
