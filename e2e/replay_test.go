package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sluice/internal/testkit"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// cutting says how a replayed body is cut into chunks of the reply.
type cutting func(body []byte, seed uint64) [][]byte

func whole(body []byte, _ uint64) [][]byte { return [][]byte{body} }

func single(body []byte, _ uint64) [][]byte {
	pieces := make([][]byte, len(body))
	for i := range body {
		pieces[i] = body[i : i+1]
	}
	return pieces
}

func split(body []byte, seed uint64) (pieces [][]byte) {
	r := rand.New(rand.NewPCG(seed, 1))
	for len(body) > 0 {
		n := min(len(body), 1+r.IntN(700))
		pieces, body = append(pieces, body[:n]), body[n:]
	}
	return pieces
}

// replayer serves recording N to the model "rec-N", cut as the header or, since
// a gateway forwards only known headers, the model's ending says.
type replayer struct {
	streams []testkit.Stream
	pairs   []testkit.Pair
}

func (rp *replayer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req struct{ Model string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &req) != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	part := strings.Split(req.Model, "-") // rec-N-how or pair-N
	n, err := strconv.Atoi(part[1])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if part[0] == "pair" {
		w.Header().Set("Content-Type", "application/json")
		if rp.pairs[n].Status >= 400 {
			w.WriteHeader(rp.pairs[n].Status)
		}
		io.WriteString(w, rp.pairs[n].Response)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	cut := map[string]cutting{"whole": whole, "single": single, "split": split}[part[2]]
	for i, piece := range cut(rp.streams[n].Body, uint64(n)) {
		if _, err := w.Write(piece); err != nil {
			return
		}
		// Single bytes are flushed in handfuls of varying size, or a large
		// recording would take a system call a byte.
		if part[2] != "single" || i%17 == n%17 || len(rp.streams[n].Body) < 2000 {
			w.(http.Flusher).Flush()
		}
	}
}

// replayConfig has room for whole recordings: text for a client that falls behind
// is merged, which is another test's matter.
const replayConfig = `
stream: {buffer_bytes: 16MiB}
upstreams:
  - {name: replay, base_url: %q, api_key: upstream-key, models: ["rec-*", "pair-*"]}
log: {level: warn}
`

// TestRecordedStreams replays what real providers sent. Every byte that a
// client gets through Sluice is the byte that it would get directly.
func TestRecordedStreams(t *testing.T) { testkit.Each(t, testStreams) }

func testStreams(t *testing.T, in testkit.Inputs) {
	list := in.Streams(t)
	up := serve(t, &replayer{streams: list})
	gw := start(t, fmt.Sprintf(replayConfig, up+"/v1"))
	for _, how := range []string{"whole", "split", "single"} {
		t.Run(how, func(t *testing.T) {
			forEach(len(list), func(i int) {
				path := "/v1/chat/completions"
				if list[i].API == "openai-responses" {
					path = "/v1/responses"
				}
				got, err := post(gw.url+path, fmt.Sprintf(`{"model":"rec-%d-%s","stream":true,"messages":[],"input":""}`, i, how))
				if !bytes.Contains(list[i].Body, []byte("data:")) {
					// A stream without an event is a failure that a client should see.
					if err == nil || !strings.Contains(err.Error(), "upstream_empty") {
						t.Errorf("%s has no event, but: %q, %v", list[i].Name, got, err)
					}
				} else if err != nil {
					t.Errorf("%s: %v", list[i].Name, err)
				} else if !bytes.Equal(got, list[i].Body) {
					t.Errorf("%s: %d bytes through Sluice, %d recorded; they differ at byte %d", list[i].Name, len(got), len(list[i].Body), firstDifference(got, list[i].Body))
				}
			})
		})
	}
}

// TestRecordedReplies sends every recorded request and replays its reply: both
// bodies pass untouched but for the model's name, which the test replaces.
func TestRecordedReplies(t *testing.T) { testkit.Each(t, testReplies) }

func testReplies(t *testing.T, in testkit.Inputs) {
	pairs := in.Pairs(t)
	var mu sync.Mutex
	seen := map[string][]byte{} // what the upstream got, by model
	rp := &replayer{pairs: pairs}
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req struct{ Model string }
		if json.Unmarshal(body, &req) == nil {
			mu.Lock()
			seen[req.Model] = body
			mu.Unlock()
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rp.ServeHTTP(w, r)
	}))
	gw := start(t, fmt.Sprintf(replayConfig, up+"/v1"))
	forEach(len(pairs), func(i int) {
		var named struct {
			Model  string
			Stream bool
		}
		if pairs[i].Request == "" { // not recorded
			pairs[i].Request = "{}"
		}
		if err := json.Unmarshal([]byte(pairs[i].Request), &named); err != nil {
			t.Errorf("pair %d: %v", i, err)
			return
		}
		model := fmt.Sprintf("pair-%d", i)
		quoted, _ := json.Marshal(named.Model)
		request := strings.Replace(pairs[i].Request, string(quoted), strconv.Quote(model), 1)
		if named.Model == "" {
			request = fmt.Sprintf(`{"model":%q,"messages":[]}`, model)
		}
		path := "/v1/chat/completions"
		if strings.HasSuffix(pairs[i].URL, "/responses") {
			path = "/v1/responses"
		}
		got, err := post(gw.url+path, request)
		if (err != nil) != (pairs[i].Status >= 400) {
			t.Errorf("pair %d: %v", i, err)
			return
		}
		if string(got) != pairs[i].Response {
			t.Errorf("pair %d: reply differs at byte %d", i, firstDifference(got, []byte(pairs[i].Response)))
		}
		mu.Lock()
		defer mu.Unlock()
		if string(seen[model]) != request {
			t.Errorf("pair %d: request differs at byte %d", i, firstDifference(seen[model], []byte(request)))
		}
	})
}

func post(url, body string) ([]byte, error) {
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	return b, err
}

// forEach calls f for 0 to n-1, eight at a time.
func forEach(n int, f func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
