package upstream

import (
	"errors"
	"io"
	"sync/atomic"

	"sluice/internal/upstream/http1"
)

// outgoing is a request body on its way. It can be broken off from outside:
// after detach no Read of what the call brought begins.
type outgoing struct {
	reader   io.Reader // nil: sending or parts
	sending  *Sending  // nil: parts
	parts    [3][]byte
	progress func() // called after each Read: from then on it is the upstream's time

	touched  atomic.Bool // reader was read from, or something of sending taken
	detached atomic.Bool
	stop     chan struct{} // with sending: ends a Read when detached
	reading  chan struct{} // holds a token while parts are copied from, or sending is read
}

var errDetached = errors.New("the reply was closed")

func newOutgoing(call *Call, progress func()) *outgoing {
	o := &outgoing{reader: call.BodyReader, sending: call.Sending, parts: call.Body, progress: progress, reading: make(chan struct{}, 1)}
	if o.sending != nil {
		o.reader, o.stop = nil, make(chan struct{})
	}
	return o
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
	if o.sending != nil {
		return o.readSending(p)
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

func (o *outgoing) readSending(p []byte) (int, error) {
	n, err := o.sending.read(p, o.stop)
	if err == errDetached { //nolint:errorlint // our own
		return 0, err
	}
	o.touched.Store(true)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader asks for it unwrapped
		err = &http1.BodyError{Err: err}
	}
	return n, err
}

// Close leaves a reader alone, which belongs to the caller. The library calls
// it when it wants no more, with a Read under way that would wait for a message.
func (o *outgoing) Close() error {
	if o.sending != nil {
		o.detach()
	}
	return nil
}

// detach ends reading. Neither parts nor messages are touched after it; a Read
// of the reader that is under way is not waited for, since it may wait for a
// slow sender.
func (o *outgoing) detach() {
	if first := !o.detached.Swap(true); first && o.stop != nil {
		close(o.stop)
	}
	if o.reader == nil {
		o.reading <- struct{}{}
		<-o.reading
	}
}

// resendable reports whether the body can be sent from its beginning.
func (o *outgoing) resendable() bool {
	return o == nil || o.reader == nil && o.sending == nil || !o.touched.Load()
}
