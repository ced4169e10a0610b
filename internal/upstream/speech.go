package upstream

import "sluice/internal/llm"

// Speech is which operations services of a protocol know by themselves, besides the lists
// of models and what is handed on as it came. Conversations in another dialect are
// translated.
type Speech struct {
	Native []llm.Operation

	// Perhaps are operations that some services of the protocol know and others do not.
	Perhaps []llm.Operation

	// Asks is the operation that conversations of other dialects become.
	Asks llm.Operation

	// CompletionTokens is that the service calls the limit of a reply of Chat Completions
	// "max_completion_tokens", and not "max_tokens".
	CompletionTokens bool
}

// Speaker are Settings that say it. Services of all others know Chat Completions,
// completions and embeddings.
type Speaker interface {
	Speech() Speech
}

// SpeechOf is what services of an upstream's settings know.
func SpeechOf(s Settings) Speech {
	if speaker, ok := s.(Speaker); ok {
		return speaker.Speech()
	}
	return Speech{Native: []llm.Operation{llm.Chat, llm.Completion, llm.Embedding}, Asks: llm.Chat}
}

// Unoffered is the error of a request that another upstream may take, and services of a
// protocol do not, however often it is sent. api says how they are asked, and op what they
// lack. It stands apart from its callers, for what makes it up would be on the stack of every
// stream.
//
//go:noinline
func Unoffered(name, api string, op llm.Operation) error {
	what := "has nothing at this address"
	if route := op.Route(); route != "" {
		what = "has no " + route
	}
	e := llm.UpstreamError(name, llm.Declined, 501, "not_supported", "Upstream %s is asked by "+api+", which "+what+".", nil)
	e.Type, e.Unprocessed, e.Unoffered, e.Advice = llm.TypeInvalidRequest, true, true, llm.DoNotRetry
	return e
}
