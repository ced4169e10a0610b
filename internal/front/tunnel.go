package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// TunnelConfig bounds WebSockets, the key `server.tunnels`.
type TunnelConfig struct {
	// MaxOpen bounds those that are open or being asked for. One more is told 503;
	// with 0 every one is.
	MaxOpen int `yaml:"max_open"`

	// IdleTimeout ends one in which neither side has sent a byte for so long.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// MaxBytes ends one that has carried so much, both directions together; 0 for
	// no bound.
	MaxBytes int64 `yaml:"max_bytes"`
}

// goodbyeTime is how long both sides have to end a WebSocket after it was said
// that it is over.
const goodbyeTime = time.Second

// farewell is why the gateway ends a WebSocket.
type farewell struct {
	code   uint16 // of the Close frames (RFC 6455 section 7.4.1)
	reason string
	abort  int
	err    *llm.Error // for the figures
}

func byeDrain() *farewell {
	return &farewell{1001, "the gateway is shutting down", abortShutdown, errShutdown}
}

func byeIdle() *farewell {
	return &farewell{1001, "nothing was sent for too long", abortIdle,
		&llm.Error{Status: 408, Code: "tunnel_idle", Message: "Nothing was sent for server.tunnels.idle_timeout."}}
}

func byeLimit() *farewell {
	return &farewell{1008, "more was sent than one connection may carry", abortLimit,
		&llm.Error{Status: 413, Code: "tunnel_too_large", Message: "More was sent than server.tunnels.max_bytes."}}
}

var (
	errClientLeft = errors.New("the client has left")
	errOver       = errors.New("the WebSocket is over")
)

// tunnel is a client's connection after it has left HTTP. Two goroutines use it:
// one takes what the client sends (Read), the handler's brings what the upstream
// sends (send). Whoever is faster waits for the other side, and neither buffers
// more than it is given.
//
// A WebSocket ends soundly when one side has sent a Close frame. Anything else is
// a cut, and is passed on as one: the other side's connection is closed too.
type tunnel struct {
	cfg    *TunnelConfig
	cancel context.CancelCauseFunc // of the handler
	conn   net.Conn                // nil until the upstream has agreed
	src    io.Reader               // conn, behind what came with the request

	in, out atomic.Int64 // bytes
	moved   atomic.Int64 // Unix ns: when the last came
	timer   *time.Timer  // idle
	undrain func() bool  // ends the wait for a drain

	bye    atomic.Pointer[farewell]
	closed atomic.Bool // a side sent a Close frame
	left   atomic.Bool // the client went without one
	soon   sync.Once
	late   atomic.Pointer[time.Timer]

	up     frames // of Read
	saidUp bool

	mu   sync.Mutex // of writing to the client
	down frames
	said bool
	err  error // of a write to the client
}

// serveTunnel has a WebSocket answered.
func (x *exchange) serveTunnel() error {
	open, cfg := &x.s.stats.tunnels, &x.st.cfg.Tunnels
	defer open.Add(-1)
	if open.Add(1) > int64(cfg.MaxOpen) {
		x.s.stats.tunnelsRejected.Add(1)
		e := llm.Errorf(503, "overloaded", "The gateway has as many WebSockets open as it may have (server.tunnels.max_open). Try again.")
		e.Fault, e.RetryAfter = llm.Busy, time.Second
		return e
	}
	in := &x.in
	in.forwardHeader()
	in.forwardUpgrade()
	in.req.Method, in.req.RawQuery = x.q.Method, x.q.RawQuery
	in.req.Cache = cachePolicy(x.q.Header)
	ctx, cancel := context.WithCancelCause(x.e.Context())
	defer cancel(errOver)
	t := &tunnel{cfg: cfg, cancel: cancel}
	x.out.tunnel = t
	defer t.end()
	in.req.BodyReader, in.req.BodyLen = t, -1
	x.rec.Receiving = time.Since(x.begun)
	err := x.st.handler.Serve(ctx, &in.req, &x.out)
	if t.conn == nil {
		return err
	}
	x.concludeTunnel(err)
	return nil
}

// startTunnel takes the connection over and says that HTTP is over.
func (out *reply) startTunnel() error {
	t := out.tunnel
	if t == nil || out.kind != llm.Pieces {
		return errMisuse
	}
	nc, early, err := out.e.Hijack()
	if err != nil {
		return err
	}
	out.wrote = true
	t.conn, t.src = nc, nc
	if len(early) > 0 {
		t.src = io.MultiReader(bytes.NewReader(early), nc)
	}
	h := &out.head.Fields
	h.Set("Server", out.s.server)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", out.in.req.Upgrade)
	out.head.Status = out.status
	head := out.head.AppendHTTP1(nil, "Switching Protocols")
	out.openStream()
	out.rec.answered(time.Since(out.begun))
	if _, t.err = nc.Write(head); t.err != nil {
		return t.err
	}
	t.moved.Store(time.Now().UnixNano())
	t.timer = time.AfterFunc(math.MaxInt64, t.checkIdle)
	t.timer.Reset(t.cfg.IdleTimeout)
	t.undrain = context.AfterFunc(out.s.leaving, func() { t.sayBye(byeDrain()) })
	return nil
}

