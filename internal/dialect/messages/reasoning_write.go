package messages

import (
	"strconv"

	"sluice/internal/dialect"
)

// thinking is what a request says of thinking.
type thinking struct {
	how    how
	budget int64 // in tokens, of budgeted
}

type how uint8

const (
	byItself how = iota // nothing is said
	never
	budgeted
	adaptive
)

const (
	leastBudget = 1024 // tokens: the API takes no fewer
	someBudget  = 8192 // for whoever asks for thinking and says not how much
)

// decide finds out how much the model is to think, and with it the limit of the reply.
func (w *requestWriter) decide(o dialect.Options) {
	if w.limit = int64(o.MaxTokens); w.limit <= 0 {
		w.limit = defaultTokens
	}
	r := &w.c.Reasoning
	switch {
	case r.Mode == dialect.Off || dialect.Is(r.Effort, "none"):
		w.never()
		return
	case r.Mode == dialect.Unset && r.Effort == nil && r.Budget == nil:
		return
	case w.forces() && len(w.c.Tools) > 0:
		w.c.Lost.Add("reasoning_effort")
		return
	}
	budget := r.BudgetTokens()
	if budget <= 0 {
		budget = someBudget
	}
	if w.adapts() {
		w.thinking.how = adaptive
		w.limit += budget
		return
	}
	w.budget(max(budget, leastBudget))
}

// adapts reports whether the model finds out by itself how much it thinks. Without a
// version that is for whoever asked for it: some services know no budgets either.
func (w *requestWriter) adapts() bool {
	r := &w.c.Reasoning
	switch {
	case w.version >= claude47:
		return true
	case w.version >= claude46:
		return r.Budget == nil
	case w.version == noClaude:
		return r.Budget == nil && r.Effort == nil
	default:
		return false
	}
}

// budget has the model think for a number of tokens, which have to be fewer than the reply
// may have. It cannot where its last call was made without a thought that is there.
func (w *requestWriter) budget(n int64) {
	if dialect.IsNumber(w.c.MaxTokens) {
		if limit := dialect.Int(w.c.MaxTokens); n >= limit {
			n = limit / 2
		}
	} else {
		w.limit += n
	}
	if n < leastBudget || w.thoughtless() {
		w.c.Lost.Add("reasoning_effort")
		return
	}
	w.thinking = thinking{budgeted, n}
}

// never has the model not think. Every Claude up to 4.8 does so where nothing is said, and
// some refuse to be told.
func (w *requestWriter) never() {
	switch {
	case w.version == noClaude:
		w.thinking.how = never
	case w.version >= claude5:
		w.c.Lost.Add("reasoning_effort")
	}
}

// thoughtless reports whether the model is to go on with a message of its own that does not
// begin with a thought: its last one, or the calls whose results came.
func (w *requestWriter) thoughtless() bool {
	list := w.c.Messages
	i, results := w.last, false
	for i >= 0 && list[i].Role != dialect.Assistant {
		results = results || hasResults(list[i].Parts)
		i--
	}
	if i < 0 || i != w.last && !results {
		return false
	}
	for i > 0 && list[i-1].Role == dialect.Assistant { // they become one
		i--
	}
	return len(list[i].Parts) == 0 || list[i].Parts[0].Kind != dialect.Thinking || list[i].Parts[0].Signature == nil
}

func hasResults(parts []dialect.Part) bool {
	for i := range parts {
		if parts[i].Kind == dialect.ToolResult {
			return true
		}
	}
	return false
}

// reasoning appends how much the model is to think, and what form its reply is to have,
// which share a member.
func (w *requestWriter) reasoning() {
	switch w.thinking.how {
	case byItself:
	case never:
		w.b = append(w.b, `,"thinking":{"type":"disabled"}`...)
	case budgeted:
		w.b = append(strconv.AppendInt(append(w.b, `,"thinking":{"type":"enabled","budget_tokens":`...), w.thinking.budget, 10), '}')
	case adaptive:
		// Whoever asked wants to read of it: some models say nothing of it by themselves.
		w.b = append(w.b, `,"thinking":{"type":"adaptive","display":"summarized"}`...)
	}
	effort := ""
	if r := &w.c.Reasoning; w.thinking.how == adaptive || w.version >= claude46 && r.Effort != nil && r.Mode != dialect.Off {
		effort = w.effort()
	}
	f := &w.c.Format
	schema := f.Mode == dialect.SchemaFormat && f.Schema != nil
	if f.Mode != dialect.AnyFormat && !schema {
		w.c.Lost.Add("response_format")
	}
	if effort == "" && !schema {
		return
	}
	w.b = append(w.b, `,"output_config":{`...)
	if effort != "" {
		w.b = append(append(append(w.b, `"effort":"`...), effort...), '"')
	}
	if schema {
		if effort != "" {
			w.b = append(w.b, ',')
		}
		w.b = append(append(append(w.b, `"format":{"type":"json_schema","schema":`...), f.Schema...), '}')
	}
	w.b = append(w.b, '}')
}

// effort names the effort as the API does, "" where nothing is said of it.
func (w *requestWriter) effort() string {
	switch dialect.String(w.c.Reasoning.EffortText()) {
	case "minimal", "low":
		return "low"
	case "medium":
		return "medium"
	case "high":
		return "high"
	case "xhigh":
		if w.version < claude47 {
			return "high"
		}
		return "xhigh"
	case "max":
		return "max"
	default:
		return ""
	}
}

// sampling appends what the model takes of it: see the package's comment.
func (w *requestWriter) sampling() {
	c := w.c
	thinks := w.thinking.how == budgeted || w.thinking.how == adaptive
	none := w.version >= claude47
	heat, top := value(c.Temperature), value(c.TopP)
	heated := dialect.IsNumber(c.Temperature) && heat != 1
	switch {
	case !heated:
	case thinks || none:
		c.Lost.Add("temperature")
		heated = false
	case heat > 1:
		c.Lost.Add("temperature")
		w.b = append(w.b, `,"temperature":1`...)
	default:
		w.member("temperature", c.Temperature)
	}
	switch {
	case !dialect.IsNumber(c.TopP) || top == 1:
	case none, thinks && top < 0.95, heated && w.version >= claude41:
		c.Lost.Add("top_p")
	default:
		w.member("top_p", c.TopP)
	}
	switch {
	case c.TopK == nil:
	case none || thinks:
		c.Lost.Add("top_k")
	default:
		w.member("top_k", c.TopK)
	}
}
