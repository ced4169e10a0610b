package main

import "time"

// spin is how long before something is due that has to be exact the loop no longer
// sleeps: it would wake up late, by as much as a proxy takes.
const spin = 100 * time.Microsecond

// later puts a connection off by one of the delays that there are.
func (m *leanMock) later(c *mockConn, delay time.Duration) {
	for i := range m.late {
		if q := &m.late[i]; q.delay == delay {
			q.add(c.fd, c.generation, time.Since(m.begun))
			return
		}
	}
	panic("nothing is to wait for so long")
}

// untilDue is how long the loop may sleep, below 0 for any time.
func (m *leanMock) untilDue() time.Duration {
	least := time.Duration(-1)
	for i := range m.late {
		q := &m.late[i]
		w, ok := q.first()
		if !ok {
			continue
		}
		left := w.due - time.Since(m.begun)
		if q.step == 0 {
			left -= spin
		}
		if left = max(left, 0); least < 0 || left < least {
			least = left
		}
	}
	for _, w := range m.crews {
		if first, ok := w.first(); ok {
			if left := max(first.due-time.Since(m.begun)-spin, 0); least < 0 || left < least {
				least = left
			}
		}
	}
	return least
}

// sendDue goes on with what is due by now. What becomes due meanwhile waits for the
// next turn, so that no requests wait behind streams without end.
func (m *leanMock) sendDue() {
	for i := range m.late {
		q := &m.late[i]
		w, ok := q.first()
		if !ok {
			continue
		}
		for now := time.Since(m.begun); ok && w.due <= now; w, ok = q.first() {
			q.take()
			if c := m.conns[w.fd]; c.generation == w.generation {
				m.resume(c)
			}
		}
	}
	for _, w := range m.crews {
		for now := time.Since(m.begun); ; {
			first, ok := w.first()
			if !ok || first.due > now {
				break
			}
			w.finish()
			c := m.conns[first.fd]
			c.crew = nil
			m.resume(c)
		}
	}
}
