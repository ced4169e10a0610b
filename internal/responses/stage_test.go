package responses

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/memory"
	"sluice/internal/redis"
)

// TestInputs: whatever form the input has, and wherever it stands, what was said before comes
// before it.
func TestInputs(t *testing.T) {
	const before = `{"type":"message","role":"user","content":[{"type":"input_text","text":"Is it?"}]},{"id":"a","type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes"}]}`
	for name, c := range map[string]struct{ body, want string }{
		"text":         {`{"model":"m","previous_response_id":"%s","input":"And \"now\"?"}`, `{"model":"m","previous_response_id":null,"input":[` + before + `,{"type":"message","role":"user","content":[{"type":"input_text","text":"And \"now\"?"}]}]}`},
		"text first":   {`{"input":"B","model":"m","previous_response_id" : "%s"}`, `{"input":[` + before + `,{"type":"message","role":"user","content":[{"type":"input_text","text":"B"}]}],"model":"m","previous_response_id" : null}`},
		"list":         {`{"model":"m","previous_response_id":"%s","input":[ {"role":"user","content":"B"} ]}`, `{"model":"m","previous_response_id":null,"input":[` + before + `, {"role":"user","content":"B"} ]}`},
		"list first":   {`{"input":[{"role":"user","content":"B"}],"previous_response_id":"%s","model":"m"}`, `{"input":[` + before + `,{"role":"user","content":"B"}],"previous_response_id":null,"model":"m"}`},
		"empty list":   {`{"input":[ ],"previous_response_id":"%s","model":"m"}`, `{"input":[` + before + ` ],"previous_response_id":null,"model":"m"}`},
		"none":         {`{"previous_response_id":"%s","model":"m"}`, `{"previous_response_id":null,"input":[` + before + `],"model":"m"}`},
		"other member": {`{"previous_response_id":"%s","model":"m","input":"C","store":false}`, `{"previous_response_id":null,"model":"m","input":[` + before + `,{"type":"message","role":"user","content":[{"type":"input_text","text":"C"}]}],"store":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil, Options{})
			first := g.ask(t, "", `{"model":"m","input":"Is it?"}`)
			body := fmt.Sprintf(c.body, first)
			second := g.ask(t, "", body)
			if g.asked != c.want || g.thread.Previous != first {
				t.Errorf("asked %s\nwant  %s", g.asked, c.want)
			}
			if strings.Contains(body, "false") {
				if second != "" {
					t.Error("kept though it was not to be")
				}
				return
			}
			g.ask(t, "", fmt.Sprintf(`{"model":"m","input":"D","previous_response_id":%q}`, second))
			if !strings.HasPrefix(g.asked, `{"model":"m","input":[`+before) || strings.Count(g.asked, `"Yes"`) != 2 {
				t.Errorf("asked %s", g.asked)
			}
		})
	}
}

// TestRefusals: what cannot be gone on from is refused, and what is not from here passes.
func TestRefusals(t *testing.T) {
	g := newRig(t, nil, Options{})
	id := g.ask(t, "a", `{"model":"m","input":"Is it?"}`)
	for body, want := range map[string]string{
		`{"model":"m","input":"a","previous_response_id":"` + ownID + `AAAAAAAAAAAAAAAAAAAAAAAAAA"}`:       "400 previous_response_not_found",
		`{"model":"m","input":"a","previous_response_id":"` + ownID + strings.Repeat("A", 10000) + `"}`:    "400 previous_response_not_found",
		`{"model":"m","input":"a","previous_response_id":"` + ownID + `"}`:                                 "400 previous_response_not_found",
		`{"model":"m","input":"a","previous_response_id":"` + strings.ToLower(id) + `"}`:                   "400 previous_response_not_found",
		`{"model":"m","input":7,"previous_response_id":"` + id + `"}`:                                      "400 invalid_type",
		`{"model":"m","input":null,"previous_response_id":"` + id + `"}`:                                   "400 invalid_type",
		`{"model":"m","input":"a","input":"b","previous_response_id":"` + id + `"}`:                        "400 duplicate_parameter",
		`{"model":"m","input":"a","previous_response_id":"x","previous_response_id":"` + id + `"}`:         "400 duplicate_parameter",
		`{"model":"m","input":[{"type":"item_reference","id":"msg_sluice_AAAAAAAAAAAAAAAAAAAAAAAAAA_0"}]}`: "400 ",
		`{"model":"m","input":[{"id":"msg_` + id[5:] + `_77"}]}`:                                           "400 ",
	} {
		if _, err := g.do("a", "POST", "/v1/responses", body); refusal(err) != want {
			t.Errorf("%.200s: %v, want %s", body, err, want)
		}
	}
	for _, body := range []string{
		`{"model":"m","input":"a","previous_response_id":{"id":"` + id + `"}}`, `{"model":"m","input":"a","previous_response_id":["` + id + `"]}`,
		`{"model":"m","input":"a","previous_response_id":7}`, `{"model":"m","input":"a","previous_response_id":"resp_67"}`, `{"model":"m","input":"a","previous_response_id":null}`,
		`{"model":"m","input":7}`, `{"model":"m","input":"a","input":"b"}`, `{"model":"m","input":[{"type":"item_reference","id":"msg_67"}]}`, `{"model":"m"}`,
		`{"model":"m","input":[{"type":"message","role":"user","id":"msg_` + id[5:] + `_0","content":"itself"}]}`, `{}`,
	} {
		if g.ask(t, "a", body); g.asked != body {
			t.Errorf("%s became %s", body, g.asked)
		}
	}
	for _, path := range []string{id, id + "/input_items"} {
		if _, err := g.get("b", path); refusal(err) != "404 " {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, want := range map[string]string{
		id + "?stream=true": "400 unsupported_parameter", id + "/input_items?limit=0": "400 invalid_value", id + "/input_items?limit=x": "400 invalid_value",
		id + "/input_items?order=up": "400 invalid_value", id + "/input_items?after=none": "400 invalid_value", id + "/input_items?after=%zz": "400 invalid_query",
		id + "/other": "404 unknown_url", ownID + "x": "404 ", ownID + "%00": "404 ",
	} {
		if _, err := g.get("a", path); refusal(err) != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	for _, c := range [][3]string{{"POST", id, "405 method_not_supported"}, {"DELETE", id + "/input_items", "405 method_not_supported"}, {"POST", id + "/cancel", "400 "}, {"GET", id + "/cancel", "405 method_not_supported"}, {"POST", ownID + "x/cancel", "404 "}} {
		if _, err := g.do("a", c[0], "/v1/responses/"+c[1], ""); refusal(err) != c[2] {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// TestWhatIsKept: a reply is kept where the gateway made it, and it came to its end.
func TestWhatIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig)
		body   string
		kept   bool
	}{
		"whole":      {nil, `{"model":"m","input":"a"}`, true},
		"stream":     {nil, `{"model":"m","input":"a","stream":true}`, true},
		"said":       {nil, `{"model":"m","input":[],"store":true}`, true},
		"null":       {nil, `{"model":"m","input":[],"store":null}`, true},
		"limited":    {func(g *rig) { g.status = "incomplete" }, `{"model":"m","input":"a","stream":true}`, true},
		"no output":  {func(g *rig) { g.output = "" }, `{"model":"m","input":"a"}`, true},
		"failed":     {func(g *rig) { g.status = "failed" }, `{"model":"m","input":"a","stream":true}`, false},
		"failed too": {func(g *rig) { g.status = "failed" }, `{"model":"m","input":"a"}`, false},
		"cut":        {func(g *rig) { g.cut = true }, `{"model":"m","input":"a","stream":true}`, false},
		"native":     {func(g *rig) { g.native = true }, `{"model":"m","input":"a"}`, false},
		"not wanted": {nil, `{"model":"m","input":"a","store":false}`, false},
		"other type": {nil, `{"model":"m","input":"a","store":"no"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil, Options{})
			if c.change != nil {
				c.change(g)
			}
			id := g.ask(t, "", c.body)
			text, err := g.get("", id)
			if c.kept != (err == nil) && id != "" {
				t.Errorf("%v %s", err, text)
			}
			if n, _ := g.store.held(); (n == 1) != c.kept {
				t.Errorf("%d are kept", n)
			}
			if c.kept {
				wants(t, text, `"id":"`+id+`"`, `"output":[`+g.output+`]`, `"tools":[]}`)
			}
		})
	}
}

// TestItemsByReference: an item stands for one of an earlier reply, typed or not.
func TestItemsByReference(t *testing.T) {
	g := newRig(t, nil, Options{})
	g.output = `{"id":"msg_OWN_0","type":"message"}`
	id := g.ask(t, "", `{"model":"m","input":"Is it?"}`)
	item := "msg_" + strings.TrimPrefix(id, "resp_") + "_0"
	whole := `{"id":"` + item + `","type":"message"}`
	for body, want := range map[string]string{
		`{"model":"m","input":[{"type":"item_reference","id":"` + item + `"},{"role":"user","content":"b"}]}`:           `{"model":"m","input":[` + whole + `,{"role":"user","content":"b"}]}`,
		`{"model":"m","input":[{"role":"user","content":"b"},{"id":"` + item + `"},{"type":null,"id":"` + item + `"}]}`: `{"model":"m","input":[{"role":"user","content":"b"},` + whole + `,` + whole + `]}`,
		`{"model":"m","previous_response_id":"` + id + `","input":[{"id":"` + item + `"}]}`:                             `{"model":"m","previous_response_id":null,"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Is it?"}]},` + whole + `,` + whole + `]}`,
		`{"model":"m","input":[{"id":"` + item + `"}],"previous_response_id":"` + id + `"}`:                             `{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Is it?"}]},` + whole + `,` + whole + `],"previous_response_id":null}`,
		`{"model":"m","store":false,"input":[{"role":"user","content":"` + item + `"}]}`:                                `{"model":"m","store":false,"input":[{"role":"user","content":"` + item + `"}]}`,
	} {
		if g.ask(t, "", body); g.asked != want {
			t.Errorf("asked %s\nwant  %s", g.asked, want)
		}
	}
}

// TestExpiry: a reply is there for as long as was said, and those that go on from it longer.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil, Options{})
		first := g.ask(t, "", `{"model":"m","input":"One"}`)
		time.Sleep(day - time.Second)
		second := g.ask(t, "", `{"model":"m","input":"Two","previous_response_id":"`+first+`"}`)
		time.Sleep(2 * time.Second)
		if _, err := g.get("", first); refusal(err) != "404 " {
			t.Errorf("still there: %v", err)
		}
		if _, err := g.do("", "POST", "/v1/responses", `{"model":"m","input":"a","previous_response_id":"`+first+`"}`); refusal(err) != "400 previous_response_not_found" {
			t.Errorf("still there: %v", err)
		}
		g.ask(t, "", `{"model":"m","input":"Three","previous_response_id":"`+second+`"}`)
		wants(t, g.asked, "One", "Two", "Three")
		time.Sleep(2 * day)
		if n, bytes := g.Tidy(t.Context()); n != 2 || bytes == 0 || g.Bytes() != 0 {
			t.Errorf("let go of %d, %d bytes, and %d are left", n, bytes, g.Bytes())
		}
	})
}

