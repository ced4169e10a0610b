package dedup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{
		Mode: "all", Models: map[string]string{"": "safe", "a*b": "safe", "m": "none"}, MinBlock: 10, VolatileLines: []string{"("},
		Reference: "{source} {lines}",
	}
	err := bad.Validate()
	for _, want := range []string{`mode: "all" is none of off, safe, blocks`, `models: ""`, `models: "a*b"`, `models.m: "none"`, "min_block: 10", "volatile_lines[0]", "reference: it has to begin with four"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the faults: %v", want, err)
		}
	}
	for n, ok := range map[int]bool{255: false, 256: true, 4096: true, 4097: false} {
		cfg := Default()
		cfg.MinBlock = n
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("min_block: %d: %v", n, err)
		}
	}
	for _, s := range []string{"", "Again {lines}", "Again {first} {lines} {source}", "Again {lines}{source}", "Again {lines} {source} {lines}", "Again {lines} 1 of\n{source}", "Again {lines}1{source}", "Again {lines} of {source}{first}]]", "Again {lines} of {source}0", "    {lines} of {source}", "\u200b  [{lines} of {source}", "Again {source}: {lines}7", "Again {source}: {lines}{last}", strings.Repeat("a", 300) + "{lines} {source}"} {
		if _, err := parseWording(s); err == nil {
			t.Errorf("%q is taken for a wording", s)
		}
	}
}

// TestModes: who says which mode holds.
func TestModes(t *testing.T) {
	cfg := Default()
	cfg.Models = map[string]string{"gpt*": "blocks", "gpt-4*": "off", "gpt-4o": "safe", "two/gpt-4o": "off", "slow": "blocks", "t*": "blocks", "two/sm*": "off", "small": "safe", "three/gpt-4*": "off"}
	names := func(model string) (full, resolved string) {
		full = model
		if model == "fast" || model == "slow" {
			full = "two/gpt-4o"
		}
		_, resolved, _ = strings.Cut("/"+full, "/")
		return full, resolved[strings.LastIndexByte(resolved, '/')+1:]
	}
	for _, override := range []bool{true, false} {
		cfg.Override = override
		r, err := cfg.compile()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			model             string
			key, header, want llm.DedupMode
		}{
			{"m", 0, 0, llm.DedupSafe}, {"gpt-3", 0, 0, llm.DedupBlocks}, {"gpt-4", 0, 0, llm.DedupOff}, {"gpt-4o", 0, 0, llm.DedupSafe},
			{"m", llm.DedupBlocks, 0, llm.DedupBlocks}, {"gpt-3", llm.DedupOff, 0, llm.DedupOff}, {"gpt-4", llm.DedupBlocks, 0, llm.DedupOff},
			{"gpt-4", llm.DedupOff, llm.DedupBlocks, llm.DedupBlocks}, {"one/gpt-4o", 0, 0, llm.DedupSafe}, {"fast", 0, 0, llm.DedupOff}, {"slow", 0, 0, llm.DedupBlocks},
			{"two/gpt-4o", 0, 0, llm.DedupOff}, {"two/small", 0, 0, llm.DedupSafe}, {"two/smart", 0, 0, llm.DedupOff}, {"two/m", 0, 0, llm.DedupBlocks}, {"three/gpt-4o", 0, 0, llm.DedupSafe}, {"three/gpt-4", 0, 0, llm.DedupOff}, {"one/gpt-4", 0, 0, llm.DedupOff},
		} {
			want := c.want
			if c.header != 0 && !override {
				want = llm.DedupOff
			}
			if got := r.of(&llm.Request{Model: c.model, Dedup: c.header}, c.key, names); got != want {
				t.Errorf("%+v: %v", c, got)
			}
		}
	}
}

