package dialect

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
