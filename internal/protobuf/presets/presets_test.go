package presets

import (
	"strings"
	"testing"
)

// TestLoad: every preset is a mapping of its schema.
func TestLoad(t *testing.T) {
	for _, name := range Names() {
		if m, _, err := Load(name); err != nil || m.Name != name {
			t.Error(err)
		}
	}
	if len(Names()) == 0 {
		t.Error("no presets")
	}
	_, err := Get("xia")
	if want := `there is no preset "xia"; did you mean "xai"?`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := Get("trtllm"); err == nil || !strings.Contains(err.Error(), "ids of tokens") {
		t.Error(err)
	}
	if _, err := Get("nothing like it"); err == nil || !strings.HasSuffix(err.Error(), "known are "+strings.Join(Names(), ", ")) {
		t.Error(err)
	}
}
