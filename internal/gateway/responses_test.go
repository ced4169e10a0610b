package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/front"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// fetch sends a request without a body and gives the reply.
func fetch(t *testing.T, method, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// response is what matters of a response.
type response struct {
	ID       string
	Status   string
	Store    bool
	Previous string `json:"previous_response_id"`
	Output   []struct{ ID, Type string }
}

// respond asks for a response and gives it, the last that a stream tells of it.
func respond(t *testing.T, url, body string, header ...string) (response, string) {
	t.Helper()
	resp, text := tell(t, url+"/v1/responses", body, header...)
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	object := text
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		_, data, ok := strings.Cut(text, "event: response.completed\ndata: ")
		var event struct{ Response json.RawMessage }
		if !ok || json.Unmarshal([]byte(data), &event) != nil {
			t.Fatalf("no end in %s", text)
		}
		object = string(event.Response)
	}
	var r response
	if err := json.Unmarshal([]byte(object), &r); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	return r, object
}

const keepResponses = "responses: {store: true}\n"

// untilShared waits for the second level.
func untilShared(t *testing.T, url string, header ...string) {
	t.Helper()
	testkit.Until(t, "the second level is up", func() bool {
		_, text := fetch(t, "GET", url+"/metrics", header...)
		return strings.Contains(text, "sluice_responses_redis_up 1")
	})
}

// TestConversationsGoOn: previous_response_id works over services that keep nothing, whichever
// they speak, whole and streamed.
func TestConversationsGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		path, protocol, reply string
		wants                 []string
	}{
		"chat": {"/v1/chat/completions", "openai, responses: translate", chatReply, []string{
			`{"role":"user","content":"Is it?"},{"role":"assistant","content":"It is so."}`, `{"role":"user","content":"And now?"}]`,
		}},
		"found out": {"/v1/chat/completions", "openai", chatReply, []string{`"content":"It is so."`, `"content":"And now?"}]`}},
		"messages":  {"/v1/messages", "anthropic", messageReply, []string{`"Is it?"`, `"signature":"c2ln"`, `"It is so."`, `"id":"toolu_1"`, `"And now?"`}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []string{"", `"stream":true,`} {
				s := &speaker{reply: map[string]func(http.ResponseWriter){c.path: replies(c.reply)}}
				url := speaking(t, s, c.protocol, keepResponses)
				first, object := respond(t, url, "{"+stream+`"model":"m","instructions":"Be brief.","input":"Is it?"}`)
				if !strings.HasPrefix(first.ID, "resp_sluice_") || !first.Store || first.Status != "completed" || first.Previous != "" {
					t.Errorf("%+v", first)
				}
				if status, got := fetch(t, "GET", url+"/v1/responses/"+first.ID); status != 200 || got != object {
					t.Errorf("%d %s, want %s", status, got, object)
				}
				if status, got := fetch(t, "HEAD", url+"/v1/responses/"+first.ID); status != 200 || got != "" {
					t.Errorf("%d %s", status, got)
				}
				second, _ := respond(t, url, "{"+stream+`"previous_response_id":"`+first.ID+`","model":"m","input":[{"role":"user","content":"And now?"}]}`)
				if second.Previous != first.ID || second.ID == first.ID {
					t.Errorf("%+v after %s", second, first.ID)
				}
				asked, _ := s.last()
				wantHas(t, "asked", asked.body, c.wants...)
				if strings.Contains(asked.body, "Be brief.") || strings.Contains(asked.body, "sluice_") {
					t.Errorf("asked %s", asked.body)
				}
				third, _ := respond(t, url, "{"+stream+`"model":"m","input":"Then?","previous_response_id":"`+second.ID+`"}`)
				asked, _ = s.last()
				wantHas(t, "asked", asked.body, `"Is it?"`, `"And now?"`, `"Then?"`)
				status, list := fetch(t, "GET", url+"/v1/responses/"+third.ID+"/input_items?order=asc")
				wantHas(t, "items", list, `{"object":"list","data":[{"id":"msg_sluice_`, `"text":"Is it?"`, `"text":"And now?"`, `"text":"Then?"`, `"has_more":false}`)
				if status != 200 || strings.Count(list, `"It is so."`) != 2 {
					t.Errorf("%d %s", status, list)
				}
				// An item may stand for itself.
				item := second.Output[len(second.Output)-1].ID
				respond(t, url, `{"model":"m","input":[{"role":"user","content":"Hello?"},{"type":"item_reference","id":"`+item+`"},{"role":"user","content":"Hm."}],"store":false}`)
				if status, text := fetch(t, "DELETE", url+"/v1/responses/"+second.ID); status != 200 || text != `{"id":"`+second.ID+`","object":"response","deleted":true}` {
					t.Errorf("%d %s", status, text)
				}
				for _, method := range []string{"GET", "DELETE"} {
					if status, text := fetch(t, method, url+"/v1/responses/"+second.ID); status != 404 {
						t.Errorf("%d %s", status, text)
					}
				}
				resp, text := tell(t, url+"/v1/responses", `{"model":"m","input":"a","previous_response_id":"`+second.ID+`"}`)
				wantHas(t, "refusal", text, `"code":"previous_response_not_found"`, `"param":"previous_response_id"`, second.ID)
				if resp.StatusCode != 400 {
					t.Errorf("%d %s", resp.StatusCode, text)
				}
				respond(t, url, `{"model":"m","input":"a","previous_response_id":"`+third.ID+`"}`) // it has what it stands on
			}
		})
	}
}

