package gemini

import (
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Embeddings is the API for embeddings: batchEmbedContents, or embedContent for One.
type Embeddings struct {
	Dialect
	One bool
}

// form is how its calls and replies are taken apart: an embedContent is one element of a
// batchEmbedContents, and has its vector.
func (e Embeddings) form() *embeddings.Form {
	f := &embeddings.Form{
		Op: llm.BatchEmbedContents, Shared: true, Objects: true, Vector: "values",
		Counts: [2]string{`,"usageMetadata":{"promptTokenCount":`}, CountsEnd: "}", End: "}",
	}
	if e.One {
		f.One, f.Head = "embedding", `{"embedding":`
	} else {
		f.Inputs, f.Data, f.Head, f.Tail = "requests", "embeddings", `{"embeddings":[`, "]"
	}
	return f
}

// ReadInputs implements dialect.Embedder.
func (e Embeddings) ReadInputs(v *dialect.Vectors, body []byte) error {
	if e.One {
		return e.input(v, body)
	}
	requests := dialect.OrNil(jsonscan.Member(body, "requests"))
	if !dialect.IsList(requests) {
		return refuse("requests", "requests is no list.")
	}
	for request := range jsonscan.ElementsOf(requests) {
		if len(v.Inputs) == dialect.MaxInputs {
			return refuse("requests", "There are more than %d requests.", dialect.MaxInputs)
		}
		if err := e.input(v, request); err != nil {
			return err
		}
	}
	if len(v.Inputs) == 0 {
		return refuse("requests", "There is no request.")
	}
	return nil
}

// input reads one request for a vector.
func (Embeddings) input(v *dialect.Vectors, body []byte) error {
	if !dialect.IsObject(body) {
		return refuse("requests", "A request is no object.")
	}
	var content, dimensions []byte
	for name, value := range jsonscan.MembersOf(body) {
		value = dialect.OrNil(value)
		switch name := string(name); name {
		case "model":
		case "content":
			content = value
		case "outputDimensionality", "output_dimensionality":
			dimensions = numberOf(value)
		default:
			if value != nil {
				v.Lost.Add(name)
			}
		}
	}
	if !dialect.IsObject(content) {
		return refuse("content", "content is missing.")
	}
	if len(v.Inputs) > 0 && string(dimensions) != string(v.Dimensions) {
		return refuse("outputDimensionality", "The model's service makes vectors of one length in a request. Send a request for each length.")
	}
	v.Dimensions = dimensions
	var texts [][]byte
	parts := jsonscan.Member(content, "parts")
	if dialect.IsObject(parts) { // as some clients send a lone one
		texts = append(texts, jsonscan.Member(parts, "text"))
	} else {
		for part := range jsonscan.ElementsOf(dialect.OrNil(parts)) {
			if !dialect.IsObject(part) {
				return refuse("content", "A part is no object.")
			}
			texts = append(texts, jsonscan.Member(part, "text"))
		}
	}
	for _, text := range texts {
		if !dialect.IsText(text) {
			return refuse("content", "The model's service embeds texts alone.")
		}
	}
	switch len(texts) {
	case 0:
		return refuse("content", "content has no parts.")
	case 1:
		v.Inputs = append(v.Inputs, texts[0])
	default:
		v.Inputs = append(v.Inputs, dialect.AppendJoined(nil, texts, ""))
	}
	return nil
}

// WriteInputs implements dialect.Embedder.
func (e Embeddings) WriteInputs(dst []byte, v *dialect.Vectors) dialect.Asked {
	from := len(dst)
	model := v.Model
	if !strings.Contains(model, "/") {
		model = "models/" + model
	}
	dst = append(dst, `{"requests":[`...)
	for i, text := range v.Inputs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsonscan.AppendString(append(dst, `{"model":`...), model)
		dst = append(append(append(dst, `,"content":{"parts":[{"text":`...), text...), "}]}"...)
		if v.Dimensions != nil {
			dst = append(append(dst, `,"outputDimensionality":`...), v.Dimensions...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, "]}"...)
	return dialect.Asked{Op: llm.BatchEmbedContents, Path: Path(v.Model, BatchEmbed), Body: dst[from:]}
}

// ReadLists implements dialect.Embedder.
func (Embeddings) ReadLists(v *dialect.Vectors, body []byte) bool {
	v.Lists = v.Lists[:0]
	for e := range jsonscan.ElementsOf(dialect.OrNil(jsonscan.Member(body, "embeddings"))) {
		if !dialect.IsObject(e) {
			return false
		}
		list := jsonscan.Member(e, "values")
		if !dialect.IsList(list) || len(v.Lists) == len(v.Inputs) {
			return false
		}
		v.Lists = append(v.Lists, list)
	}
	if usage := jsonscan.Member(body, "usageMetadata"); dialect.IsObject(usage) {
		if tokens := numberOf(jsonscan.Member(usage, "promptTokenCount")); tokens != nil {
			v.Tokens, v.Counted = dialect.Int(tokens), true
		}
	}
	return len(v.Lists) == len(v.Inputs)
}

// WriteLists implements dialect.Embedder.
func (e Embeddings) WriteLists(dst []byte, v *dialect.Vectors) ([]byte, error) {
	if e.One {
		dst = append(dst, `{"embedding":`...)
	} else {
		dst = append(dst, `{"embeddings":[`...)
	}
	for i, list := range v.Lists {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"values":`...), list...), '}')
	}
	if !e.One {
		dst = append(dst, ']')
	}
	if v.Counted {
		dst = append(appendInt(append(dst, `,"usageMetadata":{"promptTokenCount":`...), v.Tokens), '}')
	}
	return append(dst, '}'), nil
}
