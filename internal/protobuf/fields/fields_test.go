//go:build !race

package fields

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// FuzzEach: what is read is what was there, and a message is what is one to the
// official library.
func FuzzEach(f *testing.F) {
	f.Add([]byte("\x08\x96\x01\x12\x02hi\x1d1234\x21abcdefgh\x2b\x08\x01\x2c"))
	f.Add([]byte("\x12\x05hi"))
	f.Add([]byte("\x2c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []byte
		err := Each(b, func(number protowire.Number, field, content []byte) error {
			got, kind, tag := protowire.ConsumeTag(field)
			if got != number || (kind == protowire.BytesType) != (content != nil) || !bytes.HasSuffix(field, content) {
				t.Errorf("field %d of kind %d: % x, % x", number, kind, field, content)
			}
			want, _ := protowire.ConsumeVarint(field[tag:])
			if v, ok := Varint(field); ok != (kind == protowire.VarintType) || ok && v != want {
				t.Errorf("%d, want %d", v, want)
			}
			all = append(all, field...)
			return nil
		})
		if want := proto.Unmarshal(b, &emptypb.Empty{}); (err == nil) != (want == nil) {
			t.Errorf("%v, want %v", err, want)
		}
		if err == nil && !bytes.Equal(all, b) || !bytes.HasPrefix(b, all) {
			t.Errorf("% x of % x", all, b)
		}
	})
}

func TestEachEnds(t *testing.T) {
	n, enough := 0, errors.New("enough")
	err := Each([]byte("\x08\x01\x08\x02"), func(protowire.Number, []byte, []byte) error {
		n++
		return enough
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
}
