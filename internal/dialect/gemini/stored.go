package gemini

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// stored implements dialect.Storable for generateContent.
type stored struct{}

// The members that Stateful looks at.
const (
	withTools dialect.Members = dialect.Own << iota
	withContent
)

func (*stored) Member(name []byte) dialect.Members {
	switch string(name) {
	case "tools":
		return withTools
	case "cachedContent", "cached_content":
		return withContent
	default:
		return dialect.MemberOf(name)
	}
}

func (*stored) Keeps() bool { return false }

func (*stored) Stateful(body []byte, seen dialect.Members) bool {
	return seen&withContent != 0 || seen&withTools != 0 && acts(body)
}

// acts is dialect.Acts for tools that have their kind as the name of a member.
func acts(body []byte) bool {
	tools := jsonscan.Member(body, "tools")
	if tools == nil {
		return false
	}
	if !dialect.IsList(tools) {
		return true
	}
	for tool := range jsonscan.ElementsOf(tools) {
		if !dialect.IsObject(tool) {
			return true
		}
		for kind := range jsonscan.MembersOf(tool) {
			switch string(kind) {
			case "functionDeclarations", "function_declarations", "computerUse", "computer_use", // the client's
				"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "googleMaps", "google_maps",
				"urlContext", "url_context", "fileSearch", "file_search", "enterpriseWebSearch", "retrieval":
			default:
				return true
			}
		}
	}
	return false
}

func (*stored) Deterministic(body []byte) bool {
	settings := jsonscan.Member(body, "generationConfig")
	if settings == nil {
		settings = jsonscan.Member(body, "generation_config")
	}
	return dialect.Seeded(settings)
}

func (s *stored) Complete(body []byte, _ llm.Outline) bool { return s.Last(body) }

// Last is the same of a whole reply and of an event: of several candidates nobody knows which
// event is the last.
func (*stored) Last(data []byte) bool {
	n, ended := 0, false
	for candidate := range jsonscan.ElementsOf(jsonscan.Member(data, "candidates")) {
		n++
		reason := jsonscan.Member(candidate, "finishReason")
		ended = dialect.Is(reason, "STOP") || dialect.Is(reason, "MAX_TOKENS")
	}
	return n == 1 && ended && jsonscan.Member(data, "usageMetadata") != nil
}

// Replay makes one event, which is what a whole reply is.
func (*stored) Replay(w dialect.Replay, body []byte, _ bool) (dialect.Replay, bool) {
	if jsonscan.Member(body, "candidates") == nil || jsonscan.Member(body, "error") != nil {
		return w, false
	}
	w.Text("data: ")
	w.JSON(bytes.TrimSpace(body))
	w.EndEvent()
	return w, true
}

// storedVectors implements dialect.Storable for embeddings. Their replies are kept by input,
// which for one is the whole request.
type storedVectors struct {
	stored
	one bool
}

func (s *storedVectors) Member(name []byte) dialect.Members {
	switch {
	case s.one:
		return dialect.Delivery
	case string(name) == "requests":
		return dialect.Inputs
	default:
		return dialect.MemberOf(name)
	}
}

func (*storedVectors) Deterministic([]byte) bool { return true }

func (*storedVectors) Complete([]byte, llm.Outline) bool { return false }

func (*storedVectors) Replay(w dialect.Replay, _ []byte, _ bool) (dialect.Replay, bool) {
	return w, false
}
