package llm

// Operation says what a request asks for.
type Operation uint8

// The operations that Sluice knows. Everything else is a Passthrough.
const (
	Passthrough Operation = iota
	Chat
	Completion
	Embedding
	Response
	Messages           // Anthropic's
	CountTokens        // of Messages
	GenerateContent    // Google's, streamed or not
	CountContentTokens // of GenerateContent
	EmbedContent       // Google's, of one input
	BatchEmbedContents // of several
	CountInputTokens   // of Response
	ListModels
	GetModel

	Operations // how many there are: the length of any table of them
)

var operationNames = [Operations]string{
	Passthrough: "passthrough",
	Chat:        "chat", Completion: "text_completion", Embedding: "embeddings", Response: "responses", Messages: "messages", CountTokens: "count_tokens",
	GenerateContent: "generate_content", CountContentTokens: "count_content_tokens",
	EmbedContent: "embed_content", BatchEmbedContents: "batch_embed_contents", CountInputTokens: "count_input_tokens",
	ListModels: "list_models", GetModel: "get_model",
}

var operationRoutes = [Operations]string{
	Chat: "/v1/chat/completions", Completion: "/v1/completions", Embedding: "/v1/embeddings", Response: "/v1/responses", Messages: "/v1/messages", CountTokens: "/v1/messages/count_tokens",
	GenerateContent: "/v1beta/models/{model}:generateContent", CountContentTokens: "/v1beta/models/{model}:countTokens",
	EmbedContent: "/v1beta/models/{model}:embedContent", BatchEmbedContents: "/v1beta/models/{model}:batchEmbedContents", CountInputTokens: "/v1/responses/input_tokens",
	ListModels: "/v1/models", GetModel: "/v1/models/{model}",
}

// Known is op, or Passthrough in place of what is no operation: the index of op in
// a table.
func (op Operation) Known() Operation {
	if op >= Operations {
		return Passthrough
	}
	return op
}

// NamesInPath reports whether requests name their model in the path, and nothing of them in
// the body.
func (op Operation) NamesInPath() bool {
	switch op {
	case GenerateContent, CountContentTokens, EmbedContent, BatchEmbedContents, GetModel:
		return true
	default:
		return false
	}
}

// String gives the operation's name as it stands in metrics and logs, from
// the OpenTelemetry GenAI convention where that has one.
func (op Operation) String() string { return operationNames[op.Known()] }

// Route gives the path of the operation's requests, in which {model} stands for a
// name; "" for Passthrough, which has all others.
func (op Operation) Route() string { return operationRoutes[op.Known()] }
