//go:build !race

package credentials

import (
	"bytes"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
)

func TestRedact(t *testing.T) {
	const key = `sk-a/b+c="d\e`
	secrets := newSecrets([]string{key, "other-secret"})
	tests := []struct{ in, want string }{
		{"", ""},
		{"nothing here sk-a/b", "nothing here sk-a/b"},
		{key, redacted},
		{"x" + key + key + "y", "x" + redacted + redacted + "y"},
		{`{"m":"key sk-a\/b\u002Bc\u003d\"d\\e."}`, `{"m":"key ` + redacted + `."}`},
		{`https://h/?k=sk-a%2fb%2Bc%3D%22d%5ce&x`, `https://h/?k=` + redacted + `&x`},
		{`\nsk-a/b\`, `\nsk-a/b\`},
		{"sksk-" + "other-secret", "sksk-" + redacted},
		{`\other-secret`, redacted},
	}
	for _, test := range tests {
		if got := string(secrets.Redact([]byte(test.in))); got != test.want {
			t.Errorf("redact(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"a":"sk-\/x\u0041"}`), "sk-/xA")
	f.Fuzz(func(t *testing.T, text []byte, secret string) {
		if len(secret) < minSecret || !visible(secret) || strings.Contains(redacted, secret) || strings.Contains(secret, "[") || strings.Contains(secret, "]") {
			return
		}
		sound := jsonscan.Validate(text, 100) == nil
		got := newSecrets([]string{secret}).Redact(bytes.Clone(text))
		// A secret that begins inside an escape is not one that JSON holds.
		if !bytes.ContainsRune(text, '\\') && bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q holds %q", got, secret)
		}
		if field := newSecrets([]string{secret}).RedactField(string(text)); field != string(got) {
			t.Errorf("a field becomes %q, a body %q", field, got)
		}
		if sound && !strings.ContainsAny(secret, "\"\\{}[]:,") && jsonscan.Validate(got, 100) != nil {
			// Only a secret inside a string can be replaced and leave JSON.
			if s, err := jsonscan.String(text); err == nil {
				t.Errorf("string %q became %q", s, got)
			}
		}
	})
}
