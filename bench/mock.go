package main

import (
	"fmt"
	"net"
)

// The mocks that there are.
const (
	mockLean    = "lean"    // one loop over raw sockets
	mockNetHTTP = "nethttp" // net/http's server
)

// servedPath is where a mock says how many calls there were.
const servedPath = "/served"

// serveMock is the upstream: a chat completion, whole or as a stream whose events
// are each written by themselves. In the lean one, what models cost takes so many times
// longer.
func serveMock(kind, addr string, slower int) error {
	switch kind {
	case mockLean:
		tcp, err := net.ResolveTCPAddr("tcp4", addr)
		if err != nil {
			return err
		}
		m, err := newLeanMock(tcp.AddrPort(), slower)
		if err != nil {
			return err
		}
		return m.run()
	case mockNetHTTP:
		return serveNetHTTP(addr)
	}
	return fmt.Errorf("there is no mock %q: %s or %s", kind, mockLean, mockNetHTTP)
}
