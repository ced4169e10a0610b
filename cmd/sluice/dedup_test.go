package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestDedup: a request is written as it would be sent, people are told what was done and why,
// and what was taken out can be put back.
func TestDedup(t *testing.T) {
	var file strings.Builder
	for i := range 60 {
		fmt.Fprintf(&file, "line %d of a \x1b[1mfile\n", i)
	}
	text, err := json.Marshal(file.String())
	if err != nil {
		t.Fatal(err)
	}
	const rest = `{"role":"user","content":"go on"}],"temperature": 0.50}`
	in := fmt.Sprintf(`{"messages":[{"role":"user","content":%s}, {"role":"assistant","content":%s}, `, text, text) + rest
	code, out, told := call(t, nil, in, "dedup", "--mode", "blocks")
	if code != exitOK || !strings.Contains(out, `[[Sluice: the same text as lines 1-60 of message 1, from \"line 0 of a\" to \"line 59 of a\"]]`) || !strings.HasSuffix(out, rest) {
		t.Errorf("%d: %s\n%s", code, out, told)
	}
	for _, want := range []string{"blocks: 1 of 3 messages are changed; ", "\nmessage 2, assistant, ", "\n  - line 0 of a \ufffd[1mfile\n", "\n    … 57 lines\n", "\n  + [[Sluice: "} {
		if !strings.Contains(told, want) {
			t.Errorf("not in what people are told: %q\n%s", want, told)
		}
	}
	if strings.Contains(told, "message 3") {
		t.Errorf("told of what is kept:\n%s", told)
	}
	if code, restored, _ := call(t, nil, out, "dedup", "--expand"); code != exitOK || restored != in {
		t.Errorf("%d: restored %s", code, restored)
	}
	if _, same, told := call(t, nil, in, "dedup", "--explain"); same != in || !strings.Contains(told, "message 3, user, 5 bytes: kept: it is the last message\n") {
		t.Errorf("safe: %s\n%s", same, told)
	}
	var tokens [2]int
	for i, perToken := range []string{"2", "4"} {
		_, _, told := call(t, nil, in, "dedup", "--mode", "blocks", "--bytes-per-token", perToken)
		_, after, _ := strings.Cut(told, "; about ")
		fmt.Sscan(after, &tokens[i])
	}
	if d := tokens[0] - 2*tokens[1]; tokens[1] < 100 || d < 0 || d > 1 {
		t.Errorf("of half as many bytes each they are %d tokens instead of %d", tokens[0], tokens[1])
	}
	response := `{"input":[{"role":"user","content":"` + strings.Repeat("again ", 20) + `"},{"role":"user","content":"` + strings.Repeat("again ", 20) + `"}]}`
	if _, out, told := call(t, nil, response, "dedup"); len(out) >= len(response) || !strings.Contains(told, "taken out: the next message says the same") {
		t.Errorf("response: %s\n%s", out, told)
	}
	for _, c := range []struct{ in, dialect, want string }{
		{`{"system":%s,"messages":[{"role":"assistant","content":%[1]s},{"role":"user","content":"go on"}]}`, "", "lines 1-60 of the system prompt"},
		{`{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":%s}]},{"role":"assistant","content":%[1]s},{"role":"user","content":"go on"}]}`, "messages", "lines 1-60 of message 1"},
		{`{"systemInstruction":{"parts":[{"text":%s}]},"contents":[{"role":"model","parts":[{"text":%[1]s}]},{"parts":[{"text":"go on"}]}]}`, "", "lines 1-60 of the system instruction"},
		{`{"input":[{"role":"user","content":%s},{"role":"assistant","content":%[1]s},{"role":"user","content":"go on"}]}`, "responses", "lines 1-60 of item 1"},
	} {
		in := fmt.Sprintf(c.in, text)
		code, out, told := call(t, nil, in, "dedup", "--mode", "blocks", "--dialect", c.dialect)
		if code != exitOK || !strings.Contains(out, c.want) || !strings.Contains(told, c.want) {
			t.Errorf("%s: %d: %s\n%s", c.dialect, code, out, told)
		}
		if code, restored, _ := call(t, nil, out, "dedup", "--expand", "--dialect", c.dialect); code != exitOK || restored != in {
			t.Errorf("%s: %d: restored %s", c.dialect, code, restored)
		}
	}
	again := `{"role":"user","content":"` + strings.Repeat("again ", 20) + `"}`
	for _, c := range []struct{ mode, in, told string }{
		{"off", `{"messages":[` + again + `,` + again + `]}`, "off: 0 of 2 messages are changed: nothing is looked into.\n"},
		{"safe", `{"messages":[` + again + `]}`, "safe: 0 of 1 messages are changed; 163 bytes become 163, 0.0 % less; about 0 tokens less.\n\nmessage 1, user, 120 bytes: kept: it is the last message\n"},
		{"blocks", `{"messages":[]}`, "blocks: 0 of 0 messages are changed; 15 bytes become 15, 0.0 % less; about 0 tokens less.\n"},
		{"blocks", `{"previous_response_id":"r","input":[` + again + `,` + again + `,1]}`, "blocks: 0 of 3 messages are changed: the request is of a form that is left alone.\n"},
		{"safe", `{"input":"a text"}`, "safe: 0 of 0 messages are changed: the request is of a form that is left alone.\n"},
	} {
		if code, same, told := call(t, nil, c.in, "dedup", "--explain", "--mode", c.mode); code != exitOK || same != c.in || told != c.told {
			t.Errorf("%s: %d, %s\n%s", c.in, code, same, told)
		}
	}
	for _, c := range []struct {
		in   string
		args []string
		code int
	}{
		{"{", nil, exitFailure}, {"{}", nil, exitFailure}, {in, []string{"--mode", "all"}, exitUsage}, {in, []string{"--mode", "safe", "--expand"}, exitUsage}, {in, []string{"x"}, exitUsage}, {in, []string{"--dialect", "x"}, exitUsage},
		{in, []string{"--bytes-per-token", "9"}, exitUsage}, {in, []string{"--bytes-per-token", "NaN"}, exitUsage}, {in, []string{"--bytes-per-token", "2", "--expand"}, exitUsage},
	} {
		var out, told bytes.Buffer
		stdin := strings.NewReader(c.in)
		code := run(t.Context(), append([]string{"dedup"}, c.args...), nil, stdin, &out, &told)
		if code != c.code || out.Len() != 0 || told.Len() == 0 {
			t.Errorf("%q: %d, %s, %s", c.args, code, &out, &told)
		}
		if code == exitUsage && stdin.Len() != len(c.in) {
			t.Errorf("%q: standard input was read before the flags were looked at", c.args)
		}
	}
}
