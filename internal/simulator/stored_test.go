package simulator

import (
	"bytes"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// TestStored: what is written as br and zstd is what decoders read, whatever its length and
// however it comes.
func TestStored(t *testing.T) {
	for _, size := range []int{0, 1, 2, 1000, mostBrotli - 1, mostBrotli, mostBrotli + 1, mostZstd, mostZstd + 1, 1 << 20} {
		for _, piece := range []int{1 << 20, 7777} {
			text := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			for name, decode := range map[string]func(io.Reader) io.Reader{
				"br": func(r io.Reader) io.Reader { return brotli.NewReader(r) },
				"zstd": func(r io.Reader) io.Reader {
					d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
					if err != nil {
						t.Fatal(err)
					}
					return d
				},
			} {
				var coded bytes.Buffer
				e := encoder(&coded, name)
				for rest := text; len(rest) > 0; {
					n := min(piece, len(rest))
					if m, err := e.Write(rest[:n]); err != nil || m != n {
						t.Fatalf("%s: %d, %v", name, m, err)
					}
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(decode(&coded)); err != nil || !bytes.Equal(got, text) {
					t.Errorf("%s of %d bytes in pieces of %d: %d bytes, %v", name, size, piece, len(got), err)
				}
			}
		}
	}
}