// TestVolatile: two prompts are the same but for what is not to count.
func TestVolatile(t *testing.T) {
	prompt := func(day, space string) json.RawMessage {
		return say("system", "Today is "+day+".\nYou are"+space+"a program that answers briefly, and in the language of the question.\n")
	}
	for _, c := range []struct {
		volatile, space bool
		second          json.RawMessage
		removed         bool
	}{
		{false, false, prompt("Monday", " "), true}, {false, false, prompt("Tuesday", " "), false}, {true, false, prompt("Tuesday", " "), true},
		{true, false, prompt("Tuesday", "  "), false}, {true, true, prompt("Tuesday", "  "), true}, {false, true, prompt("Monday", " \n"), true},
		{true, true, say("system", "Today is Tuesday.\nYou are another program, one that answers at length and in English.\n"), false},
	} {
		cfg := Default()
		cfg.IgnoreSpace = c.space
		if c.volatile {
			cfg.VolatileLines = []string{"^Today is "}
		}
		b := body(llm.Chat, []json.RawMessage{prompt("Monday", " "), say("user", "a"), c.second, say("user", "b")})
		r := newDedup(t, cfg).Rewrite(request(llm.Chat, b), llm.DedupSafe, nil)
		if got := r.Saved.Messages == 1; got != c.removed {
			t.Errorf("%v, %v, %s: taken out: %v", c.volatile, c.space, c.second, got)
		}
	}
}

// TestWordings: any wording can be put back, in both forms of requests.
func TestWordings(t *testing.T) {
	for _, s := range []string{Default().Reference, "<<<again {source}, {lines}>>>", "☞☞ \"{lines}\" / {source}: {last} … {first}", `\\n\ {lines} {source}`, "Again {source}: {lines}-7", "Again {lines} of {source} {first}", "Again {lines} of {source}x{first}{last}"} {
		cfg := always()
		cfg.Reference = s
		v := newVerifier(t, cfg, llm.DedupBlocks)
		text := lines(1, 50)
		list := []json.RawMessage{say("user", text), say("assistant", text+"more"), say("user", lines(2, 3)+text+lines(3, 20)+lines(3, 20)), say("user", "end")}
		if out := v.check(t, llm.Chat, body(llm.Chat, list)); len(out) > 5000 {
			t.Errorf("%q: %d bytes are left", s, len(out))
		}
		withInstructions := bytes.Replace(body(llm.Response, items(list)), []byte(`"input"`), fmt.Appendf(nil, `"instructions":%q,"input"`, text), 1)
		if out := v.check(t, llm.Response, withInstructions); len(out) > 5000 || !bytes.Contains(out, []byte("the instructions")) {
			t.Errorf("%q: %d bytes are left: %s", s, len(out), out)
		}
		for op, prompt := range map[llm.Operation]string{llm.Messages: `"system":%s,`, llm.GenerateContent: `"systemInstruction":{"parts":[{"text":%s}]},`} {
			said := translated(t, op, list)
			said.prompt = fmt.Sprintf(prompt, quote(text))
			if out := v.check(t, op, said.body(op)); len(out) > 6000 || !bytes.Contains(out, []byte("the system ")) {
				t.Errorf("%v, %q: %d bytes are left: %s", op, s, len(out), out)
			}
		}
	}
}

// TestOff: what is off changes nothing, and nobody is told of anything.
func TestOff(t *testing.T) {
	text := lines(1, 50)
	b := body(llm.Chat, []json.RawMessage{say("user", text), say("user", text), say("assistant", text), say("user", "end")})
	for _, mode := range []llm.DedupMode{llm.DedupUnset, llm.DedupOff} {
		r := newDedup(t, always()).Rewrite(request(llm.Chat, b), mode, func(d Decision) { t.Errorf("%v: told of %+v", mode, d) })
		if !bytes.Equal(r.Body, b) || r.Saved != (llm.Deduped{}) || !r.Sure {
			t.Errorf("%v: %+v", mode, r)
		}
	}
}

// TestOneMessage: it is told of, as others are.
func TestOneMessage(t *testing.T) {
	for _, mode := range []llm.DedupMode{llm.DedupSafe, llm.DedupBlocks} {
		for n, list := range [][]json.RawMessage{{}, {say("user", lines(1, 50))}} {
			told := 0
			newDedup(t, Default()).Rewrite(request(llm.Chat, body(llm.Chat, list)), mode, func(d Decision) {
				if told++; d.Action != Kept || d.Why != "it is the last message" || d.Size == 0 {
					t.Errorf("%v: %+v", mode, d)
				}
			})
			if told != n {
				t.Errorf("%v: told of %d messages, want %d", mode, told, n)
			}
		}
	}
}

