//go:build !race

package chattemplate

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/internal/jsonscan"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector is what Jinja makes of a template: vectors.py writes them.
type vector struct {
	Name, Template string
	Chat           json.RawMessage
	Want           *string
	Fails          string
	Raised         bool
}

func vectors(t testing.TB) (list []vector) {
	t.Helper()
	if err := json.Unmarshal(read(t, "vectors.json"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

var options = Options{BOS: "<s>", EOS: "</s>", Now: time.Date(2024, 7, 6, 5, 4, 3, 0, time.UTC)}

func render(template string, chat []byte) (string, error) {
	t, err := Parse(template)
	if err != nil {
		return "", err
	}
	out, err := t.AppendPrompt(nil, chat, options)
	return string(out), err
}

// TestVectors: a prompt is what Jinja makes, and what fails there fails here.
func TestVectors(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		got, err := render(v.Template, v.Chat)
		switch {
		case v.Want == nil && err == nil:
			t.Errorf("%s: %s\ngot  %q\nwant an error as %s", v.Name, v.Template, got, v.Fails)
		case v.Want == nil:
			if IsRefusal(err) != v.Raised {
				t.Errorf("%s: %v, want %s", v.Name, err, v.Fails)
			}
		case err != nil || got != *v.Want:
			t.Errorf("%s: %s\ngot  %q, %v\nwant %q", v.Name, v.Template, got, err, *v.Want)
		}
		n++
	}
	if n < 100 {
		t.Errorf("only %d vectors", n)
	}
}

// TestHostile: whatever a template does, it ends, and says where.
func TestHostile(t *testing.T) {
	many := `{"messages":[` + strings.Repeat(`{"role":"user","content":"x"},`, 5000) + `{"role":"user","content":"y"}]}`
	deep := `{"messages":[],"tools":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`
	const chat = `{"messages":[{"role":"user","content":"x"}]}`
	for _, c := range []struct{ template, chat, want string }{
		{"\n{% for i in range(99999999) %}{% endfor %}", chat, "chat template, line 2: it takes more"},
		{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", chat, "chat template, line 1: values or calls are nested too deep"},
		{"{% for a in messages %}{% for b in messages %}{{ loop.index }}{% endfor %}{% endfor %}", many, "chat template, line 1: it takes more"},
		{"{% set ns = namespace(s='') %}{% for a in range(100000) %}{% set ns.s = ns.s + '0123456789' %}{% endfor %}", chat, "chat template, line 1: it takes more"},
		{"{{ 'x' * 999999999999 }}", chat, "chat template, line 1: it takes more memory"},
		{"{{ ('x' * 1000000).split('x') }}", chat, "chat template, line 1: it takes more"},
		{"{{ ('x' * 100000).replace('', 'y' * 1000) }}", chat, "chat template, line 1: it takes more memory"},
		{"{{ strftime_now('%Y' * 10000000) }}", chat, "chat template, line 1: it takes more"},
		{"{% for i in range(99999) %}{{ strftime_now('%Y' * 1000) }}{% endfor %}", chat, "chat template, line 1: it takes more steps"},
		{"{% set ns = namespace(l=[]) %}{% set s = 'x' * 100000 %}{% for a in range(1000) %}{% set ns.l = ns.l + [s] %}{% endfor %}{{ ns.l }}", chat, "chat template, line 1: it takes more memory"},
		{"{{ range(10000) | list | tojson(separators=('x' * 100000, ':')) }}", chat, "chat template, line 1: it takes more memory"},
		{"{{ ('x' * 1000000).strip('yz' * 100000 + 'x') }}", chat, "chat template, line 1: it takes more steps"},
		{"{{ [0] * 5 }}", chat, "chat template, line 1: a list * an integer cannot be computed"},
		{"{{ messages | tojson(indent=2) }}", deep, ""},
		{"{{ tools }}", deep, "chat template: values or calls are nested too deep"},
		{strings.Repeat("{% if true %}", 300) + strings.Repeat("{% endif %}", 300), chat, "chat template, line 1: the template is nested too deep"},
		{"{{ " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300) + " }}", chat, "chat template, line 1: the template is nested too deep"},
		{"{{ 1" + strings.Repeat(" if true else 1", 300) + " }}", chat, "chat template, line 1: the template is nested too deep"},
		{"{{ " + strings.Repeat("not ", 300) + "1 }}", chat, "chat template, line 1: the template is nested too deep"},
		{"{{ x" + strings.Repeat(".y", 300) + " }}", chat, "chat template, line 1: the template is nested too deep"},
		{"{{ 1" + strings.Repeat(" | int", 300) + " }}", chat, "chat template, line 1: the template is nested too deep"},
		{strings.Repeat("x", 300<<10), chat, "chat template: the template is longer than 256 KiB"},
		{"a", `{"messages":5}`, "chat template: the request has no list of messages"},
		{"a", `{"messages":[5]}`, "chat template: messages[0] is no object"},
		{"a", `{"messages":[{"content":5}]}`, "chat template: messages[0].content is neither a string nor a list"},
		{"a", `{"messages":[{"content":[{"type":"image_url"}]}]}`, "chat template: messages[0].content[0] is no text, and a prompt has nothing else"},
		{"{{ raise_exception('Be nice.') }}", chat, "the chat template refuses this chat: Be nice."},
	} {
		_, err := render(c.template, []byte(c.chat))
		if c.want == "" {
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.80s: %v, want %s", c.template, err, c.want)
		}
	}
}

// TestIntegers: they have 64 bits, and what has no room in them is an error and not
// another number.
func TestIntegers(t *testing.T) {
	const most, least = "9223372036854775807", "(-9223372036854775807 - 1)"
	for expr, want := range map[string]string{
		most: most, least: "-9223372036854775808", most + " + 1": "", most + " - 1": "9223372036854775806", most + " + -1": "9223372036854775806",
		least + " - 1": "", least + " + 1": "-9223372036854775807", "0 - " + least: "", "-1 - " + least: most, "1 - " + least: "", least + " - " + least: "0",
		most + " * 2": "", most + " * -1": "-9223372036854775807", least + " * -1": "", "-1 * " + least: "", "3037000500 * 3037000500": "", "3037000499 * 3037000499": "9223372030926249001",
		"-" + least: "", least + " // -1": "", least + " // 2": "-4611686018427387904", least + " % -1": "0",
		"2 ** 62": "4611686018427387904", "2 ** 63": "", "(-2) ** 63": "-9223372036854775808", "(-2) ** 64": "", "10 ** 1000000000": "", "(-1) ** 1000000001": "-1", "1 ** 1000000000": "1",
		"0 ** 0": "1", "0 ** 9": "0", "7 ** 1": "7", "0 ** -1": "",
		least + " | abs": "", "(-5) | abs": "5", most + " | int": most, "'" + most + "' | int": most, "'9223372036854775808' | int": "", "1e19 | int": "", "'-1e19' | int": "",
		"'inf' | int(7)": "7", "'x' | int(7)": "7", "1e18 | int": "1000000000000000000",
		"[" + most + ", 1] | sum": "", "range(" + most + " - 3, " + most + ", 2) | list | length": "2", "range(" + least + " + 3, " + least + ", -2) | list | length": "2",
	} {
		got, err := render("{{ "+expr+" }}", []byte(`{"messages":[]}`))
		if got != want && want != "" || (want == "") != (err != nil) || err != nil && want == "" && !strings.Contains(err.Error(), "beyond 64 bits") && !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("%s: %q, %v, want %q", expr, got, err, want)
		}
	}
}

// TestMemory: what a prompt takes is reserved before it is there, and given back but for
// the prompt. What is refused is not made.
func TestMemory(t *testing.T) {
	full := errors.New("it is full")
	long := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("x\\n", 50_000) + `"}]}`)
	many := []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"x"},`, 5000) + `{}]}`)
	for _, c := range []struct {
		template string
		chat     []byte
	}{
		{"{{ messages[0].content * 20 }}", long},
		{"{% for i in range(20) %}{{ messages[0].content }}{% endfor %}", long},
		{"{% for c in messages[0].content %}{{ c }}{% endfor %}", long},
		{"{% set x %}{{ messages[0].content }}{{ messages[0].content }}{% endset %}{{ x }}", long},
		{"{{ messages[0].content.splitlines() | length }}", long},
		{"{{ messages[0].content.split('x') | length }}", long},
		{"{{ messages[0].content | indent(100) }}", long},
		{"{{ messages[0].content | replace('x', 'a longer text') }}", long},
		{"{{ messages[0].content[::-1] }}", long},
		{"{{ messages | tojson(indent=8) }}", many},
		{"{{ messages }}", many},
		{"{{ messages | map(attribute='role') | join(' and more ') }}", many},
		{"x", many},
	} {
		p, err := Parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		held, taken, most := 0, 0, 1<<30
		o := options
		o.Reserve = func(n int) error {
			if held+n > most {
				return full
			}
			held += n
			taken += max(n, 0)
			return nil
		}
		out, err := p.AppendPrompt(nil, c.chat, o)
		if err != nil || held > cap(out) || held < cap(out)-unasked {
			t.Errorf("%s: %v, %d bytes are reserved, and the prompt takes %d", c.template, err, held, cap(out))
		}
		held, most = 0, 256<<10
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = p.AppendPrompt(nil, c.chat, o)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4*256<<10 {
			t.Errorf("%s: %d bytes were allocated, of %d that there are", c.template, n, most)
		}
		if !errors.Is(err, full) || held != 0 {
			t.Errorf("%s: %v, %d bytes are still reserved; it took %d", c.template, err, held, taken)
		}
	}
}

// TestMessages: what a template gets of the forms that messages have.
func TestMessages(t *testing.T) {
	tmpl, err := Parse(`{% for m in messages %}{{ m | tojson }}{% endfor %}{{ tools }}{{ add_generation_prompt }}{{ thinking }}`)
	if err != nil {
		t.Fatal(err)
	}
	const chat = `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
		{"role":"assistant","content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"b\":1,\"a\":[2.50]}"}},{"function":{"name":"g","arguments":"no JSON"}}]}],
		"chat_template_kwargs":{"thinking":true,"messages":"of no use","add_generation_prompt":false}}`
	out, err := tmpl.AppendPrompt([]byte("x"), []byte(chat), Options{})
	want := `x{"role": "user", "content": "a\nb"}{"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"b": 1, "a": [2.5]}}}, ` +
		`{"function": {"name": "g", "arguments": "no JSON"}}]}NoneFalseTrue`
	if err != nil || string(out) != want {
		t.Errorf("%s, %v\nwant %s", out, err, want)
	}
	if out, err := tmpl.AppendPrompt([]byte("x"), []byte(`{}`), Options{}); err == nil || string(out) != "x" {
		t.Errorf("%s, %v", out, err)
	}
}

