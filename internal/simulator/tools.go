package simulator

import (
	"encoding/json"
	"strings"
)

// toolChoice says whether the model has to call a tool. Its zero value is
// "auto".
type toolChoice struct {
	mode string // "auto", "none", "required"
	name string // the one function that has to be called
}

// UnmarshalJSON takes a mode, or the object that names one function, as chat
// completions ({"function":{"name":…}}) or responses ({"name":…}) write it.
func (t *toolChoice) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &t.mode) == nil {
		switch t.mode {
		case "", "auto", "none", "required":
			return nil
		}
		return badRequest("tool_choice", "invalid_value", "Invalid value: '%s'. Supported values are: 'none', 'auto', and 'required'.", t.mode)
	}
	var named struct {
		Mode     string `json:"mode"`
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
		Allowed struct {
			Mode string `json:"mode"`
		} `json:"allowed_tools"`
	}
	if err := json.Unmarshal(b, &named); err != nil {
		return badRequest("tool_choice", "invalid_type", "Invalid type for 'tool_choice'.")
	}
	t.name = named.Name + named.Function.Name
	t.mode = named.Mode + named.Allowed.Mode
	return nil
}

// wanted gives the functions that the reply has to call: the one that is
// named by the choice, those that the last user message mentions, or the
// first one when some call is required. After a tool's result the model
// answers with text.
func (p *prompt) wanted() []function {
	if p.choice.mode == "none" {
		return nil
	}
	var mentioned []function
	for _, fn := range p.tools {
		if fn.Name == p.choice.name {
			return []function{fn}
		}
		if strings.Contains(strings.ToLower(p.lastUser), strings.ToLower(fn.Name)) {
			mentioned = append(mentioned, fn)
		}
	}
	required := p.choice.mode == "required"
	switch {
	case len(mentioned) > 0 && (required || p.lastRole == "user"):
		return mentioned
	case required && len(p.tools) > 0:
		return p.tools[:1]
	}
	return nil
}

// check reports a choice that names a tool which was not given.
func (t toolChoice) check(tools []function) error {
	if t.name == "" {
		if t.mode == "required" && len(tools) == 0 {
			return badRequest("tool_choice", "", "'tool_choice' is 'required' and no function is among 'tools'.")
		}
		return nil
	}
	for _, fn := range tools {
		if fn.Name == t.name {
			return nil
		}
	}
	return badRequest("tool_choice", "", "Tool choice '%s' not found in 'tools' parameter.", t.name)
}
