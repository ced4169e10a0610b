package access

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"gpt-4o","temperature":0.5,"stream":true,"stop":null,"messages":[{"role":"user","content":[{"type":"text","text":"héllo"}]}]}`: `{"model":"gpt-4o","temperature":0.5,"stream":true,"stop":null,"messages":[{"role":"user","content":[{"type":"text","text":"<6 bytes>"}]}]}`,
		`{"model":"` + strings.Repeat("x", 65) + `"}`:     `{"model":"<65 bytes>"}`,
		`{"Alice Smith":1,"metadata":{"id_card":"4711"}}`: `{"<11 bytes>":1,"metadata":{"id_card":"<4 bytes>"}}`,
		`["a",["b"],{"role":["user"]},{"a\u0062":"x"}]`:   `["<1 bytes>",["<1 bytes>"],{"role":["user"]},{"ab":"<1 bytes>"}]`,
		`{"model":"a","messages":[}`:                      `<26 bytes>`,
		`--boundary`:                                      `<10 bytes>`,
		`"text"`:                                          `"<4 bytes>"`,
	} {
		if got := string(Redact(nil, []byte(body))); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", body, got, want)
		}
	}
	long := []byte("[" + strings.Repeat(`"x",`, 10_000) + "1]")
	if got := Redact(nil, long); len(got) > maxRedacted+64 || !strings.HasSuffix(string(got), "…") {
		t.Errorf("a long body becomes %d bytes", len(got))
	}
}

// Whatever a body is, nothing of it shows but names and numbers.
func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"x"}],"n":1e5,"f":false}`), "what was said")
	f.Fuzz(func(t *testing.T, body []byte, said string) {
		got := Redact(nil, body)
		if len(got) > maxRedacted+256 && len(got) > len(body)+256 {
			t.Errorf("%d bytes become %d", len(body), len(got))
		}
		const marker = "Zq7Zq7"
		planted := append([]byte(`{"content":"`+marker+`","in":`), body...)
		planted = append(planted, `,"`+marker+`":{"text":["`+marker+`"]}}`...)
		if strings.Contains(string(Redact(nil, planted)), marker) && !strings.Contains(string(body), marker) {
			t.Errorf("%q shows in %q", marker, Redact(nil, planted))
		}
	})
}
