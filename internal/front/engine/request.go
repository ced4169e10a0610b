package engine

import (
	"io"
	"net/url"
)

// Request is a request as an engine has read it. The handler may change what
// stands in it.
type Request struct {
	Method string

	// Path is the target's path, decoded, and RawPath how it came where that is not
	// the usual way to write it, as in url.URL.
	Path, RawPath, RawQuery string

	Host   string // that was asked for, as it came: Host, or :authority
	Remote string // the client's address and port
	TLS    bool

	Major, Minor int // the version of HTTP

	// Header has the fields. Over HTTP/1 Host is not among them; a Host field that came
	// beside :authority is, since the two may differ.
	Header Header

	// Body is the body without its framing, nil for none. Its first Read tells a
	// client that waits for it (Expect: 100-continue) to go on. Length is how long it
	// is in bytes, -1 where that is not known.
	Body   io.Reader
	Length int64

	// Last says that the connection ends with this exchange, as where the next request
	// begins is open to doubt.
	Last bool
}

// Many reports whether one connection may have many exchanges at a time.
func (r *Request) Many() bool { return r.Major > 1 }

// EscapedPath gives the path as it came.
func (r *Request) EscapedPath() string {
	u := url.URL{Path: r.Path, RawPath: r.RawPath}
	return u.EscapedPath()
}

// Header is a request's header. Names are canonical (Content-Type).
type Header interface {
	// Values gives the values of all fields of a name, as they came, nil for none. They
	// are not to be modified.
	Values(name string) []string

	// Each visits the names with their values, each name once and in any order, as
	// long as visit returns true, and reports whether it always did.
	Each(visit func(name string, values []string) bool) bool
}

// Get gives the value of the first field with a name, "" for none.
func Get(h Header, name string) string {
	if values := h.Values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}
