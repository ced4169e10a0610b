package cel

import (
	"strings"
	"testing"
)

// TestTurns: results of calls are one turn, with the names of the calls.
func TestTurns(t *testing.T) {
	for _, c := range []struct{ messages, want string }{
		{`[]`, `[]`},
		{`[{"role":"user","content":"a"}, {"role":"assistant"}]`, `[{"role":"user","content":"a"},{"role":"assistant"}]`},
		{`[{"role":"assistant","tool_calls":[{"id":"\u0061","function":{"name":"f"}},{"id":"b","function":{"name":"g"}}]},{"role":"tool","tool_call_id":"a","content":"x"},{"role":"tool","tool_call_id":"b","content":[1]},{"role":"user"},{"role":"tool","tool_call_id":"b"}]`,
			`[{"role":"assistant","tool_calls":[{"id":"\u0061","function":{"name":"f"}},{"id":"b","function":{"name":"g"}}]},{"role":"tool","results":[{"tool_call_id":"a","name":"f","content":"x"},{"tool_call_id":"b","name":"g","content":[1]}]},{"role":"user"},{"role":"tool","results":[{"tool_call_id":"b","name":"g","content":null}]}]`},
		{`[{"role":"tool","tool_call_id":"z","name":"own"},{"role":"tool","tool_call_id":"y"}]`, `[{"role":"tool","results":[{"tool_call_id":"z","name":"own","content":null},{"tool_call_id":"y","name":"y","content":null}]}]`},
		{`[5,{"role":"assistant","tool_calls":[5,{"function":5}]}]`, `[5,{"role":"assistant","tool_calls":[5,{"function":5}]}]`},
	} {
		if got, err := evaluate(t, "turns(r)", c.messages, Limits{}); err != nil || got != c.want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.messages, got, err, c.want)
		}
	}
	if _, err := evaluate(t, "turns(r)", `[`+strings.Repeat(`{"role":"tool"},`, 2000)+`1]`, Limits{Steps: 1000}); err == nil {
		t.Error("no limit")
	}
}