// TestLongChain: what is kept grows with what is said, and not with its square; a chain ends
// where it is too large.
func TestLongChain(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxEntryBytes, c.MaxBytes = 16<<20, 32<<20 }, Options{})
	id, turns := "", 10_000
	if testing.Short() {
		turns = 1000
	}
	for i := range turns {
		body := `{"model":"m","input":"Go on"}`
		if id != "" {
			body = `{"model":"m","input":"Go on","previous_response_id":"` + id + `"}`
		}
		if i > 3 && i < turns-3 { // the service need not hear all of it each time
			c := &call{r: g.Responses}
			kept, err := g.find("", id)
			if err != nil || kept == nil {
				t.Fatal(i, err)
			}
			id = newID()
			c.before, c.thread.ID, c.keeps = kept.turn, id, true
			c.input = []byte(`{"role":"user","content":"Go on"}`)
			c.keep([]byte(`{"id":"` + id + `","status":"completed","output":[` + g.output + `]}`))
			continue
		}
		id = g.ask(t, "", body)
	}
	if n, bytes := g.store.held(); n != turns || bytes > int64(turns)*1500 {
		t.Errorf("%d replies take %d bytes", n, bytes)
	}
	g.ask(t, "", `{"model":"m","input":"And?","previous_response_id":"`+id+`"}`)
	if n := strings.Count(g.asked, "Go on"); n != turns {
		t.Errorf("%d turns were said", n)
	}
	list, err := g.get("", id+"/input_items?limit=3")
	wants(t, must(t, list, err), `"has_more":true`)
}

