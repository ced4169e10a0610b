package memory

import (
	"strings"
	"testing"
)

// All faults of a configuration are told at once, each with its key.
func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Limit: 1, SpoolAbove: -1, SpoolMax: -1}.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, key := range []string{"limit_bytes: ", "threshold: ", "cleanup_interval: ", "spool_above_bytes: must not be negative", "spool_max_bytes: must not be negative"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not among the faults: %v", key, err)
		}
	}
}
