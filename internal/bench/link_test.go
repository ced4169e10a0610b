package bench

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// linked is a link before a server that answers at length.
func linked(t *testing.T, roundTrip time.Duration, secure *tls.Config) *link {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 4*cutAfter))
	}))
	t.Cleanup(s.Close)
	l, err := connect(s.Listener.Addr().String(), roundTrip, secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func fetch(t *testing.T, c *http.Client, url string) (int, error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return len(b), err
}

// TestLinkIsFar: a call over TLS takes as many round trips as it does over a distance,
// that of TCP's handshake included: three.
func TestLinkIsFar(t *testing.T) {
	const roundTrip = 40 * time.Millisecond
	c, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	l := linked(t, roundTrip, &tls.Config{Certificates: []tls.Certificate{c}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	for i, least := range []time.Duration{3 * roundTrip, roundTrip} { // the second one has a connection
		begun := time.Now()
		n, err := fetch(t, &http.Client{Transport: transport}, "https://"+l.addr)
		if took := time.Since(begun); err != nil || n != 4*cutAfter || took < least {
			t.Errorf("call %d: %d bytes, %v after %v, which is less than %v", i+1, n, err, took, least)
		}
	}
}

func TestLinkFails(t *testing.T) {
	once := func() *http.Client {
		return &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	}
	l := linked(t, 0, nil)
	if n, err := fetch(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+l.addr); err != nil || n != 4*cutAfter {
		t.Errorf("passes: %d, %v", n, err)
	}
	l.fail(cuts)
	if n, err := fetch(t, once(), "http://"+l.addr); err == nil || n > cutAfter {
		t.Errorf("cuts: %d, %v", n, err)
	}
	l.fail(hangs)
	if _, err := fetch(t, once(), "http://"+l.addr); err == nil || !err.(net.Error).Timeout() {
		t.Errorf("hangs: %v", err)
	}
	l.fail(refuses)
	if _, err := fetch(t, once(), "http://"+l.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refuses: %v", err)
	}
}
