package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/simulator"
	"sluice/internal/testkit"
)

// TestSDKsShareACall: programs that OpenAI's SDK speaks for, which know nothing of each
// other, share a call of the upstream. Each has its own vector and what its own text
// counts.
func TestSDKsShareACall(t *testing.T) {
	sim := simulator.New(simulator.Config{}).Handler()
	var calls atomic.Int32
	open := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/embeddings") {
			if calls.Add(1) == 1 {
				<-open
			}
		}
		sim.ServeHTTP(w, r)
	}))
	in := start(t, "upstreams:\n  - {name: one, base_url: "+up+"/v1}\nbatch:\n  max_wait_time: 60s\ncache:\n  enabled: false\n")
	type answer struct {
		vector []float64
		tokens int64
		size   string
	}
	ask := func(text string) (a answer) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		var raw *http.Response
		c := openai.NewClient(option.WithBaseURL(in.url+"/v1/"), option.WithAPIKey("unused"), option.WithMaxRetries(0),
			option.WithHTTPClient(&http.Client{Transport: transport}), option.WithResponseInto(&raw))
		got, err := c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
			Model: "sim-embed", Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String(text)},
		})
		if err != nil {
			t.Error(err)
			return a
		}
		return answer{got.Data[0].Embedding, got.Usage.PromptTokens, raw.Header.Get("X-Sluice-Batch-Size")}
	}
	gathering := func() int {
		return testkit.Total(t, request(t, "GET", in.url+"/metrics", "").body, "sluice_batch_waiting")
	}
	texts := []string{"first come", "second one", "third here"}
	got := make([]answer, len(texts))
	var all sync.WaitGroup
	all.Go(func() { got[0] = ask(texts[0]) })
	testkit.Until(t, "a call is under way", func() bool { return calls.Load() == 1 })
	for i := range texts[1:] {
		all.Go(func() { got[i+1] = ask(texts[i+1]) })
	}
	testkit.Until(t, "the others gather", func() bool { return gathering() == 2 })
	close(open)
	all.Wait()
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
	for i, a := range got {
		own := ask(texts[i])
		if a.size != []string{"1", "2", "2"}[i] || own.size != "1" || !slices.Equal(a.vector, own.vector) || a.tokens != own.tokens || a.tokens == 0 {
			t.Errorf("%q: %d tokens in a call of %s; alone %d, %s", texts[i], a.tokens, a.size, own.tokens, own.size)
		}
	}
}
