package gateway

import (
	"net/http"
	"strings"
	"testing"

	"sluice/internal/front"
)

// TestPassthroughPolicy: none leaves the codec's routes alone where the codec
// answers them, and nowhere else, also after a reload.
func TestPassthroughPolicy(t *testing.T) {
	cfg := load(t)
	cfg.Server.Passthrough = front.Passthrough{"none"}
	g, url := run(t, cfg, nil)
	post := func(path string) int {
		t.Helper()
		resp, err := http.Post(url+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := post("/v1/protobuf/encode"); got != 400 { // no type is named
		t.Errorf("with the codec: %d", got)
	}
	if got := post("/v1/files"); got != 403 {
		t.Errorf("files: %d", got)
	}
	off := *cfg
	off.Protobuf.Enabled = false
	if err := g.Reload(&off); err != nil {
		t.Fatal(err)
	}
	if got := post("/v1/protobuf/encode"); got != 403 {
		t.Errorf("without the codec: %d", got)
	}
}
