package nethttp

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLook: a length is found however its name is spelt and wherever what is read
// is cut.
func FuzzLook(f *testing.F) {
	for _, seed := range []string{"Content-Length: 1", "content-length", "X-content-lengthy", "a-b--content-lengt", "Content_Length", "PRI * HTTP/2.0", ""} {
		f.Add([]byte("POST / HTTP/1.1\r\nUser-Agent: x\r\n"+seed), uint8(3), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, first, second uint8) {
		want := false
		for i := 0; i+len(lengthName) <= len(b); i++ {
			want = want || strings.EqualFold(string(b[i:i+len(lengthName)]), lengthName)
		}
		c := new(conn)
		for rest, cut := b, first; len(rest) > 0 && !c.sized.Load(); cut, second = second, cut {
			n := min(len(rest), int(cut)+1)
			c.look(rest[:n])
			rest = rest[n:]
		}
		if got := c.sized.Load(); got != want && !bytes.Contains(b, []byte("PRI * HTTP/2.0")) {
			t.Errorf("%q: %v", b, got)
		}
	})
}
