package soak

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestOrigin: what a service says to a question is what its client takes for the answer, in
// every dialect; and a reply to another question is not.
func TestOrigin(t *testing.T) {
	var acted bytes.Buffer
	s := httptest.NewServer(&origin{begun: time.Now(), acted: &acted})
	defer s.Close()
	for _, dialect := range []string{"chat", "responses", "messages", "gemini"} {
		for _, tool := range []bool{false, true} {
			for _, stream := range []bool{false, true} {
				c := asking(question{id: "1", pieces: 30, tool: tool, whole: true}, "and more")
				c.system = "You are kind."
				c.turns = append([]turn{{"user", "First."}, {"assistant", "Said."}}, c.turns...)
				path, body := c.request(dialect, "m", stream, true)
				path = strings.Replace(path, "?alt=sse", "", 1)
				status, reply := ask(t, s.URL+path, body)
				if status != http.StatusOK {
					t.Fatalf("%s: %d %s", path, status, reply)
				}
				hear := func(b []byte) (heard, error) {
					if stream {
						return hearStream(dialect, bytes.NewReader(b))
					}
					return hearWhole(dialect, b)
				}
				got, err := hear(reply)
				if err != nil || got.ended != stream && dialect != "gemini" {
					t.Errorf("%s: %+v, %v", path, got, err)
				}
				other := c
				other.system = "You are not."
				if fault := got.is(other.answer(), dialect, true); fault == "" {
					t.Errorf("%s: another's answer passes", path)
				}
				other = c
				other.turns = append([]turn{c.turns[0], {"assistant", "Said otherwise."}}, c.turns[2:]...)
				got, _ = hear(reply)
				if fault := got.is(other.answer(), dialect, true); fault == "" {
					t.Errorf("%s: an answer to other words in the middle passes", path)
				}
				got, _ = hear(reply)
				if fault := got.is(c.answer(), dialect, true); fault != "" {
					t.Errorf("%s: %s", path, fault)
				}
				if stream && !tool {
					// Without one of its events it is no sound stream, or another answer.
					events := bytes.SplitAfter(reply, []byte("\n\n"))
					got, err := hear(bytes.Join(append(events[:10:10], events[11:]...), nil))
					if fault := got.is(c.answer(), dialect, true); err == nil && fault == "" {
						t.Errorf("%s: a piece is missing, and it passes", path)
					}
				}
			}
		}
	}
	if n := strings.Count(acted.String(), "1\n"); n != 16 {
		t.Errorf("acted %d times: %q", n, acted.String())
	}
}

// TestOriginFails: what goes wrong on purpose does, and is told from what goes well.
func TestOriginFails(t *testing.T) {
	s := httptest.NewServer(&origin{begun: time.Now(), acted: io.Discard})
	defer s.Close()
	for _, dialect := range []string{"chat", "responses", "messages", "gemini"} {
		for fault, want := range map[string]int{faultBusy: 503, faultLimit: 429, faultRefused: 400, faultFails: 500} {
			path, body := asking(question{id: "1", pieces: 3, fault: fault}, "").request(dialect, "m", false, false)
			status, reply := ask(t, s.URL+path, body)
			if message, _, err := refusal(dialect, reply); status != want || err != nil || !strings.HasPrefix(message, "the origin ") {
				t.Errorf("%s, %s: %d %s, %v", dialect, fault, status, reply, err)
			}
		}
		c := asking(question{id: "1", pieces: 9, fault: faultTells, after: 3}, "")
		path, body := c.request(dialect, "m", true, false)
		_, reply := ask(t, s.URL+path, body)
		got, err := hearStream(dialect, bytes.NewReader(reply))
		if err != nil || got.ended || got.failed == "" || got.begins(c.answer()) != "" || got.text == "" {
			t.Errorf("%s: %+v, %v", dialect, got, err)
		}
	}
}

func ask(t *testing.T, url string, body []byte) (int, []byte) {
	t.Helper()
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// TestJudge: what does not agree, and what was done twice, is found.
func TestJudge(t *testing.T) {
	h := &hardening{}
	h.counted("chat", "2xx")
	h.counted("chat", "2xx")
	h.counted("chat", classLeft)
	faults := func(do func(fault func(string, ...any))) (n int) {
		do(func(string, ...any) { n++ })
		return n
	}
	report := []byte(`{"systems":{"requests":{"requests_total":{"series":[{"labels":{"operation":"chat"},"total":3}]}}}}`)
	count := func(ok, left float64) figures {
		return figures{`requests_total{operation="chat",status="2xx"}`: ok, `requests_total{operation="chat",status="client_left"}`: left}
	}
	if n := faults(func(f func(string, ...any)) { h.agree(count(2, 1), report, f) }); n != 0 {
		t.Errorf("%d faults where all agrees", n)
	}
	if n := faults(func(f func(string, ...any)) { h.agree(count(1, 2), report, f) }); n == 0 {
		t.Error("an answer that was not counted is not found")
	}
	if n := faults(func(f func(string, ...any)) { h.agree(count(3, 1), report, f) }); n == 0 {
		t.Error("a request that nobody made is not found")
	}
	for id, times := range map[string]int{"u1": 1, "s2": 2, "r3": 9} {
		for range times {
			h.acts.add(id)
		}
	}
	if n := faults(h.twice); n != 0 {
		t.Error("what may be done is found")
	}
	for _, id := range []string{"u1", smuggled} {
		h.acts.add(id)
		if n := faults(h.twice); n != 1 {
			t.Errorf("%s: %d faults", id, n)
		}
		delete(h.acts.times, id)
	}
}

// TestKinds: the shares of all kinds are a hundred together.
func TestKinds(t *testing.T) {
	sum := 0
	for _, k := range new(hardening).kinds() {
		sum += k.share
	}
	if sum != 100 {
		t.Errorf("the shares are %d percent", sum)
	}
}
