//go:build !linux

package http1

import "time"

// Gather waits for d, during which bytes may come in together.
func (c *Conn) Gather(d time.Duration) { time.Sleep(d) }

// Stale reports false: see the Linux one.
func (c *Conn) Stale() bool { return !c.Reusable() }

// Unacknowledged reports false: see the Linux one.
func (c *Conn) Unacknowledged() bool { return false }

// refused reports false: an early reply is then seen when the write fails.
func (c *Conn) refused() bool { return false }

// canReadSocket says that readSocket does not work. TLS then reads on only as far as
// its own buffer goes.
const canReadSocket = false

func (r *Receiver) readSocket(uintptr) bool { return true }

func (r *Receiver) writeSocket(uintptr) bool { return true }
