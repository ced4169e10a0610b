package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sluice/internal/testkit"
)

// nameServer answers every question for addresses of the fourth family with what names
// has, and has none of the sixth.
type nameServer struct {
	questions atomic.Int64

	mu    sync.Mutex // while it is held there are no answers
	names []netip.Addr
}

func (s *nameServer) say(list ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = nil
	for _, one := range list {
		s.names = append(s.names, netip.MustParseAddr(one))
	}
}

func (s *nameServer) answer(question []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: head.ID, Response: true}, Questions: []dnsmessage.Question{q}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, one := range s.names {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: one.As4()},
			})
		}
	}
	b, _ := m.Pack()
	return b
}

// resolver gives one that asks s.
func (s *nameServer) resolver(t *testing.T) *net.Resolver {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			s.questions.Add(1)
			question := slices.Clone(b[:n])
			go func() { pc.WriteTo(s.answer(question), from) }()
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// member is one of several servers at one port.
type member struct {
	addr  string
	calls atomic.Int64
	srv   *http.Server
}

func (m *member) start(t *testing.T) {
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	m.srv = &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.calls.Add(1)
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
		}
	})}
	m.srv.Protocols.SetHTTP1(true)
	m.srv.Protocols.SetUnencryptedHTTP2(true)
	srv := m.srv
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
}

// members starts servers at 127.0.0.1 and those that follow it.
func members(t *testing.T, n int) (list []*member, port string) {
	for range 50 {
		_, port, _ = net.SplitHostPort(testkit.Vacant(t))
		free := true
		for i := range n {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0."+string(rune('1'+i)), port))
			if errors.Is(err, syscall.EADDRINUSE) {
				free = false
				break
			}
			if err != nil {
				t.Skipf("no further addresses of loopback can be had here: %v", err)
			}
			l.Close()
		}
		if free {
			break
		}
	}
	for i := range n {
		m := &member{addr: net.JoinHostPort("127.0.0."+string(rune('1'+i)), port)}
		m.start(t)
		list = append(list, m)
	}
	return list, port
}

// spreading makes a Client of a name that stands for what s says.
func spreading(t *testing.T, s *nameServer, port string, change func(*Config)) *Client {
	r := s.resolver(t)
	return newClient(t, "http://model.test:"+port, func(cfg *Config, o *Options) {
		cfg.BalanceAddresses, o.Resolver = true, r
		if change != nil {
			change(cfg)
		}
	})
}

func calls(list []*member) (all []int64) {
	for _, m := range list {
		all = append(all, m.calls.Load())
	}
	return all
}

// ask makes calls one after the other, which all succeed.
func ask(t *testing.T, c *Client, n int) {
	t.Helper()
	for range n {
		if _, _, err := fetch(t.Context(), c, &Call{Method: "GET", Target: "/"}); err != nil {
			t.Fatal(err)
		}
	}
}