// TestExpandBound: references that name the same text cannot make a body of any size.
func TestExpandBound(t *testing.T) {
	text := strings.TrimSuffix(lines(1, 4000), "\n")
	all := strings.Split(text, "\n")
	quote := func(i int) string { return escape(string(beginning([]byte(escape(all[i]))))) }
	ref := fmt.Sprintf(`[[Sluice: the same text as lines 1-4000 of message 1, from "%s" to "%s"]]`, quote(0), quote(3999)) + "\n"
	for _, n := range []int{10, mostExpanded/len(text) + 1} {
		b := body(llm.Chat, []json.RawMessage{say("user", text), say("assistant", strings.Repeat(ref, n)), say("user", "end")})
		out, _, err := Expand(llm.Chat, b, Default())
		if small := n == 10; small != (err == nil) || small && len(out) < n*len(text) {
			t.Errorf("%d references: %d bytes, %v", n, len(out), err)
		}
	}
}

// TestExpandLooks: what looks like a reference is told of, but for the last message, and lines of
// which one does are none that a reference names.
func TestExpandLooks(t *testing.T) {
	const looks = "[[Sluice: the same text as "
	ref := func(last int, quote string) string {
		return fmt.Sprintf(`[[Sluice: the same text as lines 1-%d of message 1, from "l0" to "%s"]]`, last, quote)
	}
	for said, want := range map[string]int{ref(2, "l1"): 1, ref(3, strings.TrimSpace(looks)): 2, " " + looks: 2, "text": 1} {
		b := body(llm.Chat, []json.RawMessage{say("user", "l0\nl1\n"+looks), say("assistant", said), say("user", looks)})
		if _, left, err := Expand(llm.Chat, b, Default()); err != nil || left != want {
			t.Errorf("%s: %d lines are left, want %d: %v", said, left, want, err)
		}
	}
}

// TestReferencesOfOthers: text that looks like a reference is left as it is by both, and nothing
// behind it is changed.
func TestReferencesOfOthers(t *testing.T) {
	text := lines(1, 50)
	v := newVerifier(t, always(), llm.DedupBlocks)
	for _, looks := range []string{
		`[[Sluice: the same text as lines 1-50 of message 2, from "line 0" to "line 49"]]`,
		`[[Sluice: the same text as lines 1-50 of message 1, from "" to ""]]`,
		`[[Sluice: the same text as line 9999999999 of message 1`, `[[Sluice: the same text as `, `[[Sluice: the same text as lines 2-1 of this message, from "" to ""]]`,
	} {
		list := []json.RawMessage{say("user", text), say("assistant", text), say("user", "see\n"+looks+"\nthere"), say("assistant", text), say("user", "end")}
		b := body(llm.Chat, list)
		out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, b))
		if len(out[1]) > 200 || !bytes.Equal(out[2], list[2]) || !bytes.Equal(out[3], list[3]) {
			t.Errorf("%s: %s", looks, out)
		}
	}
}

// TestUncounted: of a message of which a text has a line break that is written as \u000a, or too
// many lines, nobody can say which number a line has. It is left alone and not referred to.
func TestUncounted(t *testing.T) {
	text, _ := json.Marshal(lines(1, 50))
	two := func(first string) json.RawMessage {
		return fmt.Appendf(nil, `{"role":"user","content":[{"type":"text","text":"%s"},{"type":"text","text":%s}]}`, first, text)
	}
	v := newVerifier(t, always(), llm.DedupBlocks)
	for first, counted := range map[string]bool{
		`a`: true, `a\n`: true, `a\\u000a`: true, `\u000b`: true, `u000a`: true, `a\u000ab`: false, `a\\\u000A`: false, `\u000a`: false, strings.Repeat(`\n`, 1000): false,
	} {
		list := []json.RawMessage{two(first), say("assistant", "a"), say("assistant", lines(1, 50)+"b"), two(first), say("assistant", lines(1, 50)+"c"), say("user", "end")}
		out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
		if bytes.Equal(out[2], list[2]) == counted || bytes.Equal(out[3], list[3]) == counted {
			t.Errorf("%.40s: %s", first, out)
		}
		if !counted && !bytes.Contains(out[4], []byte(" of message 3,")) {
			t.Errorf("%.40s: what can be counted is not referred to: %s", first, out[4])
		}
		b := body(llm.Response, items(list[1:]))
		b = bytes.Replace(b, []byte(`"input"`), fmt.Appendf(nil, `"instructions":"%s\n%s,"input"`, first, text[1:]), 1)
		if first := messagesOf(t, llm.Response, v.check(t, llm.Response, b))[1]; len(first) < 500 && !counted {
			t.Errorf("it refers to instructions that are not counted: %s", first)
		}
	}
}

