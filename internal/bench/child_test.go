package bench

import (
	"io"
	"slices"
	"testing"
)

func TestPauses(t *testing.T) {
	log := `time=x level=INFO msg="listens"
gc 1 @0.012s 5%: 0.018+1.3+0.076 ms clock, 0.036+0.12/0.9/0+0.15 ms cpu, 4->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 2 @1.2s 0%: 0.5+10+1.5 ms clock, 1+0/0/0+3 ms cpu, 8->8->2 MB, 8 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
gc 3 @2s 0%: broken
`
	got := pauses([]byte(log))
	if want := []float64{(0.018 + 0.076) / 1000, 2.0 / 1000}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestChildEnv(t *testing.T) {
	got := childEnv([]string{"PATH=/bin", "SLUICE_PORT=1", "GOGC=50", "OPENAI_API_KEY=x", "ACME_BASE_URL=y", "OTEL_X=z", "HTTPS_PROXY=p", "GODEBUG=", "GOMEMLIMIT=1"})
	if want := []string{"PATH=/bin", "HTTPS_PROXY=p"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestUntilEOF(t *testing.T) {
	r, w := io.Pipe()
	ctx, stop := UntilEOF(t.Context(), r)
	defer stop()
	if ctx.Err() != nil {
		t.Error("ended before its input")
	}
	w.Close()
	<-ctx.Done()
}
