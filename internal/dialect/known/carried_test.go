//go:build !race

package known

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

var update = flag.Bool("update", false, "write the table into docs/dialects.md")

func b(s string) []byte { return []byte(s) }

// feature is something that a request can say.
type feature struct {
	name string
	say  func(c *dialect.Conversation)
	said func(c *dialect.Conversation) bool // whether a conversation says it
}

// part is a feature that is a part of a message of the user.
func part(name string, p dialect.Part, same func(p *dialect.Part) bool) feature {
	return feature{name,
		func(c *dialect.Conversation) { c.Messages[0].Parts = append(c.Messages[0].Parts, p) },
		func(c *dialect.Conversation) bool {
			return has(c, func(q *dialect.Part) bool { return q.Kind == p.Kind && same(q) })
		},
	}
}

func has(c *dialect.Conversation, is func(p *dialect.Part) bool) bool {
	for i := range c.Messages {
		for k := range c.Messages[i].Parts {
			p := &c.Messages[i].Parts[k]
			if is(p) {
				return true
			}
			for n := range p.Result {
				if is(&p.Result[n]) {
					return true
				}
			}
		}
	}
	return false
}

// setting is a feature that is a value of the conversation.
func setting(name, value string, at func(c *dialect.Conversation) *[]byte) feature {
	return feature{name, func(c *dialect.Conversation) { *at(c) = b(value) }, func(c *dialect.Conversation) bool { return string(*at(c)) == value }}
}

// turn has the model call a tool and the user send its result.
func turn(c *dialect.Conversation, calls int, result dialect.Part, before ...dialect.Part) {
	said := dialect.Message{Role: dialect.Assistant, Parts: before}
	var results dialect.Message
	for i := range calls {
		id := fmt.Appendf(nil, `"call_%d"`, i)
		said.Parts = append(said.Parts, dialect.Part{Kind: dialect.ToolUse, ID: id, Name: b(`"f"`), Arguments: b(`{"x":1}`)})
		r := result
		r.Kind, r.ID = dialect.ToolResult, id
		if r.Result == nil {
			r.Result = []dialect.Part{{Kind: dialect.Text, Text: b(`"ok"`)}}
		}
		results.Parts = append(results.Parts, r)
	}
	c.Tools = append(c.Tools, dialect.Tool{Name: b(`"f"`), Description: b(`"Does."`), Schema: b(`{"type":"object","properties":{"x":{"type":"integer"}}}`)})
	c.Messages = append(c.Messages, said, results)
}

func calls(n int) feature {
	return feature{map[int]string{1: "a call of a tool and its result", 2: "two calls at once"}[n],
		func(c *dialect.Conversation) { turn(c, n, dialect.Part{}) },
		func(c *dialect.Conversation) bool {
			found, answered := 0, 0
			has(c, func(p *dialect.Part) bool {
				object, _ := dialect.AppendObject(nil, p.Arguments)
				if p.Kind == dialect.ToolUse && string(p.Name) == `"f"` && string(object) == `{"x":1}` {
					found++
				}
				if p.Kind == dialect.ToolResult && len(p.Result) == 1 && string(p.Result[0].Text) == `"ok"` {
					answered++
				}
				return false
			})
			return found == n && answered == n
		},
	}
}

func choice(name string, mode dialect.ToolMode) feature {
	return feature{name, func(c *dialect.Conversation) {
		turn(c, 1, dialect.Part{})
		if c.ToolChoice.Mode = mode; mode == dialect.OneTool {
			c.ToolChoice.Name = b(`"f"`)
		}
	}, func(c *dialect.Conversation) bool { return c.ToolChoice.Mode == mode }}
}

func prompt(name string, role dialect.Role, is func(dialect.Role) bool) feature {
	return feature{name, func(c *dialect.Conversation) {
		c.Messages = append([]dialect.Message{{Role: role, Parts: []dialect.Part{{Kind: dialect.Text, Text: b(`"Be brief."`)}}}}, c.Messages...)
	}, func(c *dialect.Conversation) bool {
		return is(c.Messages[0].Role) && len(c.Messages[0].Parts) > 0 && string(c.Messages[0].Parts[0].Text) == `"Be brief."`
	}}
}

func thought(name string, p dialect.Part) feature {
	return feature{name, func(c *dialect.Conversation) { turn(c, 1, dialect.Part{}, p) }, func(c *dialect.Conversation) bool {
		return has(c, func(q *dialect.Part) bool {
			return q.Kind == dialect.Thinking && bytes.Equal(q.Signature, p.Signature) && (p.Text == nil || bytes.Equal(q.Text, p.Text))
		})
	}}
}

func media(p *dialect.Part) *dialect.Media { return &p.Media }