// TestLooks: a line looks like a reference by what a model sees.
func TestLooks(t *testing.T) {
	text := lines(1, 50)
	all, _ := json.Marshal(text)
	v := newVerifier(t, always(), llm.DedupBlocks)
	const forged = `Sluice: the same text as lines 1-50 of message 1, from \"a\" to \"b\"]]`
	for said, looks := range map[string]bool{
		`[\u005b` + forged: true, `\u005B[` + forged: true, `[[S\u006cuice:\u0020the same text as `: true, `  [[` + forged: true, `\t \r[[` + forged: true, "\u200b[[" + forged: true,
		`\ufeff\u200B[[` + forged: true, "\u00a0[[" + forged: true, `a\u000a[[` + forged: true, `a\u000A \u005b[` + forged: true, `a\n\u0000[[` + forged: true, strings.Repeat(`\n`, 100) + " [[" + forged: true,
		`a [[` + forged: false, `a\\n[[` + forged: false, `\\u005b[` + forged: false, `[[S\u006duice: the same text as `: false, `[[`: false, ` \u005b`: false, `\ud83d\ude00[[` + forged: false,
	} {
		list := []json.RawMessage{say("user", text), fmt.Appendf(nil, `{"role":"user","content":"%s"}`, said), fmt.Appendf(nil, `{"role":"assistant","content":%s}`, all), say("user", "end")}
		out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
		if bytes.Equal(out[2], list[2]) != looks {
			t.Errorf("%.80s: %s", said, out[2])
		}
		list = []json.RawMessage{fmt.Appendf(nil, `{"role":"user","content":%s}`, all), fmt.Appendf(nil, `{"role":"assistant","content":%s}`, all), say("user", "end")}
		b := bytes.Replace(body(llm.Response, list), []byte(`"input"`), fmt.Appendf(nil, `"instructions":"%s","input"`, said), 1)
		if got := v.check(t, llm.Response, b); bytes.Equal(got, b) != looks {
			t.Errorf("%.80s as instructions: %s", said, got)
		}
	}
	cfg := always()
	cfg.Reference = " \U0001f600\u00e9 {lines} of {source}"
	w := newVerifier(t, cfg, llm.DedupBlocks)
	list := []json.RawMessage{say("user", text), json.RawMessage(`{"role":"user","content":"\ud83d\ude00\u00e9 "}`), say("assistant", text), say("user", "end")}
	if b := body(llm.Chat, list); !bytes.Equal(w.check(t, llm.Chat, b), b) {
		t.Error("a pair of surrogates is not taken for what it stands for")
	}
}

// TestStage: the handler behind is given the shorter body, its reply says so, memory is given
// back, and where there is none the request passes as it came.
func TestStage(t *testing.T) {
	text := lines(1, 100)
	req := request(llm.Chat, body(llm.Chat, []json.RawMessage{say("user", text), say("assistant", text), say("user", "end")}))
	var budget memory.Budget
	account := budget.Account("dedup")
	buffers := &memory.Buffers{Account: budget.Account("buffers")}
	d, err := New(Default(), Options{Keys: map[string]string{"team": "blocks"}, Account: account, Buffers: buffers})
	if err != nil {
		t.Fatal(err)
	}
	req.Tenant = "team"
	sent := 0
	h := d.Stage(llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
		sent = len(req.Body)
		if req.ModelSpan.End > 0 && string(req.Body[req.ModelSpan.Start:req.ModelSpan.End]) != `"m"` {
			t.Errorf("the model is %s", req.Body[req.ModelSpan.Start:req.ModelSpan.End])
		}
		if account.Held() != 0 {
			t.Errorf("%d bytes are held while the call is under way", account.Held())
		}
		h := llm.Head{Status: 200, Kind: llm.EventStream, Sent: true}
		if err := out.Start(&h); err != nil {
			return err
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes are held when nobody needs the body any more", budget.Used())
		}
		return out.Send(nil)
	}), nil, nil)
	for _, c := range []struct {
		size    int64 // of the budget
		shorter bool
	}{{0, true}, {64 << 10, true}, {100, false}} {
		budget.Resize(c.size)
		s := &heads{}
		if err := h.Serve(t.Context(), req, s); err != nil {
			t.Fatal(err)
		}
		if shorter := sent < len(req.Body); shorter != c.shorter || (s.head.Deduped.Messages == 1) != c.shorter || int64(len(req.Body)-sent) != s.head.Deduped.Bytes {
			t.Errorf("budget %d: %d of %d bytes, %+v", c.size, sent, len(req.Body), s.head.Deduped)
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes are still reserved", budget.Used())
		}
	}
}

