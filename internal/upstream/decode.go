package upstream

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

const (
	// decodedPiece is the most that one Next returns of a coded reply, in bytes.
	decodedPiece = 16 << 10
	// maxCodings bounds how often a body may be coded, one inside the other.
	maxCodings = 3
	// maxWindow is the largest zstd window that a receiver has to support
	// (RFC 9659), in bytes.
	maxWindow = 8 << 20
)

// decoders keeps decoders for use again: making one costs up to 100 kB.
type decoders struct {
	gzip, flate, zlib, br, zstd sync.Pool
}

// unpack is one decoder: read gives the decoded bytes, free ends its use.
type unpack struct {
	io.Reader
	free func()
}

// decoder decodes a reply's body.
type decoder struct {
	reply  *Reply
	source pieces
	chain  []string // codings, in the order to undo them; nil when set up
	stack  []unpack
	piece  *memory.Buffer
	got    int64
	err    error // came with the last bytes
}

// decode arranges for the reply to be decoded.
func (r *Reply) decode(coding string) error {
	var chain []string
	for part := range strings.SplitSeq(strings.ToLower(coding), ",") {
		switch part = strings.Trim(part, " \t"); part {
		case "", "identity":
		case "gzip", "x-gzip", "deflate", "br", "zstd":
			chain = append([]string{part}, chain...)
		default:
			return r.client.failure(llm.BadReply, 502, "upstream_bad_reply", "The reply of upstream %s has a coding that was not asked for.",
				fmt.Errorf("content coding %q", part))
		}
	}
	if len(chain) == 0 || r.Length == 0 {
		return nil
	}
	if len(chain) > maxCodings {
		return r.client.failure(llm.BadReply, 502, "upstream_bad_reply", "The reply of upstream %s is coded too many times over.", nil)
	}
	r.Length = -1
	r.coded = &decoder{reply: r, source: pieces{reply: r}, chain: chain}
	return nil
}

// next returns the next decoded bytes.
func (d *decoder) next() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.chain != nil {
		if d.source.fill() == io.EOF { //nolint:errorlint // unwrapped at a sound end
			d.err = io.EOF // nothing at all is an empty body, whatever its coding
			return nil, d.err
		}
		var err error
		if d.piece, err = d.reply.client.buffers.Get(decodedPiece); err != nil {
			return nil, err
		}
		if err := d.open(); err != nil {
			return nil, d.explain(err)
		}
	}
	for range 100 {
		n, err := d.stack[len(d.stack)-1].Read(d.piece.B[:decodedPiece])
		if err != nil {
			d.err = d.explain(err)
		}
		if d.got += int64(n); d.got > d.reply.client.cfg.MaxReplyBytes {
			d.err = d.reply.client.failure(llm.TooLarge, 502, "upstream_reply_too_large", "The reply of upstream %s is too large.",
				fmt.Errorf("more than %d bytes after decoding", d.reply.client.cfg.MaxReplyBytes))
			return nil, d.err
		}
		if n > 0 {
			return d.piece.B[:n], nil
		}
		if d.err != nil {
			return nil, d.err
		}
	}
	d.err = d.explain(io.ErrNoProgress)
	return nil, d.err
}

// open sets up the decoders. It is not done at once because they read the
// beginning of the body.
func (d *decoder) open() error {
	pool := &d.reply.client.decoders
	chain := d.chain
	d.chain = nil
	var in io.Reader = &d.source
	for _, coding := range chain {
		u, err := pool.open(coding, in)
		if err != nil {
			return err
		}
		d.stack = append(d.stack, u)
		in = u
	}
	return nil
}

// explain tells a fault of the coding from one of the connection, and makes
// sure at the end that nothing follows.
func (d *decoder) explain(err error) error {
	if d.source.err != nil && d.source.err != io.EOF { //nolint:errorlint // unwrapped at a sound end
		return d.source.err
	}
	if err == io.EOF && len(d.stack) > 0 { //nolint:errorlint // a reader returns it so
		if _, err = d.source.ReadByte(); err == io.EOF { //nolint:errorlint // our own
			return io.EOF
		}
		if d.source.err != nil {
			return d.source.err
		}
		err = errors.New("bytes after the end")
	}
	return d.reply.client.failure(llm.BadReply, 502, "upstream_bad_reply", "The reply of upstream %s cannot be decoded.", err)
}