// TestStoreFalseKeepsNothing: what a client sends back itself, its thoughts with it, is passed
// on as it is.
func TestStoreFalseKeepsNothing(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/messages": replies(messageReply)}}
	for _, more := range []string{"", keepResponses} {
		url := speaking(t, s, "anthropic", more)
		r, object := respond(t, url, `{"model":"m","input":"Is it?","store":false,"include":["reasoning.encrypted_content"],"reasoning":{"effort":"low"}}`)
		wantHas(t, "reply", object, `"encrypted_content":"c2ln"`, `"store":false`)
		if status, _ := fetch(t, "GET", url+"/v1/responses/"+r.ID); r.Store || status != 404 && status != 501 {
			t.Errorf("%d %+v", status, r)
		}
		respond(t, url, `{"model":"m","store":false,"input":[{"role":"user","content":"Is it?"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}],"encrypted_content":"c2ln"},{"role":"assistant","content":"It is so."},{"role":"user","content":"And now?"}]}`)
		asked, _ := s.last()
		wantHas(t, "asked", asked.body, `"signature":"c2ln"`)
		resp, text := tell(t, url+"/v1/responses", `{"model":"m","input":"a","conversation":"conv_1"}`)
		if resp.StatusCode != 400 || !strings.Contains(text, `"param":"conversation"`) {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	}
}

// TestOtherTenantsResponses: an API key finds nothing of another's.
func TestOtherTenantsResponses(t *testing.T) {
	server := redistest.Start(t)
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	for _, level := range []string{"", "cache: {redis_url: '" + server.URL() + "', redis_timeout: 1s}\n"} {
		url := speaking(t, s, "openai, responses: translate", keepResponses+level+
			fmt.Sprintf("server: {metrics_key: %q, api_keys: [{name: a, hash: %q, passthrough: none}, {name: b, hash: %q}]}\n",
				front.HashKey("figures"), front.HashKey("key-a"), front.HashKey("key-b")))
		a, b := []string{"Authorization", "Bearer key-a"}, []string{"Authorization", "Bearer key-b"}
		if level != "" {
			untilShared(t, url, "Authorization", "Bearer figures")
		}
		r, _ := respond(t, url, `{"model":"m","input":"A secret"}`, a...)
		item := r.Output[0].ID
		for path, method := range map[string]string{r.ID: "GET", r.ID + "/input_items": "GET", r.ID + "/cancel": "POST"} {
			if status, text := fetch(t, method, url+"/v1/responses/"+path, b...); status != 404 || strings.Contains(text, "secret") {
				t.Errorf("%s: %d %s", path, status, text)
			}
		}
		if status, _ := fetch(t, "DELETE", url+"/v1/responses/"+r.ID, b...); status != 404 {
			t.Errorf("deleted by another: %d", status)
		}
		for _, body := range []string{`{"model":"m","input":"a","previous_response_id":"` + r.ID + `"}`, `{"model":"m","input":[{"type":"item_reference","id":"` + item + `"}]}`} {
			if resp, text := tell(t, url+"/v1/responses", body, b...); resp.StatusCode != 400 {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			if resp, text := tell(t, url+"/v1/responses", body, a...); resp.StatusCode != 200 {
				t.Errorf("its own: %d %s", resp.StatusCode, text)
			}
		}
		if status, text := fetch(t, "GET", url+"/v1/responses/"+r.ID, a...); status != 200 {
			t.Errorf("%d %s", status, text)
		}
	}
}

// TestResponsesOfServicesPass: what a service keeps by itself is its own.
func TestResponsesOfServicesPass(t *testing.T) {
	const native = `{"id":"resp_native","object":"response","status":"completed","output":[]}`
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/responses": replies(native), "/v1/responses/resp_native": replies(native)}}
	url := speaking(t, s, "openai", keepResponses)
	const body = `{"model":"m", "input":[ ] ,"previous_response_id":"resp_other","store":true}`
	for range 2 {
		if _, text := tell(t, url+"/v1/responses", body); text != native {
			t.Errorf("got %s", text)
		}
	}
	if asked, n := s.last(); asked.body != body || n != 2 {
		t.Errorf("asked %s, %d times", asked.body, n)
	}
	if status, text := fetch(t, "GET", url+"/v1/responses/resp_native"); status != 200 || text != native {
		t.Errorf("%d %s", status, text)
	}
}

// TestUnfinishedResponsesAreNotKept: those that failed, and those whose client has left.
func TestUnfinishedResponsesAreNotKept(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatBegin + `data: {"error":{"message":"No."}}` + "\n\n")}}
	url := speaking(t, s, "openai, responses: translate", keepResponses+"route: {breaker: {failures: 1000}}\n")
	_, text := tell(t, url+"/v1/responses", `{"stream":true,"model":"m","input":"Is it?"}`)
	_, rest, ok := strings.Cut(text, `"id":"resp_`)
	id, _, _ := strings.Cut(rest, `"`)
	if !ok || !strings.Contains(text, "response.failed") {
		t.Fatal(text)
	}
	if status, got := fetch(t, "GET", url+"/v1/responses/resp_"+id); status != 404 {
		t.Errorf("%d %s", status, got)
	}
	// One that came to its limit is what there is.
	s.reply["/v1/chat/completions"] = replies(chatBegin + chatEnd)
	_, text = tell(t, url+"/v1/responses", `{"stream":true,"model":"m","input":"Is it?"}`)
	_, rest, _ = strings.Cut(text, `"id":"resp_`)
	id, _, _ = strings.Cut(rest, `"`)
	if status, got := fetch(t, "GET", url+"/v1/responses/resp_"+id); status != 200 || !strings.Contains(got, `"status":"incomplete"`) {
		t.Errorf("%d %s of %s", status, got, text)
	}
}

