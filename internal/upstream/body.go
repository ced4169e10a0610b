package upstream

import (
	"errors"
	"io"
	"sync/atomic"
)

// outgoing is a request body on its way. It can be broken off from outside:
// after detach no Read of what the call brought begins.
type outgoing struct {
	reader   io.Reader // nil: parts
	parts    [3][]byte
	progress func() // called after each Read: from then on it is the upstream's time

	touched  atomic.Bool // reader was read from
	detached atomic.Bool
	reading  chan struct{} // holds a token while parts are copied from
}

var errDetached = errors.New("the reply was closed")

func newOutgoing(call *Call, progress func()) *outgoing {
	return &outgoing{reader: call.BodyReader, parts: call.Body, progress: progress, reading: make(chan struct{}, 1)}
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	defer o.progress()
	if o.reader != nil {
		if o.detached.Load() {
			return 0, errDetached
		}
		o.touched.Store(true)
		return o.reader.Read(p)
	}
	o.reading <- struct{}{}
	defer func() { <-o.reading }()
	if o.detached.Load() {
		return 0, errDetached
	}
	n := 0
	for i := range o.parts {
		k := copy(p[n:], o.parts[i])
		o.parts[i] = o.parts[i][k:]
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close does nothing: the reader belongs to the caller.
func (o *outgoing) Close() error { return nil }

// detach ends reading. Parts are not touched after it; a Read of the reader
// that is under way is not waited for, since it may wait for a slow sender.
func (o *outgoing) detach() {
	o.detached.Store(true)
	if o.reader == nil {
		o.reading <- struct{}{}
		<-o.reading
	}
}

// resendable reports whether the body can be sent from its beginning.
func (o *outgoing) resendable() bool { return o == nil || o.reader == nil || !o.touched.Load() }
