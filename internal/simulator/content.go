package simulator

import (
	"encoding/json"
	"strings"
)

// content is a message's content: a string, or a list of parts. Parts that
// are not text count a fixed number of tokens.
type content struct {
	text  string
	media int // parts that are not text
}

// mediaTokens is what an image, a file or a piece of audio counts.
const mediaTokens = 85

// UnmarshalJSON takes a string, null or a list of parts.
func (c *content) UnmarshalJSON(b []byte) error {
	if b[0] == '"' || string(b) == "null" {
		return json.Unmarshal(b, &c.text)
	}
	var parts []struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Refusal string `json:"refusal"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return badRequest("messages", "invalid_type", "Invalid type for message content: expected a string or an array of content parts.")
	}
	var texts []string
	for _, p := range parts {
		switch p.Type {
		case "text", "input_text", "output_text", "refusal":
			texts = append(texts, p.Text+p.Refusal)
		default:
			c.media++
		}
	}
	c.text = strings.Join(texts, "\n")
	return nil
}

func (c *content) tokens() int { return countTokens(c.text) + c.media*mediaTokens }

// texts is a field that may be one string or several, such as stop.
type texts []string

// UnmarshalJSON takes a string, null or a list of strings.
func (t *texts) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*t = make(texts, 1)
		return json.Unmarshal(b, &(*t)[0])
	}
	return json.Unmarshal(b, (*[]string)(t))
}
