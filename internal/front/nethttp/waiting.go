package nethttp

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// waiting are the connections that wait for a request, those that have for longest first.
type waiting struct {
	mu    sync.Mutex
	order list.List // of *conn
	at    map[*conn]*list.Element
}

// changed is told by net/http what its connections are about.
func (s *Server) changed(nc net.Conn, state http.ConnState) {
	c := under(nc)
	if c == nil {
		return
	}
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.at[c]; e != nil {
		w.order.Remove(e)
		delete(w.at, c)
	}
	if state == http.StateNew || state == http.StateIdle {
		if w.at == nil {
			w.at = make(map[*conn]*list.Element)
		}
		w.at[c] = w.order.PushBack(c)
	}
}

// under gives ours of what net/http has.
func under(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// Shed implements engine.Engine.
func (s *Server) Shed() bool {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.order.Front()
	if e == nil {
		return false
	}
	c, _ := w.order.Remove(e).(*conn)
	delete(w.at, c)
	_ = c.Close()
	return true
}
