package gemini

import (
	"strings"

	"sluice/internal/dialect"
)

func (w *requestWriter) tools() {
	n := 0
	for i := range w.c.Tools {
		t := &w.c.Tools[i]
		if t.Raw != nil {
			w.c.Lost.Add(dialect.String(t.Name))
			continue
		}
		if n++; n == 1 {
			w.append(`,"tools":[{"functionDeclarations":[`)
		} else {
			w.append(",")
		}
		w.append(`{"name":`)
		w.list.b = append(w.list.b, dialect.OrEmpty(t.Name)...)
		w.member("description", t.Description)
		if dialect.IsObject(t.Schema) {
			w.member("parametersJsonSchema", t.Schema)
		}
		w.append("}")
		w.lose("cache_control", t.CacheControl)
		if t.Strict == dialect.On {
			w.c.Lost.Add("strict")
		}
	}
	if n == 0 {
		return
	}
	w.append("]}]")
	w.choice()
}

func (w *requestWriter) choice() {
	const config = `,"toolConfig":{"functionCallingConfig":{"mode":`
	choice := &w.c.ToolChoice
	switch choice.Mode {
	case dialect.ToolsUnset:
	case dialect.ToolsAuto:
		w.append(config + `"AUTO"}}`)
	case dialect.ToolsNone:
		w.append(config + `"NONE"}}`)
	case dialect.ToolsRequired:
		w.append(config + `"ANY"}}`)
	case dialect.OneTool:
		w.append(config + `"ANY","allowedFunctionNames":[`)
		w.list.b = append(w.list.b, dialect.OrEmpty(choice.Name)...)
		w.append(`]}}`)
	}
	if w.c.Parallel == dialect.Off {
		w.c.Lost.Add("parallel_tool_calls")
	}
}

func (w *requestWriter) settings() {
	c := w.c
	w.append(`,"generationConfig":{`)
	w.from = len(w.list.b)
	w.setting("temperature", c.Temperature)
	w.setting("topP", c.TopP)
	w.setting("topK", c.TopK)
	w.setting("candidateCount", c.Count)
	w.setting("maxOutputTokens", c.MaxTokens)
	w.setting("seed", c.Seed)
	w.setting("presencePenalty", c.PresencePenalty)
	w.setting("frequencyPenalty", c.FrequencyPenalty)
	if c.Logprobs == dialect.On {
		w.setting("responseLogprobs", []byte("true"))
		w.setting("logprobs", c.TopLogprobs)
	}
	w.stop()
	w.format()
	w.thinking()
	w.append(`}`)
	w.lose("user", c.User)
	w.lose("metadata", c.Metadata)
	w.lose("prompt_cache_key", c.CacheKey)
	if c.Tier != nil && !dialect.Is(c.Tier, "auto") && !dialect.Is(c.Tier, "default") {
		c.Lost.Add("service_tier")
	}
}

// setting appends a member of generationConfig, if there is one.
func (w *requestWriter) setting(name string, v []byte) {
	if v == nil {
		return
	}
	w.key(name)
	w.list.b = append(w.list.b, v...)
}

func (w *requestWriter) key(name string) {
	if len(w.list.b) > w.from {
		w.append(",")
	}
	w.append(`"`)
	w.append(name)
	w.append(`":`)
}

func (w *requestWriter) stop() {
	for i, s := range w.c.Stop {
		if i == 0 {
			w.key("stopSequences")
			w.append("[")
		} else {
			w.append(",")
		}
		w.list.b = append(w.list.b, s...)
	}
	if len(w.c.Stop) > 0 {
		w.append("]")
	}
}

func (w *requestWriter) format() {
	f := &w.c.Format
	if f.Mode == dialect.AnyFormat {
		return
	}
	w.key("responseMimeType")
	w.append(`"application/json"`)
	if f.Mode == dialect.SchemaFormat {
		w.setting("responseJsonSchema", f.Schema)
	}
}

// Budgets that the models take, in tokens.
const (
	leastBudget   = 512 // of Flash-Lite; the others take fewer
	mostBudget    = 24576
	leastPro      = 128
	mostBudgetPro = 32768
)

// thinking appends how much the model is to think: from Gemini 3 on as a level, before that,
// and for models of which that is not known, which take either, as a budget.
func (w *requestWriter) thinking() {
	r := &w.c.Reasoning
	off := r.Mode == dialect.Off || dialect.Is(r.Effort, "none")
	if r.Mode == dialect.Unset && r.Effort == nil && r.Budget == nil && r.Summary == nil {
		return
	}
	if 0 < w.version && w.version <= noThinking || strings.Contains(w.c.Model, "gemma") {
		if !off {
			w.c.Lost.Add("reasoning_effort")
		}
		return
	}
	w.key("thinkingConfig")
	from := w.from
	w.append("{")
	w.from = len(w.list.b)
	if w.version >= levels {
		w.level(off)
	} else {
		w.budget(off)
	}
	if !off && (r.Mode == dialect.On || r.Summary != nil) {
		w.setting("includeThoughts", []byte("true"))
	}
	w.append("}")
	w.from = from
}

func (w *requestWriter) pro() bool { return strings.Contains(w.c.Model, "pro") }

func (w *requestWriter) level(off bool) {
	effort := dialect.String(w.c.Reasoning.EffortText())
	if off {
		effort = "minimal"
	}
	switch effort {
	case "":
		return
	case "minimal":
		if w.pro() { // which knows none below
			effort = "low"
		}
		if off && w.pro() {
			w.c.Lost.Add("reasoning_effort")
		}
	case "low", "high":
	case "medium":
		if strings.Contains(w.c.Model, "gemini-3-pro") { // which knows none between
			effort = "high"
		}
	case "xhigh", "max":
		effort = "high"
	default:
		w.c.Lost.Add("reasoning_effort")
		return
	}
	w.key("thinkingLevel")
	w.append(`"` + effort + `"`)
}

func (w *requestWriter) budget(off bool) {
	least, most := int64(leastBudget), int64(mostBudget)
	if w.pro() {
		least, most = leastPro, mostBudgetPro
	}
	n := w.c.Reasoning.BudgetTokens()
	switch {
	case off && w.pro(): // which cannot do without
		w.c.Lost.Add("reasoning_effort")
		n = least
	case off:
		n = 0
	case n > 0:
		n = min(max(n, least), most)
	case w.c.Reasoning.Mode == dialect.On: // as much as it likes
		n = -1
	case w.c.Reasoning.Effort != nil:
		w.c.Lost.Add("reasoning_effort")
		return
	default:
		return
	}
	w.key("thinkingBudget")
	w.list.b = appendInt(w.list.b, n)
}
