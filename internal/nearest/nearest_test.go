//go:build !race

package nearest

import "testing"

func TestName(t *testing.T) {
	names := []string{"messages", "model", "max_tokens"}
	for _, c := range []struct{ word, want string }{
		{"mesages", "messages"}, {"modle", "model"}, {"max_token", "max_tokens"}, {"temperature", ""}, {"", ""},
	} {
		if got := Name(c.word, names); got != c.want {
			t.Errorf("%s: %q, want %q", c.word, got, c.want)
		}
	}
}
