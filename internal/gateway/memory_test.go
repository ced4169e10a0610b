package gateway

import (
	"strings"
	"testing"
)

// All parts have one source of buffers, and a refusal deep in the chain is told as
// the gateway's lack: no upstream is blamed for it and no other one asked.
func TestMemoryRefused(t *testing.T) {
	_, up := model(t)
	g, err := New(load(t, "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up), Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	g.memory.Buffers.Max = 8 << 10 // the front can do with that; what reads replies cannot
	_, url := serve(t, g)
	for range 10 { // more than would open a circuit
		status, body, err := chat(url, "sim-echo")
		if err != nil || status != 503 || !strings.Contains(body, `"code":"gateway_overloaded"`) {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	if status, body := get(t, url+"/metrics"); status != 200 || strings.Contains(body, "sluice_memory_buffers_refused_total 0\n") ||
		!strings.Contains(body, `sluice_memory_buffers_made_total{size="1024"}`) {
		t.Errorf("%d %s", status, body)
	}
}