// TestUnknownMode: what is no mode is a fault of the request where it may choose one, and
// nothing where it may not, or has no messages.
func TestUnknownMode(t *testing.T) {
	for _, override := range []bool{true, false} {
		cfg := Default()
		cfg.Override = override
		passed := false
		h := newDedup(t, cfg).Stage(llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error {
			passed = true
			return nil
		}), nil, nil)
		for op, read := range map[llm.Operation]bool{llm.Chat: true, llm.Response: true, llm.Completion: false, llm.Embedding: false} {
			passed = false
			req := request(op, body(op, []json.RawMessage{say("user", "a")}))
			req.Dedup = llm.DedupUnknown
			err := h.Serve(t.Context(), req, &heads{})
			var fault *llm.Error
			if refused := errors.As(err, &fault) && fault.Status == 400 && fault.Code == "invalid_dedup"; refused != (override && read) || passed == refused {
				t.Errorf("%v, override %v: passed %v, %v", op, override, passed, err)
			}
		}
	}
}

// TestPromptsOfTheSystem: such a prompt refers to nothing that others said, and they may refer
// to it.
func TestPromptsOfTheSystem(t *testing.T) {
	text := lines(1, 50)
	refers := func(m json.RawMessage, to string) bool {
		return bytes.Contains(m, []byte("]]")) && bytes.Contains(m, []byte(" of "+to))
	}
	v := newVerifier(t, always(), llm.DedupBlocks)
	for _, role := range []string{"system", "developer"} {
		list := []json.RawMessage{say("user", text), say("assistant", "a"), say(role, lines(2, 9)+text+lines(2, 9)+lines(3, 40)+lines(3, 40)), say("user", "b"), say("user", text+"c"), say("system", "d"+text), say("user", "end")}
		out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
		if refers(out[2], "message 1") || !refers(out[2], "this message") || !refers(out[4], "message") || refers(out[5], "message 1") || refers(out[5], "message 5") {
			t.Errorf("%s: %s", role, out)
		}
		list[0] = say("system", text)
		out = messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
		if !refers(out[2], "message 1") || !refers(out[4], "message 1") {
			t.Errorf("%s behind one of the system: %s", role, out)
		}
		withInstructions := bytes.Replace(body(llm.Response, items(list[1:])), []byte(`"input"`), fmt.Appendf(nil, `"instructions":%q,"input"`, text), 1)
		if out := messagesOf(t, llm.Response, v.check(t, llm.Response, withInstructions)); !refers(out[1], "the instructions") {
			t.Errorf("%s behind instructions: %s", role, out)
		}
	}
}

// TestExpandPrompts: what looks like a reference in a prompt of the system, and is one that would
// not be written there, is its text.
func TestExpandPrompts(t *testing.T) {
	text := lines(1, 50)
	out := messagesOf(t, llm.Chat, newVerifier(t, always(), llm.DedupBlocks).check(t, llm.Chat, body(llm.Chat, []json.RawMessage{say("user", text), say("assistant", text), say("user", "end")})))
	for role, restored := range map[string]bool{"assistant": true, "system": false, "developer": false} {
		list := []json.RawMessage{out[0], bytes.Replace(out[1], []byte("assistant"), []byte(role), 1), out[2]}
		b := body(llm.Chat, list)
		got, left, err := Expand(llm.Chat, b, always())
		if err != nil || bytes.Equal(got, b) == restored || (left == 0) != restored {
			t.Errorf("%s: %v, %s", role, err, got)
		}
	}
}

