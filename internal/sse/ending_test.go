//go:build !race

package sse

import (
	"bytes"
	"testing"
)

func TestOneField(t *testing.T) {
	for raw, want := range map[string]string{
		"data: {}\n\n": " {}", "data:{}\r\n\r\n": "{}", "data: {}\r\r": " {}", "data: {}\r\n\r": " {}", "data:\n\n": "",
	} {
		if v, ok := OneField([]byte(raw)); !ok || raw[v.Start:v.End] != want {
			t.Errorf("%q: %q %v", raw, raw[v.Start:v.End], ok)
		}
	}
	for _, raw := range []string{"", "data: {}", "data: {}\n", "data: {}\n\n\n", "data: 1\ndata: 2\n\n", "data: 1\rid: 2\n\n", "event: x\ndata: 1\n\n", "id: 1\n\n", ": x\n\n", "data\n\n"} {
		if _, ok := OneField([]byte(raw)); ok {
			t.Errorf("%q: is taken", raw)
		}
	}
}

func FuzzEvent(f *testing.F) {
	for _, raw := range []string{"data: [DONE]\n\n", "event: response.completed\ndata: {}\n\n", "data: {\"type\":\"response.failed\"}\r\r", "data: 1\ndata: 2\n\n", "data: {}\n\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		data, ok := Data(raw, nil)
		first, n := DataFields(raw)
		if ok != (n > 0) || n == 1 && string(data) != string(first) {
			t.Fatalf("%q: %q of %d data fields, but the payload is %q", raw, first, n, data)
		}
		if v, one := OneField(raw); one {
			if n != 1 || len(Name(raw)) > 0 {
				t.Fatalf("%q: is no single field", raw)
			}
			if value := raw[v.Start:v.End]; string(value) != string(data) && string(value) != " "+string(data) {
				t.Fatalf("%q: %q for %q", raw, value, data)
			}
		}
		if kind, name := Kind(raw), Name(raw); len(name) > 0 && string(kind) != string(name) {
			t.Fatalf("%q: is %q, and its name is %q", raw, kind, name)
		}
		if h := Heading(raw); bytes.Count(raw, []byte("event")) == 1 && n == 0 && len(h) > 0 && len(Name(raw)) == 0 {
			t.Fatalf("%q: begins with the name %q, and has none", raw, h)
		}
	})
}
