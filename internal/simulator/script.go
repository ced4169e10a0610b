package simulator

import (
	"encoding/json"
	"slices"
	"strings"
)

// scriptMark begins a script in the text of a user's message: a JSON list of steps.
const scriptMark = "script: ["

// step is what sim-script does in one turn: it calls a tool, or says something.
type step struct {
	Call      string          `json:"call"`
	Arguments json.RawMessage `json:"arguments"`
	Say       string          `json:"say"`
}

// heard takes the script of a user's message, if it has one. The last one counts.
func (p *prompt) heard(text string) {
	if i := strings.LastIndex(text, scriptMark); i >= 0 {
		p.script, p.taken = text[i+len(scriptMark)-1:], 0
	}
}

// scripted is the turn that the script is at: each call that the model has made since is a
// step that was taken. A call of a tool that the request does not have, such as in what an
// agent asks beside its work, and what comes after the last step, is a short text.
func (p *prompt) scripted(index int) output {
	var steps []step
	_ = json.NewDecoder(strings.NewReader(p.script)).Decode(&steps) // of what is no script nothing is left
	s := step{Say: "Done."}
	if p.taken < len(steps) {
		s = steps[p.taken]
	}
	if s.Call == "" || !slices.ContainsFunc(p.tools, func(f function) bool { return f.Name == s.Call }) {
		return output{text: tokenise(orSay(s.Say)), finish: "stop"}
	}
	arguments := string(s.Arguments)
	if arguments == "" {
		arguments = "{}"
	}
	return output{finish: "tool_calls", calls: []invocation{{
		id:   p.digest.identifier("call_", purpose(purposeCallID, index)),
		name: s.Call, arguments: arguments, pieces: tokenise(arguments),
	}}}
}

func orSay(text string) string {
	if text == "" {
		return "OK."
	}
	return text
}