// TestResponsesInRedis: another machine goes on, and one that was started again.
func TestResponsesInRedis(t *testing.T) {
	server := redistest.Start(t)
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	more := keepResponses + "cache: {redis_url: '" + server.URL() + "', redis_timeout: 1s}\n"
	one, two := speaking(t, s, "openai, responses: translate", more), speaking(t, s, "openai, responses: translate", more)
	untilShared(t, one)
	untilShared(t, two)
	id := ""
	for i, url := range []string{one, two, one, two} {
		body := fmt.Sprintf(`{"model":"m","input":"Number %d"}`, i)
		if id != "" {
			body = fmt.Sprintf(`{"model":"m","input":"Number %d","previous_response_id":%q}`, i, id)
		}
		r, _ := respond(t, url, body)
		id = r.ID
	}
	asked, _ := s.last()
	wantHas(t, "asked", asked.body, "Number 0", "Number 1", "Number 2", "Number 3")
	status, list := fetch(t, "GET", one+"/v1/responses/"+id+"/input_items?limit=100")
	if status != 200 || strings.Count(list, `"Number `) != 4 || strings.Count(list, "It is so.") != 3 {
		t.Errorf("%d %s", status, list)
	}
	if status, text := fetch(t, "DELETE", two+"/v1/responses/"+id); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := fetch(t, "GET", one+"/v1/responses/"+id); status != 404 {
		t.Errorf("still there: %d", status)
	}
	// Without the server each goes on with what it has in memory.
	r, _ := respond(t, one, `{"model":"m","input":"Alone"}`)
	server.Kill()
	for range 5 {
		next, _ := respond(t, one, `{"model":"m","input":"On","previous_response_id":"`+r.ID+`"}`)
		r = next
	}
	asked, _ = s.last()
	wantHas(t, "asked", asked.body, "Alone")
	if resp, text := tell(t, two+"/v1/responses", `{"model":"m","input":"On","previous_response_id":"`+r.ID+`"}`); resp.StatusCode != 503 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestResponsesOutliveReloads: what is kept is there under another configuration, and goes
// where it is turned off.
func TestResponsesOutliveReloads(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	config := func(more string) string {
		return "upstreams: [{name: up, base_url: '" + srv.URL + "/v1', models: [m], responses: translate}]\n" + more
	}
	g, url := run(t, loadYAML(t, config(keepResponses)), io.Discard)
	r, _ := respond(t, url, `{"model":"m","input":"Is it?"}`)
	for more, want := range map[string]int{"responses: {store: true, ttl: 1h}\n": 200} {
		if err := g.Reload(loadYAML(t, config(more))); err != nil {
			t.Fatal(err)
		}
		if status, text := fetch(t, "GET", url+"/v1/responses/"+r.ID); status != want {
			t.Errorf("%s: %d %s", more, status, text)
		}
	}
	if err := g.Reload(loadYAML(t, config(""))); err != nil {
		t.Fatal(err)
	}
	if resp, text := tell(t, url+"/v1/responses", `{"model":"m","input":"a","previous_response_id":"`+r.ID+`"}`); resp.StatusCode != 400 || !strings.Contains(text, "responses.store") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if held := g.memory.Budget.Account("responses"); held.Held() != 0 {
		testkit.Until(t, "what was kept is given back", func() bool { return held.Held() == 0 })
	}
}
