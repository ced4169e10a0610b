package redis

import (
	"strings"
	"testing"

	"sluice/internal/cache"
)

func TestMessage(t *testing.T) {
	for _, p := range []cache.Purge{{}, {Model: "m"}, {Key: at("", "k").Key}, {Model: `"ü`, Key: at("", "k").Key}, {ID: at("", "i").Key}} {
		want := message{From: "a", Epoch: 1<<62 + 1, Purge: p}
		if got, ok := decode(encode(want)); !ok || got != want {
			t.Errorf("%v: %v, %v", want, got, ok)
		}
	}
	for _, text := range []string{
		"", "{", "1", "null", "{}", `{"from":""}`, `{"from":"a","model":1}`, `{"from":"a","key":"00"}`, `{"from":"a","id":"00"}`, `{"from":"a"}x`,
		`{"from":"a","key":"` + strings.Repeat("0", 64) + `"}`, `{"from":"a","key":"` + strings.Repeat("x", 64) + `"}`,
		`{"from":"a","model":"` + strings.Repeat("x", maxMessage) + `"}`,
	} {
		if m, ok := decode(text); ok {
			t.Errorf("%.40s: %v", text, m)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(encode(message{From: "a", Epoch: 1, Purge: cache.Purge{Model: "m", Key: at("", "k").Key}}))
	f.Add(encode(message{From: "a", Epoch: 1, Purge: cache.Purge{ID: at("", "i").Key}}))
	f.Add(`{"from":"a","key":"00"}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := decode(text)
		if !ok {
			is(t, "nothing", m, message{})
			return
		}
		if again, ok := decode(encode(m)); !ok || again != m {
			t.Errorf("%q: %v, then %v", text, m, again)
		}
	})
}
