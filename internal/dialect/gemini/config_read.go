package gemini

import (
	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

func (r *requestReader) tools(v []byte) error {
	if !dialect.IsList(v) && !dialect.IsObject(v) {
		return refuse("tools", "\"tools\" is not a list.")
	}
	for one := range r.c.Each(r.list(v)) {
		if err := r.tool(one); err != nil {
			return err
		}
	}
	return nil
}

// tool reads functions, and tools that the service itself has.
func (r *requestReader) tool(v []byte) error {
	for name, one := range jsonscan.MembersOf(v) {
		if one = dialect.OrNil(one); one == nil {
			continue
		}
		if string(name) != "functionDeclarations" && string(name) != "function_declarations" {
			if !r.c.Counted() {
				return nil
			}
			r.c.Tools = append(r.c.Tools, dialect.Tool{Raw: v, Name: r.keep(jsonscan.AppendString(r.room, string(name)))})
			continue
		}
		for f := range r.c.Each(r.list(one)) {
			if err := r.function(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *requestReader) function(v []byte) error {
	t := dialect.Tool{}
	var schema []byte // in JSON's own form, which is taken before the API's
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "name":
			t.Name = dialect.TextOf(v)
		case "description":
			t.Description = dialect.TextOf(v)
		case "parameters":
			if schema != nil {
				continue
			}
			if !dialect.IsObject(v) {
				r.c.Lost.AddName(name)
				continue
			}
			t.Schema = r.keep(appendSchema(r.room, v))
		case "parametersJsonSchema", "parameters_json_schema":
			if schema = dialect.ObjectOf(v); schema == nil {
				r.c.Lost.AddName(name)
				continue
			}
			t.Schema = schema
		default:
			r.c.Lost.AddName(name)
		}
	}
	if t.Name == nil {
		return refuse("tools", "A function of \"tools\" has no name.")
	}
	r.c.Tools = append(r.c.Tools, t)
	return nil
}

func (r *requestReader) toolConfig(v []byte) error {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "functionCallingConfig", "function_calling_config":
			if err := r.choice(v); err != nil {
				return err
			}
		default:
			r.c.Lost.AddName(name)
		}
	}
	return nil
}

func (r *requestReader) choice(v []byte) error {
	var mode, only []byte
	allowed := 0
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); string(name) {
		case "mode":
			mode = v
		case "allowedFunctionNames", "allowed_function_names":
			for one := range r.c.Each(v) {
				only = dialect.TextOf(one)
				allowed++
			}
		}
	}
	to := &r.c.ToolChoice
	switch dialect.String(mode) {
	case "", "MODE_UNSPECIFIED":
	case "AUTO":
		to.Mode = dialect.ToolsAuto
	case "VALIDATED": // arguments are as the schemas have them: "strict" elsewhere
		to.Mode = dialect.ToolsAuto
		r.c.Lost.Add("strict")
	case "NONE":
		to.Mode = dialect.ToolsNone
	case "ANY":
		to.Mode = dialect.ToolsRequired
		if allowed == 1 && only != nil {
			to.Mode, to.Name = dialect.OneTool, only
			allowed = 0
		}
	default:
		return refuse("toolConfig", "The mode of \"functionCallingConfig\" is none of \"AUTO\", \"ANY\", \"NONE\" and \"VALIDATED\".")
	}
	if allowed > 0 {
		r.c.Lost.Add("allowedFunctionNames")
	}
	return nil
}

// generation reads generationConfig.
func (r *requestReader) generation(v []byte) error {
	if !dialect.IsObject(v) {
		return refuse("generationConfig", "\"generationConfig\" is not an object.")
	}
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		if to := r.number(string(name)); to != nil {
			if *to = numberOf(v); *to == nil {
				return refuse("generationConfig."+string(name), "%q is not a number.", name)
			}
			continue
		}
		if err := r.generated(string(name), v); err != nil {
			return err
		}
	}
	r.format()
	return nil
}

// number gives where a member belongs that is a number, nil for any other.
func (r *requestReader) number(name string) *[]byte {
	c := r.c
	switch name {
	case "temperature":
		return &c.Temperature
	case "topP", "top_p":
		return &c.TopP
	case "topK", "top_k":
		return &c.TopK
	case "candidateCount", "candidate_count":
		return &c.Count
	case "maxOutputTokens", "max_output_tokens":
		return &c.MaxTokens
	case "seed":
		return &c.Seed
	case "presencePenalty", "presence_penalty":
		return &c.PresencePenalty
	case "frequencyPenalty", "frequency_penalty":
		return &c.FrequencyPenalty
	case "logprobs":
		return &c.TopLogprobs
	}
	return nil
}

func (r *requestReader) generated(name string, v []byte) error {
	c := r.c
	switch name {
	case "stopSequences", "stop_sequences":
		for one := range r.c.Each(r.list(v)) {
			if !dialect.IsText(one) {
				return refuse("generationConfig.stopSequences", "\"stopSequences\" is not a list of strings.")
			}
			c.Stop = append(c.Stop, one)
		}
	case "responseMimeType", "response_mime_type":
		switch dialect.String(v) {
		case "application/json":
			c.Format.Mode = dialect.JSONFormat
		case "text/plain", "":
		default:
			c.Lost.Add("response_format")
		}
	case "responseSchema", "response_schema":
		r.schema = v
	case "responseJsonSchema", "response_json_schema", "_responseJsonSchema":
		if c.Format.Schema = dialect.ObjectOf(v); c.Format.Schema == nil {
			c.Lost.Add("response_format")
		}
	case "responseLogprobs", "response_logprobs":
		c.Logprobs = switchOf(v)
	case "thinkingConfig", "thinking_config":
		r.thinking(v)
	case "responseModalities", "response_modalities":
		for one := range r.c.Each(v) {
			if !dialect.Is(one, "TEXT") && !dialect.Is(one, "Text") && !dialect.Is(one, "text") {
				c.Lost.Add("modalities")
			}
		}
	default:
		c.Lost.Add(name)
	}
	return nil
}

// format makes one of what was said of the format.
func (r *requestReader) format() {
	f := &r.c.Format
	if f.Schema == nil && dialect.IsObject(r.schema) {
		f.Schema = r.keep(appendSchema(r.room, r.schema))
	}
	if f.Schema != nil {
		f.Mode = dialect.SchemaFormat
	}
}

func (r *requestReader) thinking(v []byte) {
	to := &r.c.Reasoning
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "thinkingBudget", "thinking_budget":
			switch n := intOf(v); {
			case n > 0:
				to.Mode, to.Budget = dialect.On, numberOf(v)
			case n < 0: // as much as it likes
				to.Mode = dialect.On
			default:
				to.Mode = dialect.Off
			}
		case "thinkingLevel", "thinking_level":
			to.Effort = effortOf(v)
		case "includeThoughts", "include_thoughts":
			if string(v) == "true" {
				to.Summary = []byte(`"auto"`)
			}
		default:
			r.c.Lost.AddName(name)
		}
	}
}

// effortOf is the effort that a level of thinking is.
func effortOf(level []byte) []byte {
	switch dialect.String(level) {
	case "MINIMAL", "minimal":
		return []byte(`"minimal"`)
	case "LOW", "low":
		return []byte(`"low"`)
	case "MEDIUM", "medium":
		return []byte(`"medium"`)
	case "HIGH", "high":
		return []byte(`"high"`)
	default:
		return nil
	}
}