// TestMostBlocks: a message that repeats many things has references for the largest of them,
// and people are told that.
func TestMostBlocks(t *testing.T) {
	var all, again strings.Builder
	n := 3 * mostBlocks
	for i := range n {
		all.WriteString(lines(i, 30))
		again.WriteString(lines(n-1-i, 30))
	}
	large := lines(n, 5000)
	list := []json.RawMessage{say("user", all.String()+large), say("assistant", again.String()+"and\n"+large), say("assistant", again.String()), say("user", "end")}
	v := newVerifier(t, always(), llm.DedupBlocks)
	out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
	for i, largest := range []bool{false, true, false} {
		if n := bytes.Count(out[i], []byte("[[Sluice: ")); i > 0 && n != mostBlocks {
			t.Errorf("%d references", n)
		}
		if largest && len(out[i]) > again.Len()*2 {
			t.Errorf("%d bytes are left: the largest repeat is not taken out", len(out[i]))
		}
	}
	if bytes.Contains(out[2], []byte("this message")) {
		t.Errorf("it refers to itself: %s", out[2])
	}
	told := false
	v.d.Rewrite(request(llm.Chat, body(llm.Chat, list)), llm.DedupBlocks, func(d Decision) {
		told = told || d.Message == 1 && d.Sent == 2 && d.Why == "with references for the 32 largest of its 97 repeats"
	})
	if !told {
		t.Error("nobody is told of the bound")
	}
}

// TestOwnRepeats: that a text repeats its own lines does not hide that all of it stands further up.
func TestOwnRepeats(t *testing.T) {
	testkit.Simulation(t)
	text := strings.Repeat("line of text\n", 400_000)
	list := []json.RawMessage{say("user", "a"), say("assistant", text), say("user", "b"), say("assistant", text), say("user", "end")}
	out := messagesOf(t, llm.Chat, newVerifier(t, Default(), llm.DedupBlocks).check(t, llm.Chat, body(llm.Chat, list)))
	if len(out[3]) > len(list[3])/20 {
		t.Errorf("%d of %d bytes are left", len(out[3]), len(list[3]))
	}
}

// TestNotes: what annotations or logprobs tell of is kept as it is, and may be referred to.
func TestNotes(t *testing.T) {
	text, _ := json.Marshal(lines(1, 50))
	part := func(more string) json.RawMessage {
		return fmt.Appendf(nil, `{"type":"message","role":"assistant","content":[{"type":"output_text","text":%s%s}]}`, text, more)
	}
	v := newVerifier(t, always(), llm.DedupBlocks)
	for more, kept := range map[string]bool{
		``: false, `,"annotations":[],"logprobs":[ ]`: false, `,"logprobs":null`: false, `,"logprobs":[{"token":"a"}]`: true, `,"logprobs":{"content":[]}`: true, `,"logprobs":1`: true, `,"logprobs":12`: true, `,"logprobs":""`: true,
		`,"annotations":[{"type":"url_citation","start_index":1}]`: true,
	} {
		list := []json.RawMessage{fmt.Appendf(nil, `{"role":"user","content":%s}`, text), part(more), say("user", "a"), part(more), say("user", "end")}
		out := messagesOf(t, llm.Response, v.check(t, llm.Response, body(llm.Response, list)))
		if bytes.Equal(out[1], list[1]) != kept || bytes.Equal(out[3], list[3]) != kept {
			t.Errorf("%s: %s", more, out)
		}
	}
	for more, kept := range map[string]bool{`"annotations":[]`: false, `"annotations":[{"type":"url_citation"}]`: true} {
		said := fmt.Appendf(nil, `{"role":"assistant",%s,"content":%s}`, more, text)
		list := []json.RawMessage{fmt.Appendf(nil, `{"role":"user","content":%s}`, text), said, say("user", "end")}
		out := messagesOf(t, llm.Chat, v.check(t, llm.Chat, body(llm.Chat, list)))
		if bytes.Equal(out[1], said) != kept {
			t.Errorf("%s: %s", more, out)
		}
	}
}

// heads is a sink that keeps the head.
type heads struct{ head llm.Head }

func (s *heads) Start(h *llm.Head) error {
	s.head = *h
	return nil
}

func (s *heads) Send([]llm.Event) error { return nil }

