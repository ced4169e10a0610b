package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"sluice/internal/testkit"
	"sluice/internal/testkit/rpc"
)

// TestMappedSharing: equal calls under way are one call of the service, streams too, and a
// repeated one none: the client gets the same bytes.
func TestMappedSharing(t *testing.T) {
	for method, body := range map[string]string{"Consult": askWhole, "Murmur": askStream} {
		body = strings.Replace(body, "{", `{"temperature":0,`, 1)
		release := make(chan struct{})
		let := sync.OnceFunc(func() { close(release) })
		o := new(oracle)
		o.serve = func(r *rpc.Call) error {
			if method == "Murmur" {
				if err := r.Reply(`{"words":"It "}`); err != nil {
					return err
				}
			}
			select {
			case <-release:
			case <-r.Context().Done():
				return r.Context().Err()
			}
			return r.Reply(`{"words":"is so.","end":"END_SAID","tally":{"heard":"7","said":"4"}}`)
		}
		_, url := consult(t, o, "cache: {streams: true}\n")
		const n = 4
		var all sync.WaitGroup
		var replies, caches [n]string
		for i := range n {
			all.Go(func() {
				_, reply, header := posted(t, url, "/v1/chat/completions", body)
				replies[i], caches[i] = reply, header.Get("X-Cache")
			})
		}
		defer let()
		figure(t, url, fmt.Sprintf(`cache_requests_total{result="coalesced"} %d`, n-1))
		let()
		all.Wait()
		again := ""
		testkit.Until(t, "a reply from the cache", func() bool { // it is kept after it is sent
			_, reply, header := posted(t, url, "/v1/chat/completions", body)
			again = reply
			return header.Get("X-Cache") == "HIT"
		})
		for i, reply := range replies {
			if reply != again || !strings.Contains(reply, "is so.") || method == "Murmur" && !strings.HasSuffix(reply, "data: [DONE]\n\n") {
				t.Errorf("%s: %s, %q, from the cache %q", method, caches[i], reply, again)
			}
		}
		if got := len(o.asked(method)); got != 1 {
			t.Errorf("%s was called %d times", method, got)
		}
	}
}

// TestMappedDedup: what a conversation repeats is left out of the service's message.
func TestMappedDedup(t *testing.T) {
	o := new(oracle)
	_, url := consult(t, o, "")
	var file strings.Builder
	for i := range 60 {
		fmt.Fprintf(&file, "line %d of a file\n", i)
	}
	said := func(role string) string {
		b, _ := json.Marshal(map[string]string{"role": role, "content": file.String()})
		return string(b)
	}
	body := `{"model":"pythia","messages":[` + said("user") + `,` + said("assistant") + `,{"role":"user","content":"And?"}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Sluice-Dedup", "blocks")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	asked := o.asked("Consult")
	if resp.StatusCode != 200 || len(asked) != 1 || !strings.Contains(resp.Header.Get("X-Sluice-Dedup"), "messages=1, ") {
		t.Fatalf("%d %s, %d calls, %v", resp.StatusCode, b, len(asked), resp.Header)
	}
	if n := strings.Count(asked[0].Request, "line 30 of a file"); n != 1 || !strings.Contains(asked[0].Request, "And?") {
		t.Errorf("the file stands %d times in %s", n, asked[0].Request)
	}
}

// TestMappedBalance: requests are spread over mapped upstreams of one model.
func TestMappedBalance(t *testing.T) {
	var both [2]oracle
	text := ""
	for i := range both {
		one := strings.NewReplacer("ADDR", rpc.Serve(t, both[i].answer, "testdata/oracle.proto"), "delphi", fmt.Sprint("oracle-", i)).Replace(oracleYAML)
		if i > 0 {
			_, one, _ = strings.Cut(one, "upstreams:\n")
		}
		text += one
	}
	_, url := run(t, loadYAML(t, text+"cache: {enabled: false}\nroute: {balance: weighted}\n"), io.Discard)
	const n = 60
	for range n {
		if code, reply, _ := posted(t, url, "/v1/chat/completions", askWhole); code != 200 {
			t.Fatal(code, reply)
		}
	}
	first, second := len(both[0].asked("Consult")), len(both[1].asked("Consult"))
	if first+second != n || first < n/6 || second < n/6 {
		t.Errorf("%d and %d of %d", first, second, n)
	}
}