// TestLimits: a conversation that is too large goes on and is not kept, and what is kept is
// bounded, whatever its size.
func TestLimits(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxEntryBytes, c.MaxBytes = 16<<10, 64<<10 }, Options{})
	if id := g.ask(t, "", `{"model":"m","input":"`+strings.Repeat("x", 17<<10)+`"}`); id != "" {
		t.Error("the reply says that it is kept")
	}
	id := g.ask(t, "", `{"model":"m","input":"`+strings.Repeat("x", 10<<10)+`"}`)
	g.output = `"` + strings.Repeat("y", 10<<10) + `"`
	second := g.ask(t, "", `{"model":"m","input":"a","previous_response_id":"`+id+`"}`)
	if _, err := g.get("", second); refusal(err) != "404 " {
		t.Errorf("kept: %v", err)
	}
	if n := g.store.figures.tooLarge.Load(); n != 2 {
		t.Errorf("%d were too large", n)
	}
	g.output = "1"
	var ids []string
	for range 20 {
		ids = append(ids, g.ask(t, "", `{"model":"m","input":"`+strings.Repeat("z", 8<<10)+`"}`))
		if _, err := g.get("", ids[0]); err != nil { // what is used stays
			t.Fatal(err)
		}
		if g.Bytes() > 64<<10 {
			t.Fatalf("%d bytes are kept", g.Bytes())
		}
	}
	if _, err := g.get("", ids[1]); refusal(err) != "404 " {
		t.Errorf("what is not used stays: %v", err)
	}
	g.Bound(20 << 10)
	if n, bytes := g.store.held(); n != 2 || bytes > 20<<10 {
		t.Errorf("%d replies take %d bytes", n, bytes)
	}
	g.Bound(0)
	if g.Bytes() != 0 {
		t.Errorf("%d bytes are kept", g.Bytes())
	}
}

