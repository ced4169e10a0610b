package cache

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"
	"unique"
)

func sampleEntry() *entry {
	return &entry{
		head: unique.Make(head{contentType: "application/json", upstream: "openai", model: "gpt-4o", reported: `"gpt-4o-2024"`, lossy: "top_k, thinking"}),
		body: []byte(`{"id":"1","object":"chat.completion"}`), born: time.Second, until: 3 * time.Second, tokens: 12,
	}
}

func sampleStream() *entry {
	e := sampleEntry()
	e.body = []byte("data: 1\n\ndata: [DONE]\n\n")
	e.ends = []uint32{9, uint32(len(e.body))}
	return e
}

func equalEntries(a, b *entry) bool {
	return a.head == b.head && bytes.Equal(a.body, b.body) && slices.Equal(a.ends, b.ends) && a.born == b.born && a.until == b.until && a.tokens == b.tokens
}

func TestMarshalRoundTrip(t *testing.T) {
	key := Key{1, 2, 3}
	for _, e := range []*entry{sampleEntry(), sampleStream(), {head: unique.Make(head{}), body: []byte{}}} {
		b := marshal(key, e, 2*time.Second)
		// Another machine's clock stands elsewhere.
		got, err := unmarshal(b, key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want := e.copied()
		shift := time.Hour - 2*time.Second
		if want.until > 0 {
			want.born, want.until = e.born+shift, e.until+shift
		} else {
			want.born, want.until = time.Hour-2*time.Second, time.Hour-2*time.Second
		}
		if !equalEntries(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// Every changed byte, every cut and every other key makes it no entry.
func TestMarshalDamage(t *testing.T) {
	key := Key{1, 2, 3}
	b := marshal(key, sampleStream(), 2*time.Second)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x41
		if e, err := unmarshal(bad, key, 0); err == nil {
			t.Errorf("byte %d changed: got %+v", i, e)
		}
		if e, err := unmarshal(b[:i], key, 0); err == nil {
			t.Errorf("cut at %d: got %+v", i, e)
		}
	}
	if _, err := unmarshal(b, Key{9}, 0); err == nil {
		t.Error("taken for another key's")
	}
	if _, err := unmarshal(append(bytes.Clone(b), 0), key, 0); err == nil {
		t.Error("taken with a byte too many")
	}
}

func FuzzUnmarshal(f *testing.F) {
	key := Key{1, 2, 3}
	f.Add(marshal(key, sampleEntry(), 0), false)
	f.Add(marshal(key, sampleStream(), 0), false)
	f.Add([]byte("x"), true)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign { // get past the check sum
			b = sealed(key, b)
		}
		e, err := unmarshal(b, key, time.Hour)
		if err != nil {
			return
		}
		if e.until < e.born {
			t.Errorf("fresh until %v, born %v", e.until, e.born)
		}
		start := uint32(0)
		for _, end := range e.ends {
			if end < start || int(end) > len(e.body) {
				t.Fatalf("event from %d to %d of %d bytes", start, end, len(e.body))
			}
			start = end
		}
		again, err := unmarshal(marshal(key, e, time.Hour), key, time.Hour)
		if err != nil || !equalEntries(again, e) {
			t.Errorf("got %+v and %v, want %+v", again, err, e)
		}
	})
}

// sealed makes an entry with a right check sum of any content.
func sealed(key Key, content []byte) []byte {
	b := append([]byte(magic), key[:]...)
	b = append(b, content...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}
