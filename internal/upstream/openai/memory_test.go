package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// A reply that there is no memory for is the gateway's lack, whether its length was
// announced or not, and nothing of it goes out. Max is changed between calls, while
// nobody asks for buffers.
func TestMemoryRefused(t *testing.T) {
	reply := `{"x":"` + strings.Repeat("x", 300_000) + `"}`
	announced := true
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if announced {
			w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		}
		_, _ = io.WriteString(w, reply)
	}), nil)
	for _, announced = range []bool{true, false} {
		h.client.Buffers().Max = 64 << 10 // what is read at a time
		out := &sink{}
		err := h.Serve(context.Background(), chat("{}", false), out)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Status != 503 || e.Fault != llm.Lacking || e.Upstream != "" || e.Unprocessed || out.starts > 0 {
			t.Errorf("announced %v: %v, %d replies", announced, err, out.starts)
		}
		h.client.Buffers().Max = 0
		out = &sink{}
		if err := h.Serve(context.Background(), chat("{}", false), out); err != nil || out.text() != reply {
			t.Errorf("announced %v: %d bytes, %v", announced, len(out.text()), err)
		}
	}
}