// What comes last of prompts holds, in whatever form and of whichever role it is; results of
// tools stay, one for each call; and what the service may leave out is not referred to.
func TestKept(t *testing.T) {
	long := "You are a program that answers briefly, and in the language of the question. Rules follow.\n"
	prompt, ask, more := say("system", long), say("user", "Go on."), say("user", "And then?")
	call := json.RawMessage(`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}`)
	for name, c := range map[string]struct {
		op       llm.Operation
		messages []json.RawMessage
		more     string // members of the body
		changed  bool
	}{
		"repeated":                 {llm.Chat, []json.RawMessage{prompt, ask, prompt, more}, "", true},
		"a short prompt between":   {llm.Chat, []json.RawMessage{prompt, ask, say("system", "One word only."), ask, prompt, more}, "", false},
		"one in parts between":     {llm.Chat, []json.RawMessage{prompt, ask, json.RawMessage(`{"role":"system","content":[{"type":"text","text":"One word only."}]}`), ask, prompt, more}, "", false},
		"a developer's between":    {llm.Chat, []json.RawMessage{prompt, ask, say("developer", strings.Repeat("Answer at length. ", 10)), ask, prompt, more}, "", false},
		"somebody unknown between": {llm.Chat, []json.RawMessage{prompt, ask, say("root", strings.Repeat("Answer at length. ", 10)), ask, prompt, more}, "", false},
		"results without ids":      {llm.Chat, []json.RawMessage{ask, call, say("tool", long), say("tool", long), ask}, "", false},
		"functions' results":       {llm.Chat, []json.RawMessage{ask, say("function", long), say("function", long), ask}, "", false},
	} {
		v := newVerifier(t, always(), llm.DedupSafe)
		b := body(c.op, c.messages)
		b = append([]byte("{"+c.more), b[1:]...)
		if got := v.check(t, c.op, b); bytes.Equal(got, b) == c.changed {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestPromptCache: where services keep prompts, a message that was the last of an earlier request
// is rewritten only if nearly all of it is there already; one that never was is whenever it can be.
func TestPromptCache(t *testing.T) {
	text := lines(1, 40)
	half := func(seed int) string { return text + lines(seed, 30) } // 57 % is there already
	call := func(ids ...string) json.RawMessage {
		var calls []string
		for _, id := range ids {
			calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":"f","arguments":"{}"}}`, id))
		}
		return json.RawMessage(`{"role":"assistant","content":null,"tool_calls":[` + strings.Join(calls, ",") + `]}`)
	}
	result := func(id, said string) json.RawMessage {
		content, _ := json.Marshal(said)
		return fmt.Appendf(nil, `{"role":"tool","tool_call_id":%q,"content":%s}`, id, content)
	}
	start, end := say("user", text), say("user", "Go on.")
	for name, c := range map[string]struct {
		messages  []json.RawMessage
		rewritten int // how many messages
	}{
		"the last of a request":        {[]json.RawMessage{start, say("assistant", "a"), say("user", half(2)), say("assistant", "b"), end}, 0},
		"all of it is there":           {[]json.RawMessage{start, say("assistant", "a"), say("user", lines(1, 40)), say("assistant", "b"), end}, 1},
		"the model's":                  {[]json.RawMessage{start, say("assistant", half(2)), end}, 1},
		"with another one behind":      {[]json.RawMessage{start, say("assistant", "a"), say("user", half(2)), say("user", "b"), say("assistant", "c"), end}, 1},
		"the only result":              {[]json.RawMessage{start, call("a"), result("a", half(2)), call("b"), result("b", "c"), end}, 0},
		"the first result of two":      {[]json.RawMessage{start, call("a", "b"), result("a", half(2)), result("b", "c"), say("assistant", "d"), end}, 1},
		"the second result of two":     {[]json.RawMessage{start, call("a", "b"), result("a", "c"), result("b", half(2)), say("assistant", "d"), end}, 0},
		"what the model says and does": {[]json.RawMessage{start, say("assistant", half(2)), call("a"), result("a", "b"), end}, -1},
	} {
		for _, op := range []llm.Operation{llm.Chat, llm.Response} {
			list, want := c.messages, c.rewritten
			if op == llm.Response {
				list = items(list)
			}
			if want < 0 { // of messages the second is a turn of its own, of items both are one
				want = 0
				if op == llm.Response {
					want = 1
				}
			}
			out := messagesOf(t, op, newVerifier(t, Default(), llm.DedupBlocks).check(t, op, body(op, list)))
			got := 0
			for i := range list {
				if !bytes.Equal(out[i], list[i]) {
					got++
				}
			}
			if got != want {
				t.Errorf("%v, %s: %d messages are rewritten, want %d", op, name, got, want)
			}
		}
	}
}

// A turn of the model counts once, whether it was said twice or not: what pays is the same
// for what was rewritten before.
func TestTurnsAreThoseThatAreKept(t *testing.T) {
	var list []json.RawMessage
	for i := range 40 {
		answer := say("assistant", fmt.Sprint("answer ", i, " ", lines(i, 3)))
		list = append(list, answer, answer, say("user", fmt.Sprint("question ", i)))
	}
	known := lines(1000, 40)
	list = append(list, say("user", known), say("assistant", "Yes."), say("user", known+lines(2000, 8)), say("assistant", "Yes."), say("user", "Go on."))
	newVerifier(t, Default(), llm.DedupBlocks).check(t, llm.Chat, body(llm.Chat, list))
}

// Of messages only so many are read, and what becomes of those does not depend on whether there
// are more.
func TestManyMessages(t *testing.T) {
	testkit.Simulation(t)
	text := lines(1, 50)
	list := []json.RawMessage{say("user", text), say("assistant", text), say("assistant", text+"b")}
	for len(list) < maxMessages-1 {
		list = append(list, say("user", fmt.Sprint("message ", len(list))))
	}
	list = append(list, say("assistant", text+"c"), say("assistant", text+"d"), say("assistant", text+"e"), say("assistant", text+"f"))
	v := newVerifier(t, Default(), llm.DedupBlocks)
	var before []byte
	for n := maxMessages - 2; n <= len(list); n++ {
		out := v.check(t, llm.Chat, body(llm.Chat, list[:n]))
		got := messagesOf(t, llm.Chat, out)
		if len(got[1]) > 300 || !bytes.HasPrefix(out, before) {
			t.Fatalf("%d messages: %s", n, difference(before, out))
		}
		for i := maxMessages - 1; i < n; i++ {
			if !bytes.Equal(got[i], list[i]) {
				t.Errorf("of %d messages number %d was changed", n, i+1)
			}
		}
		before = out[:bytes.LastIndex(out, got[n-1])]
	}
}

// A message with too many texts is left alone, and those before and behind it are not.
func TestManyTexts(t *testing.T) {
	text := lines(1, 50)
	parts := json.RawMessage(`{"role":"user","content":[{"type":"text","text":"a"}` + strings.Repeat(`,{"type":"text","text":"a"}`, maxTexts) + `]}`)
	list := []json.RawMessage{say("user", text), say("assistant", text), parts, say("assistant", text), say("user", "end")}
	out := messagesOf(t, llm.Chat, newVerifier(t, Default(), llm.DedupBlocks).check(t, llm.Chat, body(llm.Chat, list)))
	if len(out[1]) > 300 || !bytes.Equal(out[2], list[2]) || len(out[3]) > 300 {
		t.Errorf("%d, %d and %d bytes", len(out[1]), len(out[2]), len(out[3]))
	}
}

// What is not worth the memory passes as it came.
func TestManyMessagesPass(t *testing.T) {
	testkit.Simulation(t)
	v := newVerifier(t, Default(), llm.DedupBlocks)
	b := []byte(`{"messages":[` + strings.Repeat("0,", 1<<20) + `0]}`)
	if got := v.check(t, llm.Chat, b); !bytes.Equal(got, b) {
		t.Error("changed")
	}
	const times = 4
	req := request(llm.Chat, b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		v.d.Rewrite(req, llm.DedupSafe, nil)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / times; n > 8<<20 {
		t.Errorf("%d bytes for 2 MiB of messages", n)
	}
}

// TestQuotesSomething: a reference quotes lines in which something stands.
func TestQuotesSomething(t *testing.T) {
	text := "\n\n" + lines(1, 50) + "\n\n  \n"
	d := newDedup(t, always())
	got := d.Rewrite(request(llm.Chat, body(llm.Chat, []json.RawMessage{say("user", text), say("assistant", "a"), say("user", text), say("assistant", "b"), say("user", "end")})), llm.DedupBlocks, nil)
	if b := got.Body; !bytes.Contains(b, []byte("[[Sluice")) || bytes.Contains(b, []byte(`\"\"`)) {
		t.Errorf("%s", b)
	}
}
