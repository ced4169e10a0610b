package protobuf

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/grpc"
	"sluice/internal/memory"
)

// frameHead is what stands before each message of gRPC: whether it is compressed, and how
// many bytes it has ("gRPC over HTTP2", Length-Prefixed-Message).
const frameHead = 5

// appendFrameHead appends that of a message of n bytes, compressed ones where it is.
func appendFrameHead(dst []byte, n int, compressed bool) []byte {
	flag := byte(0)
	if compressed {
		flag = 1
	}
	return binary.BigEndian.AppendUint32(append(dst, flag), uint32(n))
}

// frames is a cutter of messages that stand one after the other, each with its length
// before it: as gRPC has it, or as a varint. A message that came in one piece is not
// copied.
type frames struct {
	most   int    // bytes of a message
	varint bool   // that is before each of them, and nothing else
	coding string // of those that are compressed: Grpc-Encoding
	kept          // the beginning of a message, whose end is in no piece yet

	rest []byte // came, and was not looked at
	over bool   // what is held was given away as a message

	plain *memory.Buffer // the message, decompressed; nil for none
}

func (f *frames) next(read func() ([]byte, error)) ([]byte, error) {
	if f.over || f.plain != nil {
		f.drop()
	}
	for {
		message, ok, err := f.cut()
		if ok || err != nil {
			return message, err
		}
		if f.rest, err = read(); err == nil {
			continue
		}
		if err == io.EOF && f.held != nil { //nolint:errorlint // read returns it unwrapped
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
}

// cut takes a message out of what has come, or keeps that where it is none yet.
func (f *frames) cut() (message []byte, ok bool, err error) {
	if len(f.rest) == 0 {
		return nil, false, nil
	}
	if f.held == nil {
		head, size, err := f.size(f.rest)
		switch {
		case err != nil:
			return nil, false, err
		case head == 0 || len(f.rest) < size:
			return nil, false, f.keep(len(f.rest))
		}
		frame := f.rest[:size]
		f.rest = f.rest[size:]
		return f.open(frame, head)
	}
	head, size, err := f.size(f.held.B)
	for ; err == nil && head == 0 && len(f.rest) > 0; head, size, err = f.size(f.held.B) {
		if err := f.keep(1); err != nil {
			return nil, false, err
		}
	}
	if err != nil || head == 0 {
		return nil, false, err
	}
	if err := f.keep(min(size-len(f.held.B), len(f.rest))); err != nil || len(f.held.B) < size {
		return nil, false, err
	}
	f.over = true
	return f.open(f.held.B, head)
}

func (f *frames) ready() bool {
	if f.held != nil && !f.over {
		return false
	}
	head, size, err := f.size(f.rest)
	return err == nil && head > 0 && len(f.rest) >= size
}

// size is how many bytes a frame has, as its head says, and how many of them that is; 0
// where it has not come.
func (f *frames) size(b []byte) (head, size int, err error) {
	n := uint64(0)
	switch {
	case f.varint:
		v, k := protowire.ConsumeVarint(b)
		if k < 0 && len(b) >= binary.MaxVarintLen64 {
			return 0, 0, &grpc.Status{Code: grpc.Internal, Message: "a message's length is no varint"}
		}
		if k < 0 {
			return 0, 0, nil
		}
		head, n = k, v
	case len(b) < frameHead:
		return 0, 0, nil
	case b[0] > 1:
		return 0, 0, &grpc.Status{Code: grpc.Internal, Message: fmt.Sprintf("a message begins with %d", b[0])}
	default:
		head, n = frameHead, uint64(binary.BigEndian.Uint32(b[1:]))
	}
	if n > uint64(f.most) {
		return 0, 0, larger(n, f.most)
	}
	return head, head + int(n), nil
}

// larger is the error of a message that has more bytes than are taken.
func larger(n uint64, most int) error {
	return &grpc.Status{Code: grpc.ResourceExhausted, Message: fmt.Sprintf("a message of the reply has %d bytes, of which %d are taken", n, most)}
}

// open gives the message of a frame.
func (f *frames) open(frame []byte, head int) (message []byte, ok bool, err error) {
	message = frame[head:]
	if !f.varint && frame[0] == 1 {
		if f.plain, err = f.buffers.Get(len(message)); err != nil {
			f.plain = nil
			return nil, false, err
		}
		if message, err = grpc.DecompressInto(f.plain.B, message, f.coding, f.most, f.widen); err != nil {
			return nil, false, err
		}
		f.plain.B = message
	}
	return message, true, nil
}

// widen sees to room for more of a message that is decompressed.
func (f *frames) widen(message []byte) (_ []byte, err error) {
	f.plain.B = message
	f.plain, err = f.buffers.Grow(f.plain, 2*cap(message))
	return f.plain.B, err
}

// keep moves n bytes of rest to what is held.
func (f *frames) keep(n int) error {
	if err := f.add(f.rest[:n]); err != nil {
		return err
	}
	f.rest = f.rest[n:]
	return nil
}

func (f *frames) retain(message []byte) (*memory.Buffer, []byte, error) {
	if b := f.plain; b != nil {
		f.plain = nil
		return b, message, nil
	}
	if f.over {
		f.over = false
		return f.kept.retain(message)
	}
	return copied(f.buffers, message)
}

// copied gives a copy of a message in a buffer of its own.
func copied(buffers *memory.Buffers, message []byte) (*memory.Buffer, []byte, error) {
	b, err := buffers.Get(len(message))
	if err != nil {
		return nil, nil, err
	}
	b.B = append(b.B, message...)
	return b, b.B, nil
}

func (f *frames) drop() {
	f.kept.drop()
	f.buffers.Put(f.plain)
	f.over, f.plain = false, nil
}

// kept is what a cutter holds of a message, or the message, in a buffer.
type kept struct {
	buffers *memory.Buffers
	held    *memory.Buffer // nil for nothing
}

// add holds some more. The buffer grows with what comes and not with what is announced.
func (k *kept) add(piece []byte) (err error) {
	if k.held == nil {
		if k.held, err = k.buffers.Get(len(piece)); err != nil {
			k.held = nil
			return err
		}
	}
	if all := len(k.held.B) + len(piece); all > cap(k.held.B) {
		if k.held, err = k.buffers.Grow(k.held, max(all, 2*len(k.held.B))); err != nil {
			return err
		}
	}
	k.held.B = append(k.held.B, piece...)
	return nil
}

func (k *kept) retain(message []byte) (*memory.Buffer, []byte, error) {
	b := k.held
	k.held = nil
	return b, message, nil
}

func (k *kept) drop() {
	k.buffers.Put(k.held)
	k.held = nil
}
