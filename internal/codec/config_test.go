package codec

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	bad := Config{
		MaxInputBytes: 1, MaxOutputBytes: 1 << 40, MaxDepth: 20_000, Workers: -1, InlineBytes: -1,
		ResultCacheBytes: 1, SSEEncoding: "any",
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, key := range []string{"max_input_bytes", "max_output_bytes", "max_depth", "max_fields", "max_items",
		"workers", "queue", "inline_bytes", "result_cache_bytes", "result_ttl", "sse_encoding"} {
		if n := strings.Count("\n"+err.Error(), "\n"+key+": "); n != 1 {
			t.Errorf("%s is named %d times in\n%v", key, n, err)
		}
	}
}
