package responses

import (
	"bytes"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// echoed are the members of a request that its replies repeat, with what they are where the
// request does not say: nothing of those whose description has no null.
var echoed = [...]struct{ name, otherwise string }{
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"parallel_tool_calls", "true"},
	{"prompt_cache_key", ""},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", ""},
	{"service_tier", `"auto"`},
	{"temperature", "1.0"},
	{"text", `{"format":{"type":"text"}}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_logprobs", "0"},
	{"top_p", "1.0"},
	{"truncation", `"disabled"`},
	{"user", ""},
	{"metadata", "{}"},
}

// appendEcho appends what a reply repeats of its request, in one line, and what is kept of the
// conversation, which the gateway says. tools are those of the request.
func appendEcho(dst, request []byte, t *llm.Thread) (out, tools []byte) {
	var values [len(echoed)][]byte
	for name, v := range jsonscan.MembersOf(request) {
		for i := range echoed {
			if echoed[i].name == string(name) {
				values[i] = dialect.OrNil(v)
			}
		}
	}
	for i := range echoed {
		if values[i] == nil && echoed[i].otherwise == "" {
			continue
		}
		dst = append(append(append(dst, ',', '"'), echoed[i].name...), `":`...)
		switch v := values[i]; {
		case v == nil:
			dst = append(dst, echoed[i].otherwise...)
		case echoed[i].name == "tools":
			tools = v
			dst = appendTools(dst, v)
		case echoed[i].name == "text" && jsonscan.Member(v, "format") == nil:
			dst = appendFilled(dst, v, `"format":{"type":"text"}`)
		default:
			dst = dialect.AppendLine(dst, v)
		}
	}
	dst = jsonscan.AppendStringOrNull(append(dst, `,"background":false,"previous_response_id":`...), t.Previous)
	return strconv.AppendBool(append(dst, `,"store":`...), t.ID != ""), tools
}

// appendFilled appends an object with members that it lacks, or has as null: the last of members
// that share a name counts.
func appendFilled(dst, v []byte, members string) []byte {
	if !dialect.IsObject(v) {
		return dialect.AppendLine(dst, v)
	}
	dst = dialect.AppendLine(dst, v[:len(v)-1])
	if !emptyObject(v) {
		dst = append(dst, ',')
	}
	return append(append(dst, members...), '}')
}

// appendTools appends tools, of which functions have all members that are required of them
// in a reply.
func appendTools(dst, list []byte) []byte {
	dst = append(dst, '[')
	n := 0
	for t := range jsonscan.ElementsOf(list) {
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		missing := ""
		if dialect.Is(jsonscan.Member(t, "type"), "function") {
			switch parameters, strict := has(t, "parameters"), has(t, "strict"); {
			case !parameters && !strict:
				missing = `"parameters":null,"strict":false`
			case !parameters:
				missing = `"parameters":null`
			case !strict:
				missing = `"strict":false`
			}
		}
		if missing == "" {
			dst = dialect.AppendLine(dst, t)
		} else {
			dst = appendFilled(dst, t, missing)
		}
	}
	return append(dst, ']')
}

// has reports whether an object has a member, be it null.
func has(v []byte, name string) bool {
	for n := range jsonscan.MembersOf(v) {
		if string(n) == name {
			return true
		}
	}
	return false
}

// otherTool is a tool of the client's request that is no function, though the service was
// told of one.
type otherTool struct {
	name []byte // a text
	kind itemKind
}

// otherTools gives those of a list, with their names in room of their own.
func otherTools(to []otherTool, list []byte) []otherTool {
	for t := range jsonscan.ElementsOf(list) {
		switch kind := jsonscan.Member(t, "type"); {
		case dialect.Is(kind, "custom"):
			if name := dialect.TextOf(jsonscan.Member(t, "name")); name != nil {
				to = append(to, otherTool{bytes.Clone(name), customItem})
			}
		case dialect.Is(kind, localShell):
			to = append(to, otherTool{[]byte(`"` + localShell + `"`), shellItem})
		}
	}
	return to
}