// Read gives what the client sends, and in the end a Close frame of the
// gateway's. It is called by one goroutine, after startTunnel.
func (t *tunnel) Read(p []byte) (int, error) {
	if f := t.bye.Load(); f != nil {
		return t.byeUp(p, f)
	}
	n, err := t.src.Read(p)
	if n > 0 {
		t.up.feed(p[:n], false)
		if t.up.closed {
			t.close()
		}
		t.count(&t.in, n)
		return n, nil
	}
	switch f := t.bye.Load(); {
	case err == nil:
		return 0, nil
	case f != nil:
		return t.byeUp(p, f)
	case t.closed.Load():
		return 0, io.EOF
	}
	// A WebSocket has no half-close: who ends a direction has left.
	t.left.Store(true)
	t.cancel(errClientLeft)
	return 0, err
}

// byeUp tells the upstream that it is over, where no frame is under way.
func (t *tunnel) byeUp(p []byte, f *farewell) (int, error) {
	if t.saidUp || !t.up.between() || t.up.closed || len(p) < maxCloseFrame {
		return 0, io.EOF
	}
	t.saidUp = true
	return copy(p, appendClose(nil, f.code, f.reason, true)), nil
}

// send brings a piece to the client.
func (t *tunnel) send(b []byte) error {
	err := t.write(b)
	if t.bye.Load() != nil {
		t.mu.Lock()
		t.byeDown()
		t.mu.Unlock()
	}
	return err
}

func (t *tunnel) write(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said {
		return nil // nothing may follow a Close frame
	}
	b = b[:t.down.feed(b, t.bye.Load() != nil)]
	if t.down.closed {
		t.close()
	}
	n, err := t.conn.Write(b)
	t.err = err
	t.count(&t.out, n)
	return err
}

// byeDown tells the client that it is over, where no frame is under way. t is
// locked.
func (t *tunnel) byeDown() {
	if t.said || t.err != nil || !t.down.between() || t.down.closed {
		return
	}
	t.said = true
	f := t.bye.Load()
	_, t.err = t.conn.Write(appendClose(nil, f.code, f.reason, false))
}

// count takes note of n bytes.
func (t *tunnel) count(c *atomic.Int64, n int) {
	c.Add(int64(n))
	t.moved.Store(time.Now().UnixNano())
	if t.cfg.MaxBytes > 0 && t.in.Load()+t.out.Load() > t.cfg.MaxBytes && t.bye.Load() == nil {
		t.sayBye(byeLimit())
	}
}

func (t *tunnel) checkIdle() {
	left := time.Until(time.Unix(0, t.moved.Load()).Add(t.cfg.IdleTimeout))
	if left <= 0 {
		t.sayBye(byeIdle())
		return
	}
	t.timer.Reset(left)
}

// sayBye ends the WebSocket for a reason of the gateway's: with a Close frame to
// either side that is between two frames, at once or when the one under way has
// ended, and after goodbyeTime without any. It may be called from any goroutine.
func (t *tunnel) sayBye(f *farewell) {
	if !t.bye.CompareAndSwap(nil, f) {
		return
	}
	_ = t.conn.SetReadDeadline(time.Unix(1, 0)) // Read has something else to give
	t.close()
	if t.mu.TryLock() { // else send does it
		t.byeDown()
		t.mu.Unlock()
	}
}

// close gives both sides goodbyeTime.
func (t *tunnel) close() {
	t.closed.Store(true)
	t.soon.Do(func() {
		t.late.Store(time.AfterFunc(goodbyeTime, func() {
			t.cancel(errOver)
			_ = t.conn.SetWriteDeadline(time.Unix(1, 0))
		}))
	})
}

// end closes the client's connection. Where the client is still there it may
// read what was sent, before a reset throws it away.
func (t *tunnel) end() {
	if t.conn == nil {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
		t.undrain()
	}
	t.mu.Lock()
	broken := t.err != nil || t.left.Load()
	t.mu.Unlock()
	if late := t.late.Load(); late != nil {
		late.Stop()
	}
	half, ok := t.conn.(interface{ CloseWrite() error })
	if ok && !broken && half.CloseWrite() == nil {
		_ = t.conn.SetReadDeadline(time.Now().Add(engine.Linger))
		_, _ = io.CopyN(io.Discard, t.conn, maxIgnored)
	}
	_ = t.conn.Close()
}

// concludeTunnel takes note of how a WebSocket ended. err is what the handlers
// returned.
func (x *exchange) concludeTunnel(err error) {
	t := x.out.tunnel
	x.in.body.n, x.rec.BytesOut = t.in.Load(), t.out.Load()
	stats := &x.s.stats
	stats.tunnelIn.Add(uint64(t.in.Load()))
	stats.tunnelOut.Add(uint64(t.out.Load()))
	t.mu.Lock() // a drain may be saying goodbye
	unsent, told := t.err, t.said || t.down.closed
	t.mu.Unlock()
	e, cause := llm.AsError(err), 0
	switch f := t.bye.Load(); {
	case f != nil && f.abort == abortShutdown && told && unsent == nil:
		return // a drain ends WebSockets in good order
	case f != nil:
		e, cause = f.err, f.abort
	case errors.Is(context.Cause(x.e.Context()), errShutdown):
		e, cause = errShutdown, abortShutdown
	case errors.Is(unsent, os.ErrDeadlineExceeded):
		x.rec.abort(abortSlow)
		return
	case t.left.Load() || unsent != nil:
		x.rec.abort(abortClient)
		return
	case t.closed.Load():
		return // how the connections end after it is nobody's concern
	case err == nil:
		e = llm.UpstreamError(x.rec.Upstream, llm.Cut, 502, "upstream_cut", "Upstream %s ended the connection without a Close frame.", nil)
		cause = abortUpstream
	default:
		cause = abortCause(e)
	}
	x.rec.logFailure(e, x.out.status)
	x.rec.noteLate(e, x.out.status)
	x.rec.abort(cause)
}
