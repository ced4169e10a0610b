package dialect

import (
	"strconv"
	"strings"
)

// Budgets of tokens that stand for efforts, and efforts for budgets: what gateways and
// SDKs commonly take for each other.
const (
	minimalBudget = 512
	lowBudget     = 1024
	mediumBudget  = 8192
	highBudget    = 24576
)

// EffortText is the effort as a JSON string, nil where nothing is said of it or it is
// none by the service's own word. Where only a budget is, it is the effort nearest to that.
func (r *Reasoning) EffortText() []byte {
	switch {
	case r.Effort != nil:
		return r.Effort
	case r.Budget == nil || r.Mode == Off:
		return nil
	}
	switch n := Int(r.Budget); {
	case n <= minimalBudget:
		return []byte(`"minimal"`)
	case n <= 2*lowBudget:
		return []byte(`"low"`)
	case n <= 2*mediumBudget:
		return []byte(`"medium"`)
	default:
		return []byte(`"high"`)
	}
}

// OpenAIEffort is EffortText for a model of a service that has OpenAI's words. Its models have
// "none" from GPT-5.1 on and "xhigh" from GPT-5.2 on. For others the most is "high", but for GLM,
// which has "max", and where they are not to think there is no word: lost says so.
func (r *Reasoning) OpenAIEffort(model string) (text []byte, lost bool) {
	text = r.EffortText()
	minor := gpt5(model)
	switch {
	case r.Mode == Off && !Is(text, "none"):
		if minor < 1 {
			return nil, true
		}
		return []byte(`"none"`), false
	case !Is(text, "max"), strings.Contains(model, "glm"):
		return text, false
	case minor < 2:
		return []byte(`"high"`), false
	default:
		return []byte(`"xhigh"`), false
	}
}

// gpt5 is which of the models GPT-5.1, GPT-5.2, ... has a name, 0 for any other.
func gpt5(model string) int {
	_, minor, ok := strings.Cut(model[strings.LastIndexByte(model, '/')+1:], "gpt-5.")
	if !ok {
		return 0
	}
	if i := strings.IndexFunc(minor, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
		minor = minor[:i]
	}
	n, err := strconv.Atoi(minor)
	if err != nil {
		return 0
	}
	return n
}

// BudgetTokens is the budget in tokens, 0 where nothing is said of it. Where only an
// effort is, it is what that stands for.
func (r *Reasoning) BudgetTokens() int64 {
	switch {
	case r.Mode == Off:
		return 0
	case r.Budget != nil:
		return Int(r.Budget)
	}
	switch String(r.Effort) {
	case "minimal":
		return minimalBudget
	case "low":
		return lowBudget
	case "medium":
		return mediumBudget
	case "high", "xhigh", "max":
		return highBudget
	default:
		return 0
	}
}
