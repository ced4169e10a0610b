package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"sluice/internal/llm"
)

// TestOutcomeOfFaults: each fault stands for an outcome, whatever its code says; one
// that the upstream told of itself for that of its status.
func TestOutcomeOfFaults(t *testing.T) {
	want := [llm.Faults]string{
		llm.Declined: "internal", llm.Limited: "internal", llm.Left: "cancelled", llm.Internal: "internal", llm.Unavailable: "internal", llm.ShuttingDown: "internal",
		llm.Lacking: "lacking", llm.Busy: "busy", llm.Replaced: "busy", llm.TooLate: "busy", llm.Unreachable: "unreachable", llm.Refused: "unreachable",
		llm.TimedOut: "timeout", llm.Cut: "cut", llm.BadReply: "cut", llm.TooLarge: "failed", llm.Unusable: "failed",
		llm.Answered: "failed", llm.Told: "failed",
	}
	for f := range llm.Faults {
		for _, code := range []string{"", codeTimeout, codeBusy} {
			if o, _ := classify(t.Context(), &llm.Error{Fault: f, Status: 503, Code: code}); o.String() != want[f] {
				t.Errorf("%v with the code %q: %v", f, code, o)
			}
		}
		for status, own := range map[int]outcome{400: rejected, 408: rejected, 429: limited, 500: failed, 501: rejected, 508: rejected, 504: failed} {
			told := f == llm.Answered || f == llm.Told
			if o, _ := classify(t.Context(), &llm.Error{Fault: f, Status: status}); told && o != own || !told && o.String() != want[f] {
				t.Errorf("%v with status %d: %v", f, status, o)
			}
		}
	}
}

// TestOutcomeOfWaits: what became of a call is the same whether it had waited or not.
func TestOutcomeOfWaits(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, err := range []error{context.Canceled, fmt.Errorf("read: %w", context.DeadlineExceeded), io.ErrUnexpectedEOF} {
		for _, ctx := range []context.Context{t.Context(), left} {
			at, e := classify(ctx, err)
			after, late := classify(ctx, llm.After(err, time.Second, 0, 0))
			if at != after || e.Fault != late.Fault || !errors.Is(late, err) || (at == cancelled) != (ctx == left || e.Fault == llm.Left) {
				t.Errorf("%v: %v, %v; after a wait %v, %v", err, at, e.Fault, after, late.Fault)
			}
		}
	}
}
