package nethttp

import (
	"bytes"
	"net/http"
)

// lengthName is what a field begins with that gives a body's length.
const lengthName = "content-length"

// Read also notes whether the client has ever named a Content-Length on this
// connection, for lastOn.
func (c *conn) Read(b []byte) (n int, err error) {
	n, err = c.Conn.Read(b)
	if n > 0 && !c.sized.Load() {
		c.look(b[:n])
	}
	return n, err
}

// look searches what was read, and what it makes together with the end of what
// was read before. It knows nothing of where a request begins or ends, and need
// not. With the first length that it finds the searching is over.
func (c *conn) look(b []byte) {
	if bytes.HasPrefix(b, []byte("PRI * HTTP/2.0")) {
		c.sized.Store(true) // no chunks there
		return
	}
	const most = len(lengthName) - 1
	var seam [2 * most]byte
	n := copy(seam[:], c.tail[:c.tailed])
	n += copy(seam[n:], b[:min(len(b), most)])
	if namesLength(seam[:n]) || namesLength(b) {
		c.sized.Store(true)
		return
	}
	if len(b) < most { // seam has all of both
		b = seam[:n]
	}
	c.tailed = copy(c.tail[:], b[max(len(b)-most, 0):])
}

func namesLength(b []byte) bool {
	const dash = len("content")
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], '-')
		if i < 0 {
			return false
		}
		at += i
		if begin := at - dash; begin >= 0 && begin+len(lengthName) <= len(b) && bytes.EqualFold(b[begin:begin+len(lengthName)], []byte(lengthName)) {
			return true
		}
	}
}

// lastOn reports whether a connection has to end with the reply to r.
//
// A request with both Content-Length and Transfer-Encoding is answered, and then
// its connection closed, as whoever sent it may see its end elsewhere (RFC 9112,
// section 6.1). Only net/http sees both: it goes by the coding, rightly, and
// removes the length. So that no second reader of heads is needed, whose opinion
// could differ from net/http's, every request in chunks is taken for one with both
// on a connection on which a length was ever named, and over TLS, where what is
// named cannot be seen.
//
// From a request of HTTP/1.0 net/http removes a Transfer-Encoding unread, so that
// what follows it is no request for certain.
func lastOn(r *http.Request) bool {
	switch {
	case r.ProtoMajor != 1:
		return false
	case r.ProtoMinor == 0:
		return true
	case len(r.TransferEncoding) == 0:
		return false
	}
	c := connOf(r.Context())
	return c == nil || r.TLS != nil || c.sized.Load()
}
