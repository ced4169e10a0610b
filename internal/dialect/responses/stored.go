package responses

import (
	"bytes"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// stored implements dialect.Storable.
type stored struct{}

// The members that Stateful looks at.
const (
	withBackground dialect.Members = dialect.Own << iota
	withConversation
	withPrevious
	withPrompt
	withTools
)

// Member has no asker: replies repeat those.
func (*stored) Member(name []byte) dialect.Members {
	switch string(name) {
	case "store":
		return dialect.Store
	case "background":
		return withBackground
	case "conversation":
		return withConversation
	case "previous_response_id":
		return withPrevious
	case "prompt":
		return withPrompt
	case "tools":
		return withTools
	default:
		return dialect.MemberOf(name) &^ dialect.Asker
	}
}

func (*stored) Keeps() bool { return true }

func (*stored) Stateful(body []byte, seen dialect.Members) bool {
	return continues(body, seen) || refers(body) ||
		// Some tools are the client's, others read alone; a later version of one, as
		// web_search_2025_08_26, reads as well.
		seen&withTools != 0 && dialect.Acts(body,
			[]string{"function", "custom", "namespace", "apply_patch", "local_shell", "computer", "computer_use_preview", // the client's
				"web_search", "web_search_preview", "file_search", "image_generation", "tool_search"},
			[]string{"web_search_", "computer_use_preview_"})
}

// continues reports whether a request goes on from what the service keeps, or is
// worked on later.
func continues(body []byte, seen dialect.Members) bool {
	if seen&withBackground != 0 {
		if v := jsonscan.Member(body, "background"); v != nil && string(v) != "false" {
			return true
		}
	}
	if seen&withConversation != 0 && jsonscan.Member(body, "conversation") != nil ||
		seen&withPrevious != 0 && jsonscan.Member(body, "previous_response_id") != nil {
		return true
	}
	if seen&withPrompt == 0 {
		return false
	}
	// A template without its version is whatever it is by then.
	prompt := jsonscan.Member(body, "prompt")
	return prompt != nil && jsonscan.Member(prompt, "version") == nil
}

// refers reports whether the input may have an item that stands for one that the
// service keeps. Its type may be left out, and then it has an id and no role. The
// same words in a text cost a miss.
func refers(body []byte) bool {
	if bytes.Contains(body, []byte("item_reference")) {
		return true
	}
	if !bytes.Contains(body, []byte(`"id"`)) {
		return false
	}
	for item := range jsonscan.ElementsOf(jsonscan.Member(body, "input")) {
		if jsonscan.Member(item, "id") != nil && jsonscan.Member(item, "type") == nil && jsonscan.Member(item, "role") == nil {
			return true
		}
	}
	return false
}

func (*stored) Deterministic(body []byte) bool { return dialect.Seeded(body) }

func (*stored) Complete(body []byte, said llm.Outline) bool {
	return said.Output && finished(dialect.String(said.Status.Of(body)))
}

func finished(status string) bool { return status == "completed" || status == "incomplete" }

// Last goes by an event's own word, and not only by its name.
func (*stored) Last(data []byte) bool {
	kind, ok := strings.CutPrefix(dialect.String(jsonscan.Member(data, "type")), "response.")
	return ok && finished(kind)
}

func (*stored) Replay(w dialect.Replay, body []byte, _ bool) (dialect.Replay, bool) {
	r := replay{Replay: w}
	ok := r.reply(bytes.TrimSpace(body))
	return r.Replay, ok
}
