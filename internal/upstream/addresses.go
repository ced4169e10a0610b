package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"time"
)

const (
	// addressesFor is how long the answer to a name holds. What a name server says about
	// it is not known here; gRPC asks at most every 30 s as well.
	addressesFor = 30 * time.Second
	// avoidFor is how long an address that could not be reached gets no connection that
	// nobody waits for.
	avoidFor = 5 * time.Second
	// againWithin is how long a connection waits for the answer where there is an older
	// one, which does if none comes: a name server that is away keeps nobody from a
	// service that is there.
	againWithin = time.Second
)

// addresses are those that an upstream's name stands for, over which its connections are
// spread, as with gRPC's policy round_robin.
type addresses struct {
	host, port string
	resolver   *net.Resolver

	mu     sync.Mutex
	list   []netip.AddrPort
	asked  time.Time
	asking bool // by again
	of     map[netip.AddrPort]*address
}

// address is what is known of one.
type address struct {
	open  int       // connections, and those being made
	avoid time.Time // until then
}

func newAddresses(host, port string, r *net.Resolver) *addresses {
	if r == nil {
		r = net.DefaultResolver
	}
	return &addresses{host: host, port: port, resolver: r, of: make(map[netip.AddrPort]*address)}
}

// lookUp asks for the addresses. They are of one family, the fourth where there is one: a
// server that has both has them for the same process.
func (a *addresses) lookUp(ctx context.Context) error {
	port, err := a.resolver.LookupPort(ctx, "tcp", a.port)
	if err != nil {
		return err
	}
	ips, err := a.resolver.LookupNetIP(ctx, "ip", a.host)
	if err != nil {
		return err
	}
	var four, all []netip.AddrPort
	for _, ip := range ips {
		at := netip.AddrPortFrom(ip.Unmap(), uint16(port))
		if all = append(all, at); at.Addr().Is4() {
			four = append(four, at)
		}
	}
	if len(four) > 0 {
		all = four
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Compare(all[j]) < 0 })
	all = slices.Compact(all)
	if len(all) == 0 {
		return errors.New("lookup " + a.host + ": no addresses")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list, a.asked = all, time.Now()
	for at, one := range a.of {
		if one.open == 0 && !slices.Contains(all, at) {
			delete(a.of, at)
		}
	}
	return nil
}

// inOrder gives all, those with the fewest connections first.
func (a *addresses) inOrder(ctx context.Context) ([]netip.AddrPort, error) {
	now := time.Now()
	a.mu.Lock()
	known := len(a.list) > 0
	old := known && a.old(now)
	a.mu.Unlock()
	if !known {
		if err := a.lookUp(ctx); err != nil {
			return nil, err
		}
	}
	if old {
		ctx, cancel := context.WithTimeout(ctx, againWithin)
		a.again(ctx)
		cancel()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.list)
	sort.SliceStable(list, func(i, j int) bool {
		p, q := a.at(list[i]), a.at(list[j])
		if late := now.Before(p.avoid); late != now.Before(q.avoid) {
			return !late
		}
		return p.open < q.open
	})
	return list, nil
}

// old reports whether the name should be asked for again, which one caller does then, by
// again. a.mu is held.
func (a *addresses) old(now time.Time) bool {
	if a.asking || now.Sub(a.asked) <= addressesFor {
		return false
	}
	a.asking = true
	return true
}

// at gives what is known of an address. a.mu is held.
func (a *addresses) at(at netip.AddrPort) *address {
	one := a.of[at]
	if one == nil {
		one = new(address)
		a.of[at] = one
	}
	return one
}

// dial connects to the address that has the fewest connections, or else to another one;
// with only, to that alone. The connection counts until left is called.
func (a *addresses) dial(ctx context.Context, d *net.Dialer, only netip.AddrPort) (nc net.Conn, at netip.AddrPort, err error) {
	list := []netip.AddrPort{only}
	if !only.IsValid() {
		if list, err = a.inOrder(ctx); err != nil {
			return nil, at, err
		}
	}
	for i, one := range list {
		a.join(one)
		if nc, err = a.dialOne(ctx, d, one, len(list)-i); err == nil {
			return nc, one, nil
		}
		a.left(one)
		if ctx.Err() != nil {
			break
		}
		a.mu.Lock()
		a.at(one).avoid = time.Now().Add(avoidFor)
		a.mu.Unlock()
	}
	return nil, at, err
}

// dialOne gives an address its part of the time, so that some is left for the others.
func (a *addresses) dialOne(ctx context.Context, d *net.Dialer, at netip.AddrPort, parts int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && parts > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
		defer cancel()
	}
	return d.DialContext(ctx, "tcp", at.String())
}

func (a *addresses) join(at netip.AddrPort) {
	a.mu.Lock()
	a.at(at).open++
	a.mu.Unlock()
}

// left is called when a connection is closed.
func (a *addresses) left(at netip.AddrPort) {
	if a == nil || !at.IsValid() {
		return
	}
	a.mu.Lock()
	if one := a.at(at); one.open > 0 {
		one.open--
	}
	a.mu.Unlock()
}

// lacking gives an address that should have a connection and has none. old says that the
// name should be asked for again, which the caller does then.
func (a *addresses) lacking(now time.Time) (at netip.AddrPort, old bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old = a.old(now)
	if len(a.list) > 1 {
		for _, one := range a.list {
			if is := a.at(one); is.open == 0 && now.After(is.avoid) {
				// It gets one now; with that failed it is avoided for a while.
				is.avoid = now.Add(avoidFor)
				return one, old
			}
		}
	}
	return at, old
}

// again asks for the addresses once more, after old said so.
func (a *addresses) again(ctx context.Context) {
	err := a.lookUp(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking = false
	if err != nil {
		// What is known holds on, and the name server gets some peace.
		a.asked = time.Now()
	}
}

// has reports whether the name still stands for an address.
func (a *addresses) has(at netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.list, at)
}
