package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

const (
	defaultDimensions = 256
	maxDimensions     = 4096
	maxInputs         = 2048
	maxNumbers        = 1 << 21 // of all embeddings of a call
)

type embeddingRequest struct {
	Model      string `json:"model"`
	Input      inputs `json:"input"`
	Dimensions *int   `json:"dimensions"`
	Format     string `json:"encoding_format"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or base64 of them in little-endian order
}

// embeddings answers POST /v1/embeddings.
func embeddings(c *exchange) (answer, error) {
	var req embeddingRequest
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if err := c.use(req.Model, kindEmbed); err != nil {
		return answer{}, err
	}
	c.items = len(req.Input)
	dims := value(req.Dimensions, defaultDimensions)
	switch {
	case len(req.Input) == 0:
		return answer{}, badRequest("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	case len(req.Input) > maxInputs || dims*len(req.Input) > maxNumbers:
		return answer{}, badRequest("input", "array_above_max_length", "Invalid 'input': at most %d inputs are allowed, and %d inputs times dimensions.", maxInputs, maxNumbers)
	case dims < 1 || dims > maxDimensions:
		return answer{}, badRequest("dimensions", "invalid_value", "Invalid 'dimensions': expected a value from 1 to %d.", maxDimensions)
	case req.Format != "" && req.Format != "float" && req.Format != "base64":
		return answer{}, badRequest("encoding_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'float' and 'base64'.", req.Format)
	}
	// A number is 15 characters with its comma at most, and 13 as a rule.
	size := len(req.Input)*128 + len(req.Input)*dims*14
	c.room.take(size)
	tokens := 0
	body := append(make([]byte, 0, size), `{"object":"list","data":[`...)
	for i, text := range req.Input {
		if text == "" {
			return answer{}, badRequest("input", "invalid_value", "Invalid 'input': input cannot be an empty string.")
		}
		c.room.take(8 * len(text)) // its words
		tokens += countTokens(text)
		v := embed(c.server.seed, text, dims)
		one := embedding{Object: "embedding", Index: i, Embedding: v}
		if req.Format == "base64" {
			b, _ := binary.Append(nil, binary.LittleEndian, v) // cannot fail: the size is fixed
			one.Embedding = base64.StdEncoding.EncodeToString(b)
		}
		if i > 0 {
			body = append(body, ',')
		}
		body, _ = marshal(body, one) // cannot fail: all numbers are finite
	}
	body, err := marshal(append(body, `],"model":`...), c.model)
	return answer{contentType: typeJSON, body: fmt.Appendf(body, `,"usage":{"prompt_tokens":%d,"total_tokens":%[1]d}}`, tokens)}, err
}

// embed gives text a unit vector: the sum of one pseudo-random direction for
// each of its words. So texts that share words are near each other, as they
// are with a real model.
func embed(seed uint64, text string, dims int) []float32 {
	sum := make([]float64, dims)
	for _, word := range append(strings.Fields(strings.ToLower(text)), "") {
		r := newDigest(seed, strings.Trim(word, ".,;:!?\"'()")).rand(0)
		for i := range sum {
			sum[i] += r.Float64() - 0.5
		}
	}
	var square float64
	for _, x := range sum {
		square += x * x
	}
	out := make([]float32, dims)
	for i, x := range sum {
		out[i] = float32(x / math.Sqrt(square))
	}
	return out
}
