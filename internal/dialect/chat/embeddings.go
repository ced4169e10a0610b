package chat

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Embeddings is OpenAI's API for embeddings.
type Embeddings struct{ Dialect }

// inputs is how its calls and replies are taken apart.
func inputs() *embeddings.Form {
	return &embeddings.Form{
		Op: llm.Embedding, Inputs: "input", Data: "data", Vector: "embedding", Index: "index",
		Head: `{"object":"list","data":[`, Tail: "]", Model: `,"model":`,
		Counts: [2]string{`,"usage":{"prompt_tokens":`, `,"total_tokens":`}, CountsEnd: "}", End: "}",
	}
}

// ReadInputs implements dialect.Embedder.
func (Embeddings) ReadInputs(v *dialect.Vectors, body []byte) error {
	var input []byte
	for name, value := range jsonscan.MembersOf(body) {
		value = dialect.OrNil(value)
		switch name := string(name); name {
		case "model":
		case "input":
			input = value
		case "dimensions":
			v.Dimensions = value
		case "encoding_format":
			switch v.Base64 = dialect.Is(value, "base64"); {
			case v.Base64, value == nil, dialect.Is(value, "float"):
			default:
				return refuse(name, "encoding_format is neither float nor base64.")
			}
		default:
			if value != nil {
				v.Lost.Add(name)
			}
		}
	}
	switch {
	case dialect.IsText(input):
		v.Inputs = append(v.Inputs, input)
	case dialect.IsList(input):
		for text := range jsonscan.ElementsOf(input) {
			if !dialect.IsText(text) {
				return refuse("input", "The model's service embeds texts, and no tokens. Send strings.")
			}
			if len(v.Inputs) == dialect.MaxInputs {
				return refuse("input", "There are more than %d inputs.", dialect.MaxInputs)
			}
			v.Inputs = append(v.Inputs, text)
		}
	}
	if len(v.Inputs) == 0 {
		return refuse("input", "input is neither a string nor a list of some.")
	}
	if v.Dimensions != nil && !dialect.IsNumber(v.Dimensions) {
		return refuse("dimensions", "dimensions is no number.")
	}
	return nil
}

// WriteInputs implements dialect.Embedder.
func (Embeddings) WriteInputs(dst []byte, v *dialect.Vectors) dialect.Asked {
	from := len(dst)
	dst = append(dst, `{"model":`...)
	model := llm.Span{Start: len(dst) - from}
	dst = jsonscan.AppendString(dst, v.Model)
	model.End = len(dst) - from
	dst = append(dst, `,"input":[`...)
	for i, text := range v.Inputs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, text...)
	}
	dst = append(dst, ']')
	if v.Dimensions != nil {
		dst = append(append(dst, `,"dimensions":`...), v.Dimensions...)
	}
	dst = append(dst, `,"encoding_format":"float"}`...)
	return dialect.Asked{Op: llm.Embedding, Path: llm.Embedding.Route(), Body: dst[from:], Model: model}
}

// ReadLists implements dialect.Embedder.
func (Embeddings) ReadLists(v *dialect.Vectors, body []byte) bool {
	v.Lists = v.Lists[:0]
	for range v.Inputs {
		v.Lists = append(v.Lists, nil)
	}
	n := 0
	for element := range jsonscan.ElementsOf(dialect.OrNil(jsonscan.Member(body, "data"))) {
		at := int64(n)
		if index := dialect.OrNil(jsonscan.Member(element, "index")); index != nil {
			at = dialect.Int(index)
		}
		list := jsonscan.Member(element, "embedding")
		if at < 0 || at >= int64(len(v.Lists)) || v.Lists[at] != nil || !dialect.IsList(list) {
			return false
		}
		v.Lists[at] = list
		n++
	}
	if usage := jsonscan.Member(body, "usage"); dialect.IsObject(usage) {
		if tokens := jsonscan.Member(usage, "prompt_tokens"); dialect.IsNumber(tokens) {
			v.Tokens, v.Counted = dialect.Int(tokens), true
		}
	}
	return n == len(v.Inputs)
}

// WriteLists implements dialect.Embedder.
func (Embeddings) WriteLists(dst []byte, v *dialect.Vectors) ([]byte, error) {
	dst = append(dst, `{"object":"list","data":[`...)
	for i, list := range v.Lists {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(strconv.AppendInt(append(dst, `{"object":"embedding","index":`...), int64(i), 10), `,"embedding":`...)
		if v.Base64 {
			var err error
			if dst, err = appendBase64(dst, list); err != nil {
				return dst, err
			}
		} else {
			dst = append(dst, list...)
		}
		dst = append(dst, '}')
	}
	dst = jsonscan.AppendString(append(dst, `],"model":`...), v.Model)
	dst = strconv.AppendInt(append(dst, `,"usage":{"prompt_tokens":`...), v.Tokens, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), v.Tokens, 10)
	return append(dst, "}}"...), nil
}

// appendBase64 appends a list of numbers as OpenAI's API encodes it: as little-endian 32-bit
// numbers, in base64.
func appendBase64(dst, list []byte) ([]byte, error) {
	var raw []byte
	for number := range jsonscan.ElementsOf(list) {
		f, err := strconv.ParseFloat(string(number), 32)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return dst, err
		}
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), raw), '"'), nil
}
