package main

import "time"

// queue holds who waits for the same while, in the order in which they become due.
type queue struct {
	delay time.Duration
	step  time.Duration // of which what is due at about the same time shares one; 0 for waits that are exact
	list  []waiter
	gone  int // of the list
}

// waiter is a connection that is due.
type waiter struct {
	fd, generation int32
	due            time.Duration // since the mock began
}

func (q *queue) add(fd, generation int32, now time.Duration) {
	if q.gone > len(q.list)/2 {
		q.list = q.list[:copy(q.list, q.list[q.gone:])]
		q.gone = 0
	}
	due := now + q.delay
	if q.step > 0 {
		due = (due + q.step - 1).Truncate(q.step)
	}
	q.list = append(q.list, waiter{fd, generation, due})
}

// first is who is due next.
func (q *queue) first() (w waiter, ok bool) {
	if q.gone == len(q.list) {
		return w, false
	}
	return q.list[q.gone], true
}

func (q *queue) take() { q.gone++ }
