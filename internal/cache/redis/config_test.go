package redis

import (
	"strings"
	"testing"

	"sluice/internal/llm"
)

// A fault in the URL is told with its key, and shows nothing of it.
func TestURLFault(t *testing.T) {
	cfg := Default()
	cfg.URL = llm.NewSecret("redis://u:s3cret")
	err := cfg.Validate()
	if err == nil || !strings.HasPrefix(err.Error(), "redis_url: is not a URL") || strings.Contains(err.Error(), "s3c") {
		t.Errorf("%v", err)
	}
	if _, made := New(cfg, Options{}); made == nil || made.Error() != err.Error() {
		t.Errorf("New says %v", made)
	}
}

func TestValidate(t *testing.T) {
	is(t, "default", Default().Validate(), nil)
	err := Config{URL: llm.NewSecret("x"), Prefix: strings.Repeat("x", 65), Timeout: -1}.Validate()
	for _, key := range []string{"redis_url", "redis_timeout", "redis_prefix"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("no fault of %s in %v", key, err)
		}
	}
	if _, err := New(Default(), Options{}); err == nil {
		t.Error("a level without a URL")
	}
}
