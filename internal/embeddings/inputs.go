package embeddings

import (
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// MaxInputs bounds the inputs of a call that is taken apart. It is OpenAI's limit.
const MaxInputs = 2048

// Inputs are where the inputs of one call stand. The zero Inputs is ready for use,
// and one that was used can be used for another call.
type Inputs struct {
	Value llm.Span   // of the member that has them, in the body
	Items []llm.Span // of each input, in the body; in a lone one's place Value

	edits []llm.Replacement
}

// Split finds the inputs in the body of a call, which is valid JSON: a string, an
// array of token numbers, or an array of those; or an array of objects, or the object
// that the body is, as the API's form has it. It is false for anything else, as
// for no input or more than MaxInputs, which is the upstream's to judge. Of a body
// with several members of the name it takes the first; an upstream may take another.
func (in *Inputs) Split(f *Form, body []byte) bool {
	if f.Inputs == "" {
		from, end := 0, len(body)
		for from < end && body[from] <= ' ' {
			from++
		}
		for end > from && body[end-1] <= ' ' {
			end--
		}
		in.Value = llm.Span{Start: from, End: end}
		in.Items = append(in.Items[:0], in.Value)
		return from < end && body[from] == '{'
	}
	value, ok := jsonscan.Get(body, f.Inputs)
	if ok && f.Objects {
		return body[value.Start] == '[' && in.split(body, value, MaxInputs, isObject)
	}
	return ok && in.SplitAt(body, value, MaxInputs)
}

// SplitAt is Split for the value of another member, such as the prompts of a
// completion, that is known already, and has at most so many inputs.
func (in *Inputs) SplitAt(body []byte, value llm.Span, most int) bool {
	if isInput(body[value.Start:value.End]) {
		in.Items, in.Value = append(in.Items[:0], value), value
		return true
	}
	return in.split(body, value, most, isInput)
}

// split finds the inputs in a list, each of which has to be one.
func (in *Inputs) split(body []byte, value llm.Span, most int, isOne func(raw []byte) bool) bool {
	in.Items, in.Value = in.Items[:0], value
	raw := body[in.Value.Start:in.Value.End]
	sound := true
	jsonscan.Elements(raw, func(v llm.Span) bool {
		sound = len(in.Items) < most && isOne(raw[v.Start:v.End])
		if sound {
			in.Items = append(in.Items, llm.Span{Start: in.Value.Start + v.Start, End: in.Value.Start + v.End})
		}
		return sound
	})
	return sound && len(in.Items) > 0
}

func isObject(raw []byte) bool { return raw[0] == '{' }

// isInput reports whether a JSON value is one input.
func isInput(raw []byte) bool { return raw[0] == '"' || isTokens(raw) }

// isTokens reports whether a JSON value is an array of token numbers.
func isTokens(raw []byte) bool {
	if raw[0] != '[' {
		return false
	}
	digits := 0
	for _, c := range raw[1 : len(raw)-1] {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c != ',' && c > ' ':
			return false
		}
	}
	return digits > 0
}

// With gives a copy of the call that was split with a list of other inputs, each of
// them JSON, and all else as it is. They may be some of its own or another call's.
// dst and the error are as in llm.Request.Edit.
func (in *Inputs) With(dst []byte, req *llm.Request, inputs [][]byte) (llm.Request, error) {
	around := []byte("[,]")
	behind := llm.Span{Start: in.Value.End, End: in.Value.End}
	edits := append(in.edits[:0], llm.Replacement{Span: in.Value, With: around[:1]})
	for i, input := range inputs {
		if i > 0 {
			edits = append(edits, llm.Replacement{Span: behind, With: around[1:2]})
		}
		edits = append(edits, llm.Replacement{Span: behind, With: input})
	}
	edits = append(edits, llm.Replacement{Span: behind, With: around[2:]})
	made, err := req.Edit(dst, edits)
	clear(edits) // they would keep bodies alive
	in.edits = edits
	return made, err
}
