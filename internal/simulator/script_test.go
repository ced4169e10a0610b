package simulator

import (
	"strings"
	"testing"
)

// TestScript: an agent's model does what it was told, one step in each turn.
func TestScript(t *testing.T) {
	const script = `{"role":"user","content":"Please. script: [{\"call\":\"read\",\"arguments\":{\"path\":\"a\"}},{\"call\":\"write\"},{\"say\":\"All done.\"}] Thanks."}`
	const tools = `"tools":[{"type":"function","function":{"name":"read"}},{"type":"function","function":{"name":"write"}}]`
	call := func(name string) string {
		return `,{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"` + name + `","arguments":"{}"}}]},{"role":"tool","tool_call_id":"x","content":"ok"}`
	}
	_, url := start(t)
	for i, c := range []struct{ messages, more, want string }{
		{script, tools, `"name":"read","arguments":"{\"path\":\"a\"}"`},
		{script + call("read"), tools, `"name":"write","arguments":"{}"`},
		{script + call("read") + call("write"), tools, `"content":"All done."`},
		{script + call("read") + call("write") + call("write"), tools, `"content":"Done."`},
		{script, `"n":1`, `"content":"OK."`},
		{`{"role":"user","content":"no script"}`, tools, `"content":"Done."`},
		{`{"role":"user","content":"script: [{]"}`, tools, `"content":"Done."`},
	} {
		body := string(read(t, post(t, url+"/v1/chat/completions", "", `{"model":"sim-script","messages":[`+c.messages+`],`+c.more+`}`)))
		if !strings.Contains(body, c.want) {
			t.Errorf("%d: no %s in %s", i, c.want, body)
		}
	}
}