func (d *decoder) free() {
	for _, u := range d.stack {
		u.free()
	}
	d.reply.client.buffers.Put(d.piece)
	d.stack, d.piece = nil, nil
}

// resetter is a decoder that can be used again.
type resetter interface {
	io.Reader
	Reset(io.Reader) error
}

// reuse takes a decoder from a pool or makes one, and points it at in. empty
// is what it holds between uses: no reply.
func reuse[T resetter](pool *sync.Pool, in io.Reader, create func() (T, error)) (unpack, error) {
	t, ok := pool.Get().(T)
	if !ok {
		var err error
		if t, err = create(); err != nil {
			return unpack{}, err
		}
	}
	if err := t.Reset(in); err != nil {
		return unpack{}, err
	}
	return unpack{Reader: t, free: func() { pool.Put(t) }}, nil
}

func (p *decoders) open(coding string, in io.Reader) (unpack, error) {
	switch coding {
	case "br":
		return reuse(&p.br, in, func() (*brotli.Reader, error) { return brotli.NewReader(nil), nil })
	case "zstd":
		return reuse(&p.zstd, in, func() (*zstd.Decoder, error) {
			// One at a time: the decoder then has no goroutines to leak.
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		})
	case "deflate":
		return p.openDeflate(in)
	default:
		return reuse(&p.gzip, in, func() (*gzip.Reader, error) { return new(gzip.Reader), nil })
	}
}

// flateReader adapts the two forms of deflate, whose Reset takes a dictionary.
type flateReader struct {
	io.Reader
	reset func(io.Reader) error
}

func (f *flateReader) Reset(in io.Reader) error { return f.reset(in) }

// openDeflate tells the zlib format, which "deflate" means (RFC 9110 section
// 8.4.1.2), from the bare deflate data that some servers send.
func (p *decoders) openDeflate(in io.Reader) (unpack, error) {
	start := make([]byte, 2)
	n, err := io.ReadFull(in, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return unpack{}, io.ErrUnexpectedEOF
	}
	in = &prefixed{start: start[:n], in: in}
	isZlib := n == 2 && start[0]&0x0f == 8 && (int(start[0])<<8|int(start[1]))%31 == 0
	if !isZlib {
		return reuse(&p.flate, in, func() (*flateReader, error) {
			r := flate.NewReader(nil)
			return &flateReader{r, func(in io.Reader) error { return r.(flate.Resetter).Reset(in, nil) }}, nil
		})
	}
	return reuse(&p.zlib, in, func() (*flateReader, error) {
		f := &flateReader{}
		f.reset = func(in io.Reader) error {
			if f.Reader != nil {
				return f.Reader.(zlib.Resetter).Reset(in, nil)
			}
			r, err := zlib.NewReader(in)
			f.Reader = r
			return err
		}
		return f, nil
	})
}

// prefixed is a reader with bytes put back before it. Like pieces it gives
// single bytes, so that a decoder does not read beyond its own end.
type prefixed struct {
	start []byte
	in    io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.start) > 0 {
		n := copy(b, p.start)
		p.start = p.start[n:]
		return n, nil
	}
	return p.in.Read(b)
}

func (p *prefixed) ReadByte() (byte, error) {
	if br, ok := p.in.(io.ByteReader); ok && len(p.start) == 0 {
		return br.ReadByte()
	}
	var one [1]byte
	_, err := io.ReadFull(p, one[:])
	return one[0], err
}

// pieces reads a body as it came over the wire.
type pieces struct {
	reply *Reply
	rest  []byte
	err   error
}

// Read implements io.Reader. It does not wait to fill p.
func (s *pieces) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// ReadByte implements io.ByteReader, without which the decoders would read
// ahead.
func (s *pieces) ReadByte() (byte, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b, nil
}

func (s *pieces) fill() error {
	for len(s.rest) == 0 {
		if s.err != nil {
			return s.err
		}
		s.rest, s.err = s.reply.body.next(s.reply.idle)
	}
	return nil
}
