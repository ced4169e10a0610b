package chat

import (
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// stored implements dialect.Storable for completions, and for chats.
type stored struct{ chat bool }

const withTools = dialect.Own

func (s *stored) Member(name []byte) dialect.Members {
	if s.chat {
		switch string(name) {
		case "store":
			return dialect.Store
		case "tools":
			return withTools
		}
	}
	return dialect.MemberOf(name)
}

func (*stored) Keeps() bool { return false }

// Stateful goes by the types of tools. OpenAI's are the client's alone; other services have
// some of their own, which may be whatever they like.
func (*stored) Stateful(body []byte, seen dialect.Members) bool {
	return seen&withTools != 0 && dialect.Acts(body,
		[]string{"", "function", "custom", // the client's
			"web_search", "browser_search", "file_search", "retrieval"},
		[]string{"web_search_"})
}

func (*stored) Deterministic(body []byte) bool { return dialect.Seeded(body) }

func (*stored) Complete(_ []byte, said llm.Outline) bool { return said.Choices }

func (*stored) Last(data []byte) bool { return sse.IsDone(data) }

func (s *stored) Replay(w dialect.Replay, body []byte, usage bool) (dialect.Replay, bool) {
	c := replayed{Replay: w, chat: s.chat, usage: usage}
	ok := c.reply(body)
	return c.Replay, ok
}

// storedVectors implements dialect.Storable for embeddings. Their replies are kept by input.
type storedVectors struct{ stored }

func (s *storedVectors) Member(name []byte) dialect.Members {
	if string(name) == "input" {
		return dialect.Inputs
	}
	return s.stored.Member(name)
}

func (*storedVectors) Deterministic([]byte) bool { return true }

func (*storedVectors) Complete([]byte, llm.Outline) bool { return false }

func (*storedVectors) Replay(w dialect.Replay, _ []byte, _ bool) (dialect.Replay, bool) {
	return w, false
}
