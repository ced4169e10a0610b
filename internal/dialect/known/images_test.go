//go:build !race

package known

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/gemini"
	"sluice/internal/dialect/messages"
	"sluice/internal/dialect/responses"
)

// TestImagesOfReplies: images that a model makes keep their bytes and their place, whole and
// streamed, in every dialect that has one for them; where there is none they are named as lost.
func TestImagesOfReplies(t *testing.T) {
	const (
		first  = `{"text":"One: "},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo\/+="}}`
		second = `{"text":"Two: "},{"inlineData":{"mimeType":"image/webp","data":"UklGRg=="}}`
		draft  = `{"thought":true,"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"inlineData":{"mimeType":"audio/wav","data":"AAAA"}},{"inlineData":{"mimeType":"image/png"}},`
		call   = `{"functionCall":{"name":"f","args":{}}}`
	)
	part := func(parts, more string) string {
		return `{"candidates":[{"content":{"role":"model","parts":[` + parts + `]},"index":0` + more + `}],"modelVersion":"m","responseId":"r","usageMetadata":{"promptTokenCount":1}}`
	}
	want := []string{"One: ", `image/png iVBORw0KGgo\/+=`, "Two: ", "image/webp UklGRg==", "f"}
	for name, reply := range map[string]string{
		"whole":      part(draft+first+","+second+","+call, `,"finishReason":"STOP"`),
		"one by one": "data: " + part(draft+first, "") + "\n\ndata: " + part(second, "") + "\n\ndata: " + part(call, `,"finishReason":"STOP"`) + "\n\n",
	} {
		said := saidIn(t, gemini.Dialect{}, reply, nil)
		if got := imagesSaid(said); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		for _, d := range []dialect.Dialect{chat.Dialect{}, responses.Dialect{}, gemini.Dialect{}, messages.Dialect{}} {
			var lost dialect.Losses
			w := d.NewWriter()
			w.Reset(dialect.Reply{ID: "1", Model: "m", Lost: &lost})
			var out []byte
			if strings.HasPrefix(reply, "data:") {
				saidIn(t, gemini.Dialect{}, reply, func(e *dialect.Event) { out = w.Event(out, e) })
				out = w.End(out)
			} else {
				out = w.Whole(nil, said)
			}
			got, expect, lack := imagesSaid(saidIn(t, d, string(out), nil)), want, ""
			switch d.(type) {
			case messages.Dialect:
				lack, expect = "images", []string{"One: Two: ", "f"}
			case chat.Dialect: // whose message has its texts in one place
				if name == "whole" {
					expect = []string{"One: Two: ", want[1], want[3], "f"}
				}
			}
			if !slices.Equal(got, expect) || lost.String() != lack {
				t.Errorf("%s in %s: %q, want %q, lost %q: %s", name, d.Name(), got, expect, lost.String(), out)
			}
		}
	}
}

// TestImagesGoBack: a client that sends a message back as it got it lets the model see what it
// has made.
func TestImagesGoBack(t *testing.T) {
	const want = `{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}`
	for _, c := range []struct {
		from dialect.Dialect
		body string
	}{
		{chat.Dialect{}, `{"model":"m","messages":[{"role":"assistant","content":"So.","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},{"role":"user","content":"Bluer."}]}`},
		{responses.Dialect{}, `{"model":"m","input":[{"type":"image_generation_call","id":"ig_1","status":"completed","result":"iVBORw0KGgo="},{"role":"user","content":"Bluer."}]}`},
	} {
		conversation := dialect.Conversation{Model: "m"}
		if err := c.from.ReadRequest(&conversation, []byte(c.body)); err != nil {
			t.Fatal(err)
		}
		asked, err := gemini.Dialect{}.WriteRequest(nil, &conversation, dialect.Options{})
		if err != nil || !bytes.Contains(asked.Body, []byte(want)) || conversation.Lost.String() != "" {
			t.Errorf("%s: %s, %v, lost %q", c.from.Name(), asked.Body, err, conversation.Lost.String())
		}
	}
}

// TestImagesAreNotCopied: of a reply that is there as a whole an image is held once.
func TestImagesAreNotCopied(t *testing.T) {
	body := []byte(`{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}]},"finishReason":"STOP"}]}`)
	for _, last := range []bool{true, false} {
		said := dialect.Said{Last: last}
		if err := (gemini.Dialect{}).NewReader().Whole(body, said.Add); err != nil {
			t.Fatal(err)
		}
		data := said.Choices[0].Parts[0].Media.Data
		if at := bytes.Index(body, data); at < 0 || (&body[at] == &data[0]) != last {
			t.Errorf("with %v an image %q is somewhere else", last, data)
		}
	}
}

// imagesSaid are the parts of a reply.
func imagesSaid(s *dialect.Said) (list []string) {
	for _, p := range s.Choices[0].Parts {
		switch p.Kind {
		case dialect.Image:
			list = append(list, fmt.Sprintf("%s %s", p.Media.Type, p.Media.Data))
		case dialect.ToolUse:
			list = append(list, dialect.String(p.Name))
		default:
			list = append(list, dialect.String(p.Text))
		}
	}
	return list
}
