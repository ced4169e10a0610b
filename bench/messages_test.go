package main

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestShapes(t *testing.T) {
	want := map[string]int{"flat": 85, "chat": 2000, "text": 64_000, "tree": 60_000, "floats": 61_000}
	for _, s := range messageShapes() {
		if n := proto.Size(s.message); n < want[s.name]*95/100 || n > want[s.name]*105/100 {
			t.Errorf("%s: %d bytes, not about %d", s.name, n, want[s.name])
		}
	}
	if proto.Size(chat(0)) != proto.Size(chat(999_999)) || proto.Equal(chat(0), chat(1)) {
		t.Error("chats do not differ in their number alone")
	}
}
