package upstream

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"sluice/internal/llm"
)

// Shortage is something of the machine's, or of what the gateway may have of it,
// for want of which a connection could not be made. It says nothing about the
// upstream.
type Shortage struct {
	At     time.Time
	Lack   string // as the system says it, such as "too many open files"
	Advice string // what a person can do
}

// Shortage returns the last one of the Client's, nil for none.
func (c *Client) Shortage() *Shortage { return c.shortage.Load() }

// toldEvery bounds how often a shortage is logged.
const toldEvery = 10 * time.Second

// lacked takes note of a shortage.
func (c *Client) lacked(s *Shortage) {
	c.stats.shortages.Add(1)
	if last := c.shortage.Swap(s); last == nil || s.At.Sub(last.At) > toldEvery {
		c.opts.Logger.Warn("the gateway cannot connect for want of its own resources", "upstream", c.opts.Name, "lack", s.Lack, "advice", s.Advice)
	}
}

// overloaded is the caller's error for a shortage.
func overloaded(err error) error {
	e := llm.Errorf(503, "gateway_overloaded", "The gateway has no room for another connection now. Try again shortly.")
	e.Fault, e.RetryAfter, e.Unprocessed, e.Err = llm.Lacking, time.Second, true, err
	return e
}

// shortageOf gives the shortage that an error of connecting comes from, nil for
// none.
func shortageOf(err error) *Shortage {
	for _, lack := range [...]struct {
		errno  syscall.Errno
		advice string
	}{
		{syscall.EMFILE, "Raise the limit of open files (ulimit -n, LimitNOFILE=), or lower server.max_connections and http_client.max_connections."},
		{syscall.ENFILE, "The machine has as many files open as it may have: raise fs.file-max, or find out which process has them."},
		{syscall.EADDRNOTAVAIL, "All local ports towards an address are in use: widen net.ipv4.ip_local_port_range, or lower http_client.max_connections."},
		{syscall.ENOBUFS, "The kernel has no room for sockets: look at the machine's memory and net.ipv4.tcp_mem."},
		{syscall.ENOMEM, "The kernel has no memory for sockets: look at the machine's memory, the control group's limit and net.ipv4.tcp_mem."},
	} {
		lacks := errors.Is(err, lack.errno) && (lack.errno != syscall.EADDRNOTAVAIL || !noSuchFamily(err))
		if lacks || lookupLacked(err, lack.errno) {
			return &Shortage{At: time.Now(), Lack: lack.errno.Error(), Advice: lack.advice}
		}
	}
	return nil
}

// lookupLacked reports whether a name could not be looked up for that reason. The
// resolver's errors have it only as text.
func lookupLacked(err error, errno syscall.Errno) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && !e.IsNotFound && strings.HasSuffix(e.Err, errno.Error())
}

// noSuchFamily reports whether an address could not be connected to because the
// machine has none of its kind: then EADDRNOTAVAIL is no want of ports. That is so
// of ::1, as localhost may stand for, in a container without IPv6.
func noSuchFamily(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil {
		return false
	}
	to, err := netip.ParseAddrPort(op.Addr.String())
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	return err == nil && !slices.ContainsFunc(own, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Is4() == to.Addr().Unmap().Is4()
	})
}
