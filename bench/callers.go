package main

import (
	"slices"
	"strings"
	"time"
)

// source is a kind of call that callers make.
type source struct {
	addr    string
	request []byte // as it is written; at is where the digits of its number stand
	at      int

	// Either so many callers each call again when they have their answer, or calls come
	// so many a second, at random (Poisson), however the answers fare.
	callers int
	rate    float64
	steady  bool // all of them equally far apart, and not at random

	patience time.Duration // after which a caller leaves; 0 for a minute
	vector   bool          // the reply has to begin with the call's number
}

// newSource has a body in which zeros stand for the number of a call, and further
// fields for the head, each with its end of line.
func newSource(addr, path, fields, body string) source {
	return sourceTo(target{addr, path, fields}, body)
}

// sourceTo is the same for calls that a server is to get.
func sourceTo(t target, body string) source {
	head := t.head(len(body))
	return source{addr: t.addr, request: []byte(head + body), at: len(head) + strings.Index(body, strings.Repeat("0", numberSize))}
}

// moment is something to do while calls are made.
type moment struct {
	at time.Duration // since all began
	do func() error
}

// call is what became of one.
type call struct {
	source     int
	begun      time.Duration // since all began: when it was to begin
	took       time.Duration
	status     int // left where its caller did, broken where the connection ended
	retryAfter int // seconds; -1 for none
}

// What became of calls without a reply.
const (
	left   = 0
	broken = -1
)

// madeBy are those of some sources.
func madeBy(calls []call, sources ...int) (some []call) {
	for _, c := range calls {
		if slices.Contains(sources, c.source) {
			some = append(some, c)
		}
	}
	return some
}

// ended are those that ended within a time.
func ended(calls []call, from, to time.Duration) (some []call) {
	for _, c := range calls {
		if end := c.begun + c.took; end >= from && end < to {
			some = append(some, c)
		}
	}
	return some
}

// refused are those that were told an error.
func refused(calls []call) (some []call) {
	for _, c := range calls {
		if c.status > 0 && c.status != 200 {
			some = append(some, c)
		}
	}
	return some
}

// with are those with a status, or a lack of one.
func with(calls []call, status int) (some []call) {
	for _, c := range calls {
		if c.status == status {
			some = append(some, c)
		}
	}
	return some
}

// took is a percentile of what calls took, in ms; 0 for none.
func took(calls []call, percent int) float64 {
	if len(calls) == 0 {
		return 0
	}
	var all []time.Duration
	for _, c := range calls {
		all = append(all, c.took)
	}
	return milli(percentile(all, percent))
}

// statuses are all that there are but 200, in order.
func statuses(calls []call) (all []int) {
	for _, c := range calls {
		if c.status != 200 && !slices.Contains(all, c.status) {
			all = append(all, c.status)
		}
	}
	slices.Sort(all)
	return all
}