// TestNoMemory: where there is none a request is answered all the same.
func TestNoMemory(t *testing.T) {
	budget := new(memory.Budget)
	budget.Resize(1000)
	account := budget.Account("responses")
	g := newRig(t, nil, Options{Account: account})
	id := g.ask(t, "", `{"model":"m","input":"a"}`)
	for range 3 {
		g.ask(t, "", `{"model":"m","input":"`+strings.Repeat("x", 2000)+`"}`)
	}
	if g.store.figures.noMemory.Load() != 3 {
		t.Errorf("%d had no memory", g.store.figures.noMemory.Load())
	}
	if _, err := g.get("", id); err != nil {
		t.Error(err)
	}
	if g.Bound(0); account.Held() != 0 {
		t.Errorf("%d bytes are held", account.Held())
	}
}

// TestReferencesAreBounded: a small request does not become a large one without bound.
func TestReferencesAreBounded(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxEntryBytes, c.MaxBytes = 64<<10, 1<<20 }, Options{})
	g.output = `{"id":"msg_OWN_0","text":"` + strings.Repeat("x", 16<<10) + `"}`
	item := "msg_" + strings.TrimPrefix(g.ask(t, "", `{"model":"m","input":"a"}`), "resp_") + "_0"
	many := strings.TrimSuffix(strings.Repeat(`{"id":"`+item+`"},`, 1000), ",")
	if _, err := g.do("", "POST", "/v1/responses", `{"model":"m","input":[`+many+`]}`); refusal(err) != "413 request_too_large" {
		t.Errorf("%v", err)
	}
}

