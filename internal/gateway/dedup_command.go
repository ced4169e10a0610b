package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"sluice/internal/config"
	"sluice/internal/dedup"
	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Deduplication is what `sluice dedup` is asked for.
type Deduplication struct {
	Mode    string // "" is the configuration's
	Dialect string // of the request, by its name; "" has it told by the request's members
	Expand  bool   // put back what references stand for, instead
	Explain bool   // tell of every message

	BytesPerToken float64 // dedup.Options.BytesPerToken
}

// Check is the error of a mode, a dialect or a number that there is none of. Deduplicate takes
// for granted that there is no such error.
func (o *Deduplication) Check() error {
	err := oneOf("mode", o.Mode, llm.DedupModes())
	if err == nil {
		err = oneOf("dialect", o.Dialect, Dialects())
	}
	if err == nil {
		err = dedup.CheckBytesPerToken(o.BytesPerToken)
	}
	return err
}

// oneOf is the error of a value that is given and is none of a list.
func oneOf(what, value string, list []string) error {
	if value == "" || slices.Contains(list, value) {
		return nil
	}
	return fmt.Errorf("%s %q is none of %s", what, value, strings.Join(list, ", "))
}

// Deduplicate reads a request, writes what would be sent, or what references in it stand for,
// and tells people in words what was done. Where nobody says whose it is, one with "contents" is
// Gemini's, with "input" a response's, with "messages" and "system" one of Messages, and with
// "messages" alone a chat completion's.
func Deduplicate(cfg *config.Config, o Deduplication, in io.Reader, out, people io.Writer) error {
	body, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if err := jsonscan.Validate(body, 0); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	req := llm.Request{Method: "POST", Body: body}
	if req.Op, err = dialectOf(o.Dialect, body); err != nil {
		return err
	}
	report := &bytes.Buffer{}
	if o.Expand {
		var left int
		body, left, err = dedup.Expand(req.Op, body, cfg.Dedup)
		fmt.Fprintf(report, "%d bytes became %d.\n", len(req.Body), len(body))
		if left > 0 {
			fmt.Fprintf(report, "Warning: %d lines that look like references were left as they are: they are not what would be written for the lines that they name.\n", left)
		}
	} else {
		body, err = deduplicate(cfg.Dedup, o, &req, report)
	}
	if err != nil {
		return err
	}
	if _, err := out.Write(body); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	if _, err := people.Write(report.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func deduplicate(cfg dedup.Config, o Deduplication, req *llm.Request, report *bytes.Buffer) ([]byte, error) {
	if o.Mode == "" {
		o.Mode = cfg.Mode
	}
	mode, _ := llm.ParseDedupMode(o.Mode)
	d, err := dedup.New(cfg, dedup.Options{BytesPerToken: o.BytesPerToken})
	if err != nil {
		return nil, err
	}
	var decisions []dedup.Decision
	r := d.Rewrite(req, mode, func(d dedup.Decision) { decisions = append(decisions, d) })
	switch {
	case mode == llm.DedupOff:
		fmt.Fprintf(report, "%s: 0 of %d messages are changed: nothing is looked into.\n", mode, count(req))
	case !r.Sure:
		fmt.Fprintf(report, "%s: 0 of %d messages are changed: the request is of a form that is left alone.\n", mode, count(req))
		decisions = nil // none of them was carried out
	default:
		fmt.Fprintf(report, "%s: %d of %d messages are changed; %d bytes become %d, %.1f %% less; about %d tokens less.\n", mode, r.Saved.Messages, count(req),
			len(req.Body), len(r.Body), 100*float64(r.Saved.Bytes)/float64(max(len(req.Body), 1)), r.Saved.Tokens)
	}
	for _, d := range decisions {
		if o.Explain || d.Action != dedup.Kept {
			describe(report, &d)
		}
	}
	return r.Body, nil
}

// Dialects are the names of the dialects whose requests can be looked into.
func Dialects() (names []string) {
	for op := range llm.Operations {
		if known.ShapeOf(op) != nil {
			names = append(names, known.Of(op).Name())
		}
	}
	return names
}

// dialectOf tells of which API a request is.
func dialectOf(name string, body []byte) (found llm.Operation, err error) {
	has := func(shape *dialect.Shape, w dialect.Word) bool {
		_, ok := jsonscan.Get(body, shape.Name(w))
		return ok
	}
	for op := range llm.Operations {
		shape := known.ShapeOf(op)
		switch {
		case shape == nil:
		case name != "":
			if known.Of(op).Name() == name {
				return op, nil
			}
		case has(shape, dialect.ListMember) && (found == llm.Passthrough || has(shape, dialect.PromptMember)):
			found = op
		}
	}
	if found == llm.Passthrough {
		return 0, errors.New(`the request has none of "messages", "input" and "contents"`)
	}
	return found, nil
}

// count is how many messages, or items, there are.
func count(req *llm.Request) (n int) {
	if s, ok := jsonscan.Get(req.Body, known.ShapeOf(req.Op).Name(dialect.ListMember)); ok {
		jsonscan.Elements(req.Body[s.Start:s.End], func(llm.Span) bool {
			n++
			return true
		})
	}
	return n
}

// describe writes a decision with what it takes out and puts in.
func describe(w *bytes.Buffer, d *dedup.Decision) {
	fmt.Fprintf(w, "\nmessage %d", d.Message+1)
	if d.Sent > 0 && d.Sent != d.Message+1 {
		fmt.Fprintf(w, " (as it is sent, %d)", d.Sent)
	}
	fmt.Fprintf(w, ", %s, %d bytes: %s", d.Role, d.Size, d.Action)
	if d.Why != "" {
		fmt.Fprintf(w, ": %s", d.Why)
	}
	w.WriteByte('\n')
	for _, b := range d.Blocks {
		const shown = 2 // lines at the beginning, and one at the end
		lines := strings.Split(plainText(b.Text), "\n")
		for i, line := range lines {
			switch {
			case i < shown || i == len(lines)-1:
				fmt.Fprintf(w, "  - %s\n", cut(line))
			case i == shown:
				fmt.Fprintf(w, "    … %d lines\n", len(lines)-shown-1)
			}
		}
		if d.Action == dedup.Rewritten {
			fmt.Fprintf(w, "  + %s\n", printable(plainText(b.Reference)))
		}
	}
}

// plainText decodes what stands in a JSON string.
func plainText(raw string) (s string) {
	if json.Unmarshal([]byte(`"`+raw+`"`), &s) != nil {
		return raw
	}
	return s
}

// cut shortens a line, and makes it printable.
func cut(line string) string {
	const longest = 100 // characters
	n := 0
	for i := range line {
		if n++; n > longest {
			return printable(line[:i]) + "…"
		}
	}
	return printable(line)
}

// printable gives s with nothing in it that a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
