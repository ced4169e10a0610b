package main

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Callers who wait for their answers get what the upstream does, and no more, whoever
// else is there; each gets its own vector.
func TestDriveCallers(t *testing.T) {
	addr := startLeanMock(t)
	model := cost{2 * time.Millisecond, 0, 2, 0}
	s := newSource(addr, embeddingsPath, "", embeddingBody(model.model("a")))
	s.callers, s.vector = 5, true
	const during = 300 * time.Millisecond
	looked, number := 0, 41
	begun := time.Now()
	calls, err := drive(t.Context(), []source{s}, &number, 1, during, moment{during / 2, func() error { looked++; return nil }}, moment{during, func() error { looked++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if passed := time.Since(begun); len(calls) < 5 || float64(len(calls)) > model.capacity(1)*passed.Seconds()+1 || number != 41+len(calls) || looked != 2 {
		t.Errorf("%d calls in %v, number %d, looked %d times", len(calls), passed, number, looked)
	}
	if all := with(calls, 200); len(all) != len(calls) || took(all, 1) < 2 || len(refused(calls)) > 0 {
		t.Errorf("%d of %d were answered, in %v ms", len(all), len(calls), took(all, 50))
	}
}

// Calls come whether others are answered or not, and callers leave when they have waited
// for long enough; then the upstream does not work for them.
func TestDriveRate(t *testing.T) {
	addr := startLeanMock(t)
	s := newSource(addr, chatPath, "X-Priority: high\r\n", questionBody(cost{time.Hour, 0, 1, 0}.model("never")))
	s.rate, s.patience = 400, 20*time.Millisecond
	quick := newSource(addr, chatPath, "", questionBody(cost{time.Millisecond, 0, 100, 0}.model("quick")))
	quick.rate = 200
	number := 0
	calls, err := drive(t.Context(), []source{s, quick}, &number, 1, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	slow, rest := madeBy(calls, 0), madeBy(calls, 1)
	// A Poisson process of 200 and of 100 calls on average; six standard deviations.
	if n := len(slow); n < 115 || n > 285 || len(with(slow, left)) != n || took(slow, 1) < 20 {
		t.Errorf("%d calls, %d gave up, after %v ms", n, len(with(slow, left)), took(slow, 1))
	}
	if n := len(rest); n < 40 || n > 160 || len(with(rest, 200)) != n || len(madeBy(calls, 0, 1)) != len(calls) {
		t.Errorf("%d calls, %d answered", n, len(with(rest, 200)))
	}
	if got := ended(calls, 0, time.Hour); len(got) != len(calls) || len(ended(calls, time.Hour, 2*time.Hour)) > 0 {
		t.Errorf("%d ended", len(got))
	}
}

// Calls at a constant rate are equally far apart, however long they take.
func TestDriveSteadily(t *testing.T) {
	s := sourceTo(target{addr: startLeanMock(t)}, questionBody(modelSoon))
	s.rate, s.steady = 100, true
	number := 0
	calls, err := drive(t.Context(), []source{s}, &number, 1, 305*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.begun, b.begun) })
	for i, c := range calls {
		if want := time.Duration(i+1) * 10 * time.Millisecond; c.begun != want || c.status != 200 || c.took < soonTime {
			t.Errorf("call %d began at %v and took %v: %d", i, c.begun, c.took, c.status)
		}
	}
	if len(calls) != 30 {
		t.Errorf("%d calls", len(calls))
	}
}

// Refusals are told with when to come again; a reply that is another's, or none, is an
// error.
func TestDriveTellsOfFaults(t *testing.T) {
	serve := func(reply string) (addr string, asked *atomic.Int64) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		asked = new(atomic.Int64)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					buf := make([]byte, 64<<10)
					for {
						n, err := conn.Read(buf)
						if n == 0 || err != nil || reply == "" {
							return
						}
						if strings.Contains(string(buf[:n]), "000000000001") {
							asked.Add(1)
						}
						for i := range len(reply) { // in pieces
							conn.Write([]byte{reply[i]})
						}
					}
				}()
			}
		}()
		return listener.Addr().String(), asked
	}
	run := func(addr string) (calls []call, err error) {
		s := newSource(addr, embeddingsPath, "", embeddingBody("m"))
		s.callers, s.vector = 1, true
		number := 0
		for during := 20 * time.Millisecond; len(calls) == 0 && err == nil && during < time.Minute; during *= 4 { // a busy machine may do nothing meanwhile
			calls, err = drive(t.Context(), []source{s}, &number, 1, during)
		}
		return calls, err
	}
	addr, asked := serve("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}")
	calls, err := run(addr)
	if err != nil || len(calls) == 0 || len(refused(calls)) != len(calls) || asked.Load() != 1 || !strings.HasSuffix(tally(calls), "× 503 (Retry-After 7 s)") {
		t.Errorf("%v, %v", tally(calls), err)
	}
	for reply, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n" + `{"data":[{"embedding":"000000000002AAAA"}]}`: "another's vector",
		"HTTP/1.1 200 OK\r\n\r\n": "without its length",
		"":                        "in the midst of a call",
	} {
		addr, _ := serve(reply)
		if _, err := run(addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

// A client that leaves takes nobody's time.
func TestMockForgetsWork(t *testing.T) {
	addr := startLeanMock(t)
	model := cost{0, 100 * time.Millisecond, 1, 0}.model("a")
	one := embeddingBody(model)
	many := strings.Replace(one, `"input":`, `"input":[`+strings.Repeat(`"a",`, 1000), 1) // 100 seconds
	many = strings.TrimSuffix(many, "}") + "]}"
	for range 2 { // at work, and in line
		p := connect(t, addr)
		p.send(string(newSource(addr, embeddingsPath, "", many).request))
		p.conn.Close()
	}
	p := connect(t, addr)
	p.send(string(newSource(addr, embeddingsPath, "", one).request))
	if status, _, got := p.receive(); status != 200 || !strings.Contains(got, `"embedding":"000000000000`) {
		t.Fatalf("%d, %d bytes", status, len(got))
	}
}
