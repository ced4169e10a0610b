//go:build !linux

package http1

// Stale reports false: see the Linux one.
func (c *Conn) Stale() bool { return !c.Reusable() }

// refused reports false: an early reply is then seen when the write fails.
func (c *Conn) refused() bool { return false }
