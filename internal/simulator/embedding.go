package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
)

const (
	defaultDimensions = 256
	maxDimensions     = 4096
	maxInputs         = 2048
)

type embeddingRequest struct {
	Model      string `json:"model"`
	Input      inputs `json:"input"`
	Dimensions *int   `json:"dimensions"`
	Format     string `json:"encoding_format"`
}

type embeddingReply struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  struct {
		PromptTokens int `json:"prompt_tokens"`
		TotalTokens  int `json:"total_tokens"`
	} `json:"usage"`
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
	case len(req.Input) > maxInputs:
		return answer{}, badRequest("input", "array_above_max_length", "Invalid 'input': at most %d inputs are allowed.", maxInputs)
	case dims < 1 || dims > maxDimensions:
		return answer{}, badRequest("dimensions", "invalid_value", "Invalid 'dimensions': expected a value from 1 to %d.", maxDimensions)
	case req.Format != "" && req.Format != "float" && req.Format != "base64":
		return answer{}, badRequest("encoding_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'float' and 'base64'.", req.Format)
	}
	reply := embeddingReply{Object: "list", Model: c.model, Data: make([]embedding, len(req.Input))}
	for i, text := range req.Input {
		if text == "" {
			return answer{}, badRequest("input", "invalid_value", "Invalid 'input': input cannot be an empty string.")
		}
		reply.Usage.PromptTokens += countTokens(text)
		v := embed(c.server.seed, text, dims)
		reply.Data[i] = embedding{Object: "embedding", Index: i, Embedding: v}
		if req.Format == "base64" {
			b, _ := binary.Append(nil, binary.LittleEndian, v) // cannot fail: the size is fixed
			reply.Data[i].Embedding = base64.StdEncoding.EncodeToString(b)
		}
	}
	reply.Usage.TotalTokens = reply.Usage.PromptTokens
	return jsonAnswer(reply)
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
