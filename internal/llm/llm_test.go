package llm

import (
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
	if got.Status != 500 || strings.Contains(got.Message, "EOF") || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("foreign error became %+v", got)
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