// FuzzTemplate: whatever a template says, it is refused or ends, with a prompt or an
// error that is the package's own.
func FuzzTemplate(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Template, []byte(v.Chat))
	}
	f.Fuzz(func(t *testing.T, template string, chat []byte) {
		if jsonscan.Validate(chat, 0) != nil {
			t.Skip()
		}
		p, err := Parse(template)
		if err == nil {
			_, err = p.AppendPrompt(nil, chat, options)
		}
		if _, ok := err.(*Error); err != nil && !ok {
			t.Errorf("%T: %v", err, err)
		}
	})
}

// BenchmarkPrompt renders a chat with a tool of about 1.5 kB.
func BenchmarkPrompt(b *testing.B) {
	p, err := Parse(string(read(b, "models/qwen.jinja")))
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range vectors(b) {
		if v.Name != "qwen.jinja 2" {
			continue
		}
		var dst []byte
		b.ReportAllocs()
		b.SetBytes(int64(len(v.Chat)))
		for b.Loop() {
			if dst, err = p.AppendPrompt(dst[:0], v.Chat, options); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// TestAllocations: what a prompt costs stays within what a chat's values take.
func TestAllocations(t *testing.T) {
	p, err := Parse(string(read(t, "models/chatml.jinja")))
	if err != nil {
		t.Fatal(err)
	}
	chat := []byte(`{"messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"},{"role":"user","content":"Bye"}]}`)
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst, _ = p.AppendPrompt(dst[:0], chat, options) }); n > 190 {
		t.Errorf("%v allocations", n)
	}
}