// TestInputItems: pages of what was said, in either order, with ids that stay.
func TestInputItems(t *testing.T) {
	g := newRig(t, nil, Options{})
	first := g.ask(t, "", `{"model":"m","input":[{"role":"user","content":"one"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","id":"own","call_id":"c","output":"two"},{"role":"assistant","content":"three"}]}`)
	id := g.ask(t, "", `{"model":"m","input":"four","previous_response_id":"`+first+`"}`)
	type list struct {
		Object string
		Data   []struct {
			ID, Type, Role, Status string
			Content                []struct{ Type, Text string }
		}
		First   string `json:"first_id"`
		Last    string `json:"last_id"`
		HasMore bool   `json:"has_more"`
	}
	page := func(query string) (l list) {
		t.Helper()
		text, err := g.get("", id+"/input_items"+query)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Object != "list" {
			t.Fatalf("%v %s", err, text)
		}
		return l
	}
	all := page("?order=asc")
	if len(all.Data) != 6 || all.HasMore || all.First != all.Data[0].ID || all.Last != all.Data[5].ID || all.Data[2].ID != "own" || all.Data[4].ID != "a" {
		t.Fatalf("%+v", all)
	}
	if m := all.Data[0]; m.Type != "message" || m.Status != "completed" || m.Content[0].Type != "input_text" || m.Content[0].Text != "one" {
		t.Errorf("%+v", m)
	}
	if m := all.Data[3]; m.Content[0].Type != "output_text" || m.Content[0].Text != "three" {
		t.Errorf("%+v", m)
	}
	after, seen := "", 0
	for i := 5; ; i -= 2 {
		l := page("?limit=2&after=" + after)
		for j, item := range l.Data {
			if item.ID != all.Data[i-j].ID {
				t.Errorf("%s is not %s", item.ID, all.Data[i-j].ID)
			}
		}
		after = l.Last
		if seen += len(l.Data); !l.HasMore {
			break
		}
	}
	if seen != 6 {
		t.Errorf("%d items", seen)
	}
	if l := page("?after=" + all.First); len(l.Data) != 0 || l.First != "" || l.HasMore {
		t.Errorf("%+v", l)
	}
}

// TestGoneWhileItGoesOn: a reply that is deleted while a request goes on from it is in what
// comes of that.
func TestGoneWhileItGoesOn(t *testing.T) {
	g := newRig(t, nil, Options{})
	first := g.ask(t, "", `{"model":"m","input":"One"}`)
	g.pretend = func() {
		if _, err := g.do("", "DELETE", "/v1/responses/"+first, ""); err != nil {
			t.Error(err)
		}
	}
	second := g.ask(t, "", `{"model":"m","input":"Two","stream":true,"previous_response_id":"`+first+`"}`)
	g.pretend = nil
	g.ask(t, "", `{"model":"m","input":"Three","previous_response_id":"`+second+`"}`)
	wants(t, g.asked, "One", "Two", "Three")
}

// TestTakingOver: the next Responses have what those before kept, and nothing is left when
// the last are closed.
func TestTakingOver(t *testing.T) {
	g := newRig(t, nil, Options{})
	id := g.ask(t, "", `{"model":"m","input":"One"}`)
	next, err := New(g.cfg, Options{Account: g.account, Before: g.Responses})
	if err != nil {
		t.Fatal(err)
	}
	refused, err := New(g.cfg, Options{Account: g.account, Before: g.Responses})
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	next.TakeOver()
	g.Close()
	g.Responses = next
	kept, err := next.find("", id)
	if err != nil || kept == nil {
		t.Fatalf("%v %v", kept, err)
	}
	next.store.letGo(kept.turn)
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil || Default().Store {
		t.Error(err)
	}
	err := Config{TTL: time.Millisecond, MaxBytes: 1, MaxEntryBytes: 2}.Validate()
	wants(t, fmt.Sprint(err), "ttl: ", "max_bytes: ", "max_entry_bytes: ")
	if _, err := New(Default(), Options{Redis: &redis.Use{URL: "nonsense://"}}); err == nil {
		t.Error("any URL will do")
	}
}