func features() []feature {
	png := dialect.Media{Type: "image/png", Data: b("iVBORw0KGgo=")}
	pdf := dialect.Media{Type: "application/pdf", Data: b("JVBERi0="), Name: b(`"a.pdf"`)}
	return []feature{
		part("text", dialect.Part{Kind: dialect.Text, Text: b(`"caf\u00e9\n"`)}, func(p *dialect.Part) bool { return string(p.Text) == `"caf\u00e9\n"` }),
		prompt("a prompt of the system", dialect.System, func(r dialect.Role) bool { return r == dialect.System }),
		prompt("a prompt of the developer", dialect.Developer, func(r dialect.Role) bool { return r == dialect.Developer || r == dialect.System }),
		{"a prompt further down", func(c *dialect.Conversation) {
			said := func(role dialect.Role) dialect.Message {
				return dialect.Message{Role: role, Parts: []dialect.Part{{Kind: dialect.Text, Text: b(`"Go on."`)}}}
			}
			c.Messages = append(c.Messages, said(dialect.Assistant), said(dialect.System), said(dialect.User))
		}, func(c *dialect.Conversation) bool {
			return slices.ContainsFunc(c.Messages[1:], func(m dialect.Message) bool { return m.Role == dialect.System })
		}},
		part("an image as bytes", dialect.Part{Kind: dialect.Image, Media: png}, func(p *dialect.Part) bool { return media(p).Type == png.Type && bytes.Equal(media(p).Data, png.Data) }),
		part("an image by URL", dialect.Part{Kind: dialect.Image, Media: dialect.Media{URL: b(`"https://h/a.png"`)}}, func(p *dialect.Part) bool { return string(media(p).URL) == `"https://h/a.png"` }),
		part("a document as bytes", dialect.Part{Kind: dialect.Document, Media: pdf}, func(p *dialect.Part) bool { return media(p).Type == pdf.Type && bytes.Equal(media(p).Data, pdf.Data) }),
		part("a document by URL", dialect.Part{Kind: dialect.Document, Media: dialect.Media{Type: "application/pdf", URL: b(`"https://h/a.pdf"`)}}, func(p *dialect.Part) bool { return string(media(p).URL) == `"https://h/a.pdf"` }),
		part("sound", dialect.Part{Kind: dialect.Audio, Media: dialect.Media{Type: "audio/wav", Data: b("UklGRg==")}}, func(p *dialect.Part) bool { return string(media(p).Data) == "UklGRg==" }),
		calls(1), calls(2),
		{"a result with an image", func(c *dialect.Conversation) {
			turn(c, 1, dialect.Part{Result: []dialect.Part{{Kind: dialect.Text, Text: b(`"ok"`)}, {Kind: dialect.Image, Media: png}}})
		}, func(c *dialect.Conversation) bool {
			return has(c, func(p *dialect.Part) bool { return p.Kind == dialect.Image && bytes.Equal(p.Media.Data, png.Data) })
		}},
		{"a result that is an error", func(c *dialect.Conversation) { turn(c, 1, dialect.Part{Failed: true}) }, func(c *dialect.Conversation) bool {
			return has(c, func(p *dialect.Part) bool { return p.Kind == dialect.ToolResult && p.Failed })
		}},
		thought("a thought with its signature", dialect.Part{Kind: dialect.Thinking, Text: b(`"Hm."`), Signature: b(`"c2ln"`)}),
		{"a mark for the prompt's cache", func(c *dialect.Conversation) {
			c.Messages[0].Parts[0].CacheControl = b(`{"type":"ephemeral"}`)
		}, func(c *dialect.Conversation) bool {
			return has(c, func(p *dialect.Part) bool { return p.CacheControl != nil })
		}},
		choice("tools: as the model likes", dialect.ToolsAuto), choice("tools: none", dialect.ToolsNone), choice("tools: any", dialect.ToolsRequired), choice("tools: a certain one", dialect.OneTool),
		{"one call at a time", func(c *dialect.Conversation) { turn(c, 1, dialect.Part{}); c.Parallel = dialect.Off }, func(c *dialect.Conversation) bool { return c.Parallel == dialect.Off }},
		setting("the limit of tokens", "77", func(c *dialect.Conversation) *[]byte { return &c.MaxTokens }),
		setting("temperature", "0.5", func(c *dialect.Conversation) *[]byte { return &c.Temperature }),
		setting("top_p", "0.5", func(c *dialect.Conversation) *[]byte { return &c.TopP }),
		setting("top_k", "5", func(c *dialect.Conversation) *[]byte { return &c.TopK }),
		setting("seed", "5", func(c *dialect.Conversation) *[]byte { return &c.Seed }),
		setting("penalties", "0.5", func(c *dialect.Conversation) *[]byte { return &c.PresencePenalty }),
		setting("several replies", "2", func(c *dialect.Conversation) *[]byte { return &c.Count }),
		{"log probabilities", func(c *dialect.Conversation) { c.Logprobs, c.TopLogprobs = dialect.On, b("2") }, func(c *dialect.Conversation) bool { return c.Logprobs == dialect.On || string(c.TopLogprobs) == "2" }},
		{"stop sequences", func(c *dialect.Conversation) { c.Stop = [][]byte{b(`"END"`)} }, func(c *dialect.Conversation) bool { return len(c.Stop) == 1 && string(c.Stop[0]) == `"END"` }},
		{"JSON", func(c *dialect.Conversation) { c.Format.Mode = dialect.JSONFormat }, func(c *dialect.Conversation) bool { return c.Format.Mode == dialect.JSONFormat }},
		{"JSON by a schema", func(c *dialect.Conversation) {
			c.Format = dialect.Format{Mode: dialect.SchemaFormat, Name: b(`"n"`), Schema: b(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`)}
		}, func(c *dialect.Conversation) bool {
			return c.Format.Mode == dialect.SchemaFormat && jsonscan.Member(c.Format.Schema, "properties") != nil
		}},
		{"how much to think", func(c *dialect.Conversation) { c.Reasoning.Effort = b(`"high"`) }, func(c *dialect.Conversation) bool {
			return c.Reasoning.Effort != nil || c.Reasoning.Budget != nil
		}},
		{"not to think", func(c *dialect.Conversation) {
			c.Reasoning = dialect.Reasoning{Mode: dialect.Off, Effort: b(`"none"`)}
		}, func(c *dialect.Conversation) bool { return c.Reasoning.Mode == dialect.Off }},
		setting("the user", `"u1"`, func(c *dialect.Conversation) *[]byte { return &c.User }),
		setting("metadata", `{"k":"v"}`, func(c *dialect.Conversation) *[]byte { return &c.Metadata }),
	}
}

// write says a conversation in a dialect, and gives what is read of that, and what was lost.
func write(t *testing.T, op llm.Operation, c *dialect.Conversation) (again *dialect.Conversation, lost []string, err error) {
	t.Helper()
	from := len(c.Lost.Names())
	asked, err := Of(op).WriteRequest(nil, c, dialect.Options{MaxTokens: 4096})
	if err != nil {
		return nil, nil, err
	}
	if err := jsonscan.Validate(asked.Body, 100); err != nil {
		t.Fatalf("%v: %v in %s", op, err, asked.Body)
	}
	again = &dialect.Conversation{Model: c.Model}
	if err := Of(op).ReadRequest(again, asked.Body); err != nil {
		t.Fatalf("%v reads not what it wrote: %v\n%s", op, err, asked.Body)
	}
	return again, c.Lost.Names()[from:], nil
}

// dialects are the operations, each of a dialect of its own.
func dialects() []llm.Operation {
	var all []llm.Operation
	for op := range llm.Operations {
		if Of(op) != nil {
			all = append(all, op)
		}
	}
	return all
}

// TestCarried: what each pair of dialects carries is what docs/dialects.md says, and what is
// not carried is named.
func TestCarried(t *testing.T) {
	all := dialects()
	var table strings.Builder
	table.WriteString("| | ")
	for _, from := range all {
		for _, to := range all {
			if from != to {
				fmt.Fprintf(&table, "%s → %s | ", Of(from).Name(), Of(to).Name())
			}
		}
	}
	table.WriteString("\n| --- |" + strings.Repeat(" --- |", len(all)*(len(all)-1)) + "\n")
	for _, f := range features() {
		fmt.Fprintf(&table, "| %s | ", f.name)
		for _, from := range all {
			for _, to := range all {
				if from != to {
					table.WriteString(carry(t, f, from, to) + " | ")
				}
			}
		}
		table.WriteString("\n")
	}
	const file, begin, end = "../../../docs/dialects.md", "<!-- carried -->\n", "<!-- end -->"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/dialects.md has no place for the table")
	}
	got := strings.ReplaceAll(table.String(), " \n", "\n")
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+got+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if old != got {
		t.Errorf("docs/dialects.md says otherwise; go test ./internal/dialect/known -update writes\n%s", got)
	}
}

// carry says whether a request of one dialect that says f still says it in another: yes, no,
// or nothing where the first cannot say it.
func carry(t *testing.T, f feature, from, to llm.Operation) string {
	t.Helper()
	c := &dialect.Conversation{Model: "m", Messages: []dialect.Message{{Role: dialect.User, Parts: []dialect.Part{{Kind: dialect.Text, Text: b(`"Hello"`)}}}}}
	f.say(c)
	asked, lost, err := write(t, from, c)
	if err != nil || !f.said(asked) {
		if err == nil && len(lost) == 0 {
			t.Errorf("%s is not said in %v, and not told as lost", f.name, from)
		}
		return ""
	}
	got, lost, err := write(t, to, asked)
	switch {
	case err != nil:
		return "refused"
	case f.said(got):
		return "yes"
	case len(lost) == 0:
		t.Errorf("%s is lost from %v to %v, and not told", f.name, from, to)
	}
	return "–"
}
