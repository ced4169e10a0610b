package simulator

import (
	"encoding/binary"
	"io"
)

// The codings br and zstd are written in blocks that are stored as they are, which every
// decoder has to take. What compresses would be the larger part of both libraries in the
// binary, for a model that only pretends.

// storedBrotli writes br (RFC 7932 section 9.2): meta-blocks that are not compressed.
type storedBrotli struct {
	w     io.Writer
	begun bool
}

// mostBrotli is the length of the longest meta-block that has four nibbles of length.
const mostBrotli = 1 << 16

// Write implements io.Writer.
func (b *storedBrotli) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), mostBrotli)]
		// ISLAST 0, MNIBBLES 0 (four), MLEN-1, ISUNCOMPRESSED 1; in the first byte of all a
		// bit more: the window, of 16 bits.
		head := uint32(len(part)-1)<<3 | 1<<19
		if !b.begun {
			b.begun = true
			head <<= 1
		}
		if err := writeStored(b.w, head, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// writeStored writes a head of three bytes, the lowest first, and what it is the head of.
func writeStored(w io.Writer, head uint32, part []byte) error {
	var room [4]byte
	binary.LittleEndian.PutUint32(room[:], head)
	if _, err := w.Write(room[:3]); err != nil {
		return err
	}
	_, err := w.Write(part)
	return err
}

// Flush does nothing: nothing is held.
func (*storedBrotli) Flush() error { return nil }

// Close ends the stream with an empty meta-block that is the last.
func (b *storedBrotli) Close() error {
	last := byte(3)
	if !b.begun {
		last = 6
	}
	_, err := b.w.Write([]byte{last})
	return err
}

// storedZstd writes zstd (RFC 8878 section 3.1.1): one frame of raw blocks.
type storedZstd struct {
	w     io.Writer
	begun bool
}

// mostZstd is the length of the longest block.
const mostZstd = 128 << 10

func (z *storedZstd) begin() error {
	if z.begun {
		return nil
	}
	z.begun = true
	// Magic number; a descriptor of a frame with a window, no checksum and no size; a window
	// of 1 MiB.
	_, err := z.w.Write([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3})
	return err
}

// Write implements io.Writer.
func (z *storedZstd) Write(p []byte) (n int, err error) {
	if err := z.begin(); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		part := p[:min(len(p), mostZstd)]
		if err := writeStored(z.w, uint32(len(part))<<3, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// Flush does nothing: nothing is held.
func (*storedZstd) Flush() error { return nil }

// Close ends the frame with an empty block that is the last.
func (z *storedZstd) Close() error {
	if err := z.begin(); err != nil {
		return err
	}
	_, err := z.w.Write([]byte{1, 0, 0})
	return err
}
