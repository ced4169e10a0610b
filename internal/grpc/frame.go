package grpc

import (
	"bytes"
	packer "compress/gzip" // what compresses is in the binary anyway, and what decompresses is slower
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// frameHead is what stands before each message: whether it is compressed, and how
// many bytes it has.
const frameHead = 5

// frame makes a message ready to be sent.
func (c *Client) frame(message []byte) ([]byte, error) {
	head := [frameHead]byte{}
	if c.gzip {
		packed, err := Compress(message)
		if err != nil {
			return nil, err
		}
		message, head[0] = packed, 1
	}
	if len(message) > math.MaxUint32 {
		return nil, fmt.Errorf("a message of %d bytes is too long", len(message))
	}
	binary.BigEndian.PutUint32(head[1:], uint32(len(message)))
	return append(head[:], message...), nil
}

// Compress gives a message as gzip.
func Compress(message []byte) ([]byte, error) {
	var b bytes.Buffer
	z := packer.NewWriter(&b)
	if _, err := z.Write(message); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// replies are the messages of a server.
type replies struct {
	client *Client
	ctx    context.Context //nolint:containedctx // the call's
	resp   *http.Response
}

func (r *replies) close() { _ = r.resp.Body.Close() }

// next gives the next message: io.EOF after the last one, else errors are a
// *Status.
func (r *replies) next() ([]byte, error) {
	message, compressed, err := readFrame(r.resp.Body, r.client.maxReply)
	switch {
	case err == io.EOF: //nolint:errorlint // readFrame returns it so
		return nil, ended(r.resp)
	case err != nil:
		return nil, r.broken(err)
	case compressed:
		if message, err = Decompress(message, r.resp.Header.Get("Grpc-Encoding"), r.client.maxReply); err != nil {
			return nil, err
		}
	}
	return message, nil
}

func (r *replies) broken(err error) error {
	if s, ok := err.(*Status); ok { //nolint:errorlint // readFrame returns it so
		return s
	}
	return r.client.failed(r.ctx, err)
}

// readFrame reads a message of at most so many bytes. It returns io.EOF where there
// is none.
func readFrame(from io.Reader, most int) (message []byte, compressed bool, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(from, head[:]); err == io.EOF {
		return nil, false, err
	} else if err != nil {
		return nil, false, cutShort(err)
	}
	if head[0] > 1 {
		return nil, false, &Status{Code: Internal, Message: fmt.Sprintf("a message begins with %d", head[0])}
	}
	size := int64(binary.BigEndian.Uint32(head[1:]))
	if size > int64(most) {
		return nil, false, tooLarge(most)
	}
	var b bytes.Buffer // grows with what comes, not with what is announced
	if _, err := io.CopyN(&b, from, size); err != nil {
		return nil, false, cutShort(err)
	}
	return b.Bytes(), head[0] == 1, nil
}

// cutShort is the error of a message that has begun.
func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // as they are
		return &Status{Code: Internal, Message: "the reply ends within a message"}
	}
	return err
}

func tooLarge(most int) error {
	return &Status{Code: ResourceExhausted, Message: fmt.Sprintf("a message is larger than max, which is %d bytes", most)}
}

// Decompress gives what a message is that was compressed by coding (Grpc-Encoding), at
// most so many bytes. Its error is a *Status.
func Decompress(message []byte, coding string, most int) ([]byte, error) {
	return DecompressInto(nil, message, coding, most, func(b []byte) ([]byte, error) { return slices.Grow(b, max(len(b), bytes.MinRead)), nil })
}

// DecompressInto is Decompress that appends to dst. Where that is full grow is called, which
// gives it with more room, or an error that ends the work.
func DecompressInto(dst, message []byte, coding string, most int, grow func(b []byte) ([]byte, error)) ([]byte, error) {
	if coding != codingGzip {
		return nil, &Status{Code: Internal, Message: fmt.Sprintf("a message is compressed by %.100q", coding)}
	}
	bad := func(err error) error {
		return &Status{Code: Internal, Message: fmt.Sprintf("decompress a message: %v", err)}
	}
	z, err := gzip.NewReader(bytes.NewReader(message))
	if err != nil {
		return nil, bad(err)
	}
	for {
		if len(dst) == cap(dst) {
			if dst, err = grow(dst); err != nil {
				return nil, err
			}
		}
		n, err := z.Read(dst[len(dst):cap(dst)])
		if dst = dst[:len(dst)+n]; len(dst) > most {
			return nil, tooLarge(most)
		}
		if err == io.EOF { //nolint:errorlint // gzip returns it so
			return dst, nil
		}
		if err != nil {
			return nil, bad(err)
		}
	}
}
