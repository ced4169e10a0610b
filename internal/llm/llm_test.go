package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret("sk-hidden")
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", s)
	asJSON, err := json.Marshal(map[string]any{"key": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), logged.String(), string(asJSON)} {
		if strings.Contains(out, "hidden") {
			t.Errorf("secret printed: %s", out)
		}
		if !strings.Contains(out, "redacted") {
			t.Errorf("no sign of redaction: %s", out)
		}
	}
	if s.Reveal() != "sk-hidden" {
		t.Errorf("Reveal() = %q", s.Reveal())
	}
}

func TestAsError(t *testing.T) {
	own := Errorf(404, "model_not_found", "no model %q", "x")
	if got := AsError(fmt.Errorf("route request: %w", own)); got != own {
		t.Errorf("a wrapped Error was not found: %v", got)
	}
	got := AsError(io.ErrUnexpectedEOF)
	if got.Status != 500 || got.Fault != Internal || strings.Contains(got.Message, "EOF") || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("foreign error became %+v", got)
	}
	// One whose client left is that, whatever it has gone through; one of ours that was
	// caused by a timeout is not.
	for _, gone := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, err := range []error{gone, fmt.Errorf("send: %w", gone), After(gone, 1, 0, 0), After(Unsent(gone), 0, 1, 1)} {
			if got := AsError(err); got.Fault != Left || got.Status != 500 || !errors.Is(got, gone) {
				t.Errorf("%v became %+v", err, got)
			}
		}
		if got := AsError(UpstreamError("up", TimedOut, 504, "x", "%s", gone)); got.Fault != TimedOut {
			t.Errorf("a timeout became %+v", got)
		}
	}
}

func TestTypeOf(t *testing.T) {
	for status, want := range map[int]string{
		400: TypeInvalidRequest, 401: TypeAuthentication, 403: TypePermission, 404: TypeInvalidRequest,
		413: TypeInvalidRequest, 429: TypeRateLimit, 500: TypeServer, 503: TypeServer,
	} {
		if got := TypeOf(status); got != want {
			t.Errorf("TypeOf(%d) = %s, want %s", status, got, want)
		}
	}
}
