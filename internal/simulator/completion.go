package simulator

import (
	"encoding/json"
	"strconv"
	"strings"
)

type completionRequest struct {
	Model   string `json:"model"`
	Prompt  inputs `json:"prompt"`
	Stream  bool   `json:"stream"`
	Options struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N         *int  `json:"n"`
	Stop      texts `json:"stop"`
	MaxTokens *int  `json:"max_tokens"`
	Echo      bool  `json:"echo"`
	Seed      int64 `json:"seed"`
}

type completionReply struct {
	ID          string             `json:"id"`
	Object      string             `json:"object"`
	Created     int64              `json:"created"`
	Model       string             `json:"model"`
	Choices     []completionChoice `json:"choices"`
	Usage       *usage             `json:"usage,omitempty"`
	Fingerprint string             `json:"system_fingerprint"`
}

type completionChoice struct {
	Text     string  `json:"text"`
	Index    int     `json:"index"`
	Logprobs *string `json:"logprobs"` // always null
	Finish   *string `json:"finish_reason"`
}

// inputs is a prompt or an embedding's input: a string, several, one list of
// token numbers, or several. Numbers become words of their own.
type inputs []string

// UnmarshalJSON takes any of the four forms.
func (in *inputs) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*in = inputs{one}
		return nil
	}
	if json.Unmarshal(b, (*[]string)(in)) == nil {
		return nil
	}
	var numbers []int
	if json.Unmarshal(b, &numbers) == nil {
		*in = inputs{numbered(numbers)}
		return nil
	}
	var lists [][]int
	if err := json.Unmarshal(b, &lists); err != nil {
		return badRequest("input", "invalid_type", "The input has to be a string, an array of strings, or arrays of token numbers.")
	}
	*in = (*in)[:0]
	for _, l := range lists {
		*in = append(*in, numbered(l))
	}
	return nil
}

func numbered(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, " ")
}

// completion answers POST /v1/completions.
func completion(c *exchange) (answer, error) {
	var req completionRequest
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if err := c.use(req.Model, kindChat); err != nil {
		return answer{}, err
	}
	c.items = len(req.Prompt)
	n := value(req.N, 1)
	if n < 1 || n > maxChoices {
		return answer{}, badRequest("n", "invalid_value", "Invalid 'n': expected a value from 1 to %d.", maxChoices)
	}
	if len(req.Prompt) == 0 {
		req.Prompt = inputs{""}
	}
	outs, input, err := req.generate(c, n)
	if err != nil {
		return answer{}, err
	}
	reply := completionReply{
		ID:     newDigest(c.server.seed, req.Prompt...).identifier("cmpl-", purposeID),
		Object: "text_completion", Created: created, Model: c.model, Fingerprint: "fp_sim",
	}
	if req.Stream {
		return req.stream(reply, newUsage(input, outs), outs), nil
	}
	reply.Usage = newUsage(input, outs)
	for i := range outs {
		reply.Choices = append(reply.Choices, completionChoice{Text: strings.Join(outs[i].text, ""), Index: i, Finish: &outs[i].finish})
	}
	return jsonAnswer(reply)
}

// generate makes n choices for each prompt.
func (req *completionRequest) generate(c *exchange, n int) (outs []output, input int, err error) {
	for _, text := range req.Prompt {
		p := &prompt{
			room: &c.room, base: c.base, lastUser: text, stop: req.Stop, limit: value(req.MaxTokens, 0), exact: c.fault.Tokens,
			digest: newDigest(c.server.seed, c.base, strconv.FormatInt(req.Seed, 10), text),
		}
		input += countTokens(text)
		for i := range n {
			out, err := p.generate(i)
			if err != nil {
				return nil, 0, err
			}
			// This endpoint has no place for reasoning.
			out.reasoning = nil
			if req.Echo {
				c.room.take(32 * len(text))
				out.text = append(tokenise(text), out.text...)
			}
			outs = append(outs, out)
		}
	}
	return outs, input, nil
}

func (req *completionRequest) stream(chunk completionReply, total *usage, outs []output) answer {
	return eventAnswer(true, func(emit func(string, any) bool) {
		chunk.Choices = make([]completionChoice, 1)
		for step, open := 0, len(outs); open > 0; step++ {
			for i := range outs {
				choice := completionChoice{Index: i}
				switch {
				case step < len(outs[i].text):
					choice.Text = outs[i].text[step]
				case step == len(outs[i].text):
					choice.Finish = &outs[i].finish
					open--
				default:
					continue
				}
				chunk.Choices[0] = choice
				if !emit("", chunk) {
					return
				}
			}
		}
		if req.Options.IncludeUsage {
			chunk.Choices, chunk.Usage = []completionChoice{}, total
			emit("", chunk)
		}
	})
}