// Calls of HTTP/2 go to all addresses of a name by turns, to those that are left when one
// is gone, to one that comes back, and to no more than the name stands for now.
func TestAddressesOfAName(t *testing.T) {
	list, port := members(t, 3)
	s := new(nameServer)
	s.say("127.0.0.1", "127.0.0.2", "127.0.0.3")
	c := spreading(t, s, port, func(cfg *Config) { cfg.H2C = true })
	open := func() []int {
		var n []int
		c.dialer.addresses.mu.Lock()
		defer c.dialer.addresses.mu.Unlock()
		for _, m := range list {
			n = append(n, c.dialer.addresses.at(netip.MustParseAddrPort(m.addr)).open)
		}
		return n
	}
	reached := func(want ...int) {
		t.Helper()
		testkit.Until(t, "the connections are as they should be", func() bool {
			ask(t, c, 1)
			return slices.Equal(open(), want)
		})
	}
	ready := func(n int) {
		t.Helper()
		testkit.Until(t, "all connections take calls", func() bool {
			c.pool.mu.Lock()
			defer c.pool.mu.Unlock()
			return len(c.pool.shared) == n
		})
	}
	reached(1, 1, 1)
	ready(3)
	before := calls(list)
	ask(t, c, 30)
	for i, n := range calls(list) {
		if n -= before[i]; n != 10 {
			t.Errorf("%s had %d of 30 calls", list[i].addr, n)
		}
	}

	list[1].srv.Close()
	ready(2)
	ask(t, c, 30)
	list[1].start(t)
	testkit.Until(t, "the one that came back has calls", func() bool {
		c.dialer.addresses.mu.Lock()
		c.dialer.addresses.at(netip.MustParseAddrPort(list[1].addr)).avoid = time.Time{} // as if five seconds had gone by
		c.dialer.addresses.mu.Unlock()
		ask(t, c, 1)
		return slices.Equal(open(), []int{1, 1, 1})
	})

	s.say("127.0.0.1", "127.0.0.2")
	c.dialer.addresses.mu.Lock()
	c.dialer.addresses.asked = time.Time{} // as if half a minute had gone by
	c.dialer.addresses.mu.Unlock()
	reached(1, 1, 0)
	before = calls(list)
	ask(t, c, 10)
	if after := calls(list); after[2] != before[2] {
		t.Error("a call went to an address that the name does not stand for any more")
	}
}

// Where the name server is away what it said last holds.
func TestNameServerIsAway(t *testing.T) {
	list, port := members(t, 2)
	s := new(nameServer)
	s.say("127.0.0.1", "127.0.0.2")
	c := spreading(t, s, port, func(cfg *Config) { cfg.MaxKeepaliveConnections = 0 })
	ask(t, c, 2)
	s.mu.Lock()
	before := s.questions.Load()
	c.dialer.addresses.mu.Lock()
	c.dialer.addresses.asked = time.Time{}
	c.dialer.addresses.mu.Unlock()
	ask(t, c, 4)
	if n := s.questions.Load() - before; n < 1 || n > 4 { // for both families, and once more after 5 s
		t.Errorf("%d questions: each connection waits for the name server", n)
	}
	s.mu.Unlock()
	if err := c.dialer.addresses.lookUp(t.Context()); err != nil { // with the question that is still under way
		t.Error(err)
	}
	if n := calls(list); n[0]+n[1] != 6 {
		t.Errorf("%v", n)
	}
}

// Each connection of HTTP/1.1 goes to the address that has the fewest.
func TestAddressesOverHTTP1(t *testing.T) {
	list, port := members(t, 3)
	s := new(nameServer)
	s.say("127.0.0.1", "127.0.0.2", "127.0.0.3")
	c := spreading(t, s, port, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if r, err := c.Do(ctx, &Call{Method: "GET", Target: "/wait"}); err == nil {
				r.Close()
			}
		})
	}
	testkit.Until(t, "all calls are there", func() bool { n := calls(list); return n[0]+n[1]+n[2] == 6 })
	if n := calls(list); !slices.Equal(n, []int64{2, 2, 2}) {
		t.Errorf("%v", n)
	}
	cancel()
	wg.Wait()
}

// What cannot be reached is gone around, and a name that stands for nothing is an error.
func TestUnreachableAddresses(t *testing.T) {
	list, port := members(t, 2)
	list[0].srv.Close()
	s := new(nameServer)
	s.say("127.0.0.1", "127.0.0.2")
	ask(t, spreading(t, s, port, nil), 3)
	if n := calls(list); n[1] != 3 {
		t.Errorf("%v", n)
	}
	list[1].srv.Close()
	c := spreading(t, s, port, nil)
	if _, _, err := fetch(t.Context(), c, post("")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	s.say()
	c = spreading(t, s, port, nil)
	if _, _, err := fetch(t.Context(), c, post("")); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Error(err)
	}
}
