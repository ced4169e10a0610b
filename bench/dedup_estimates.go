package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tiktoken-go/tokenizer"

	"sluice/internal/dedup"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// learning is how many replies there are to learn from before estimates are looked at again.
const learning = 30

// dedupEstimates replays conversations before a service that counts tokens, and prints how far
// off the gateway's estimates are of what was not sent: those that begin and stay with what
// OpenAI's tokenizer has on average, and those that learn from the service's replies.
func dedupEstimates(w io.Writer, families []transcripts) error {
	fmt.Fprintln(w, "\n| conversations | tokenizer | requests made shorter | bytes that were not sent, per token | off by the constant, % | learning, % | from the 31st reply on, % |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")
	for _, encoding := range []tokenizer.Encoding{tokenizer.O200kBase, tokenizer.R50kBase} {
		codec, err := tokenizer.Get(encoding)
		if err != nil {
			return err
		}
		for _, f := range append(families, mixed(families)) {
			e, err := newEstimates(codec)
			if err != nil {
				return err
			}
			for _, messages := range f.conversations {
				if err := e.conversation(messages); err != nil {
					return err
				}
			}
			if e.replies > 0 {
				fmt.Fprintf(w, "| %s | %s | %d | %.2f | %s | %s | %s |\n", f.name, encoding, e.replies, float64(e.all.bytes)/float64(e.all.counted),
					e.all.off(e.all.constant), e.all.off(e.all.learnt), e.late.off(e.late.learnt))
			}
		}
	}
	return nil
}

// mixed are the conversations of all families in turn, as one gateway may have them.
func mixed(families []transcripts) transcripts {
	all := transcripts{name: "all, in turn"}
	for i, more := 0, true; more; i++ {
		more = false
		for _, f := range families {
			if i < len(f.conversations) {
				all.conversations, more = append(all.conversations, f.conversations[i]), true
			}
		}
	}
	return all
}

// estimates are a gateway and a service behind it. It is the sink of the service's replies.
type estimates struct {
	tokens  tokenCounter
	gateway llm.Handler
	plain   *dedup.Dedup // which nobody tells what the service counts
	counted int          // by the service, of what was sent last
	deduped llm.Deduped  // of that
	replies int          // to requests that were made shorter
	all     estimated
	late    estimated // after the first replies
}

// estimated is what was not sent, in tokens by who says so.
type estimated struct{ bytes, counted, constant, learnt int64 }

func (s *estimated) add(b estimated) {
	*s = estimated{s.bytes + b.bytes, s.counted + b.counted, s.constant + b.constant, s.learnt + b.learnt}
}

// off is by how much an estimate is off, "" where there is nothing to estimate.
func (s *estimated) off(estimate int64) string {
	if s.counted <= 0 {
		return ""
	}
	return fmt.Sprintf("%+.1f", 100*(float64(estimate)/float64(s.counted)-1))
}

func newEstimates(codec tokenizer.Codec) (*estimates, error) {
	e := &estimates{tokens: tokenCounter{codec, make(map[string]int)}}
	learns, err := dedup.New(dedup.Default(), dedup.Options{})
	if err != nil {
		return nil, err
	}
	if e.plain, err = dedup.New(dedup.Default(), dedup.Options{}); err != nil {
		return nil, err
	}
	e.gateway = learns.Stage(llm.HandlerFunc(e.service), nil, nil)
	return e, nil
}

// conversation has the requests of one answered.
func (e *estimates) conversation(messages []json.RawMessage) error {
	for n := 1; n < len(messages); n++ {
		if !isModel(messages[n]) {
			continue
		}
		req := llm.Request{Op: llm.Chat, Method: "POST", Body: requestBody(messages[:n]), Model: "m", Dedup: llm.DedupBlocks}
		if err := e.gateway.Serve(context.Background(), &req, e); err != nil {
			return err
		}
		d := e.deduped
		if d.Ratio == nil { // it was sent as it was
			continue
		}
		one := estimated{d.Bytes, int64(e.count(req.Body) - e.counted), e.plain.Rewrite(&req, llm.DedupBlocks, nil).Saved.Tokens, d.Tokens}
		if e.all.add(one); e.replies >= learning {
			e.late.add(one)
		}
		e.replies++
		d.Ratio.Learn(req.Model, d.Text, int64(e.counted))
	}
	return nil
}

// service counts.
func (e *estimates) service(_ context.Context, req *llm.Request, out llm.Sink) error {
	e.counted = e.count(req.Body)
	return out.Start(&llm.Head{Status: 200, Upstream: "service"})
}

// Start and Send implement llm.Sink.
func (e *estimates) Start(h *llm.Head) error {
	e.deduped = h.Deduped
	return nil
}

func (e *estimates) Send([]llm.Event) error { return nil }

// count counts the texts of messages, the names and arguments of calls of tools, and four tokens
// more of each message.
func (e *estimates) count(body []byte) (n int) {
	span, _ := jsonscan.Get(body, "messages")
	for raw := range jsonscan.ElementsOf(body[span.Start:span.End]) {
		key := "m" + string(raw)
		known, ok := e.tokens.known[key]
		if !ok {
			known = e.message(raw)
			e.tokens.known[key] = known
		}
		n += known
	}
	return n
}

func (e *estimates) message(raw []byte) int {
	var m struct {
		Content   json.RawMessage
		ToolCalls []struct {
			Function struct{ Name, Arguments string }
		} `json:"tool_calls"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return 4
	}
	n := 4
	for _, text := range texts(m.Content) {
		n += e.tokens.count(text)
	}
	for _, c := range m.ToolCalls {
		n += e.tokens.count(c.Function.Name) + e.tokens.count(c.Function.Arguments)
	}
	return n
}
