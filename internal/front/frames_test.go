package front

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// webSocketFrame makes a frame with a payload of zeroes.
func webSocketFrame(opcode byte, size int, masked bool) []byte {
	b := []byte{0x80 | opcode, 0}
	switch {
	case size < 126:
		b[1] = byte(size)
	case size < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(size))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(size))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, make([]byte, size)...)
}

func TestFrames(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
			b := webSocketFrame(1, size, masked)
			for _, cut := range []int{0, 1, 2, 3, len(b) / 2, len(b) - 1} {
				cut = min(cut, len(b)-1)
				var f frames
				if n := f.feed(b[:cut], false); n != cut || f.between() != (cut == 0) {
					t.Errorf("%d bytes, cut at %d: %d taken, between %v", size, cut, n, f.between())
				}
				// More than the frame is not taken where it has to stop.
				if cut > 0 {
					rest := append(bytes.Clone(b[cut:]), "xyz"...)
					if n := f.feed(rest, true); n != len(b)-cut || !f.between() || f.closed {
						t.Errorf("%d bytes, cut at %d: %d taken of the rest", size, cut, n)
					}
				}
			}
		}
	}
	var f frames
	f.feed(append(webSocketFrame(opClose, 2, true), webSocketFrame(1, 5, false)...), false)
	if !f.closed || !f.between() {
		t.Errorf("%+v", f)
	}
}

func TestAppendClose(t *testing.T) {
	if got := appendClose(nil, 1001, "bye", false); string(got) != "\x88\x05\x03\xe9bye" {
		t.Errorf("%q", got)
	}
	got := appendClose([]byte("before"), 1001, "bye", true)[6:]
	mask, payload := got[2:6], bytes.Clone(got[6:])
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	if string(got[:2]) != "\x88\x85" || string(payload) != "\x03\xe9bye" || len(appendClose(nil, 1, string(make([]byte, 123)), true)) != maxCloseFrame {
		t.Errorf("%q, %q", got, payload)
	}
	for _, f := range []*farewell{byeDrain(), byeIdle(), byeLimit()} {
		if len(f.reason) > 123 {
			t.Errorf("%q is too long", f.reason)
		}
	}
}

// FuzzFrames: frames end where they do, however their bytes are cut.
func FuzzFrames(f *testing.F) {
	f.Add(append(webSocketFrame(1, 5, true), webSocketFrame(opClose, 130, false)...), uint16(3))
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}, uint16(11))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var whole, parts, steps frames
		if n := whole.feed(b, false); n != len(b) {
			t.Fatalf("%d of %d taken", n, len(b))
		}
		at := min(int(cut), len(b))
		parts.feed(b[:at], false)
		parts.feed(b[at:], false)
		for rest := b; len(rest) > 0; {
			n := steps.feed(rest, !steps.between())
			if n == 0 && !steps.between() {
				t.Fatal("it stands still amid a frame")
			}
			if steps.between() && n < len(rest) {
				n += steps.feed(rest[n:n+1], false)
			}
			rest = rest[n:]
		}
		for _, other := range []frames{parts, steps} {
			if other.between() != whole.between() || other.closed != whole.closed || other.left != whole.left || other.n != whole.n {
				t.Fatalf("%+v, not %+v", other, whole)
			}
		}
	})
}
