package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tiktoken-go/tokenizer"

	"sluice/internal/dedup"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// dedupSavings replays recorded conversations turn by turn, and prints what each mode of the
// de-duplication takes out of them, and what that makes of the bill where the service keeps
// prompts and where it does not.
func dedupSavings(w io.Writer, args []string) error {
	flags := flag.NewFlagSet("dedup", flag.ExitOnError)
	data := flags.String("transcripts", "../../shared/data/transcripts", "folder of recorded conversations, *.jsonl.gz")
	block := flags.Int("min-block", dedup.Default().MinBlock, "dedup.min_block")
	flags.Parse(args)
	files, err := filepath.Glob(filepath.Join(*data, "*.jsonl.gz"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no conversations in %s: name their folder with -transcripts", *data)
	}
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		return err
	}
	r := &replays{tokens: tokenCounter{codec, make(map[string]int)}}
	for _, mode := range []struct {
		name  string
		mode  llm.DedupMode
		cache bool
	}{{"safe", llm.DedupSafe, true}, {"blocks", llm.DedupBlocks, true}, {"blocks, `prompt_cache: false`", llm.DedupBlocks, false}} {
		cfg := dedup.Default()
		cfg.PromptCache, cfg.MinBlock = mode.cache, *block
		d, err := dedup.New(cfg, dedup.Options{})
		if err != nil {
			return err
		}
		r.modes = append(r.modes, replayMode{mode.name, mode.mode, d})
	}
	var recorded []transcripts
	var families []replayed
	for _, file := range files {
		t, err := readTranscripts(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		recorded, families = append(recorded, t), append(families, r.family(t))
	}
	r.print(w, families)
	return dedupEstimates(w, recorded)
}

// transcripts are recorded conversations, of which each is messages of a chat completion.
type transcripts struct {
	name          string
	conversations [][]json.RawMessage
}

func readTranscripts(file string) (t transcripts, err error) {
	t.name = strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
	raw, err := os.ReadFile(file)
	if err != nil {
		return t, err
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return t, err
	}
	for lines := json.NewDecoder(z); ; {
		var one struct{ Messages []json.RawMessage }
		if err := lines.Decode(&one); err == io.EOF {
			return t, nil
		} else if err != nil {
			return t, err
		}
		t.conversations = append(t.conversations, one.Messages)
	}
}

// tokenCounter counts tokens, of each text once.
type tokenCounter struct {
	codec tokenizer.Codec
	known map[string]int
}

func (c *tokenCounter) count(text string) int {
	n, ok := c.known[text]
	if !ok {
		var err error
		if n, err = c.codec.Count(text); err != nil {
			panic(err) // it is UTF-8
		}
		c.known[text] = n
	}
	return n
}

type replayMode struct {
	name string
	mode llm.DedupMode
	d    *dedup.Dedup
}

// sums are what conversations come to in one mode.
type sums struct {
	last     amount  // of each conversation's longest request
	all      amount  // of all requests
	bill     float64 // in hundredths of the price of a token
	messages int
	bytes    int     // of the bodies of all requests, that were not sent
	dearer   int     // conversations whose bill rose
	worst    float64 // by how much at most, in parts
}

type amount struct{ chars, tokens int }

func (a *amount) add(b amount) { a.chars, a.tokens = a.chars+b.chars, a.tokens+b.tokens }

type replayed struct {
	name                    string
	conversations, requests int
	plain                   sums
	sums                    []sums // by mode
}

type replays struct {
	tokens tokenCounter
	modes  []replayMode
}

// family replays conversations. A turn of the model is the reply to a request with all that
// stands before it.
func (r *replays) family(t transcripts) replayed {
	f := replayed{name: t.name, sums: make([]sums, len(r.modes))}
	for _, messages := range t.conversations {
		f.conversations++
		plain := r.conversation(messages, nil)
		f.plain.add(plain)
		for i := range r.modes {
			s := r.conversation(messages, &r.modes[i])
			if s.bill > plain.bill*(1+1e-9) {
				s.dearer, s.worst = 1, s.bill/plain.bill-1
			}
			f.sums[i].add(s)
		}
		f.requests += turns(messages)
		clear(r.tokens.known)
	}
	return f
}

func (s *sums) add(b sums) {
	s.last.add(b.last)
	s.all.add(b.all)
	s.bill += b.bill
	s.messages += b.messages
	s.bytes += b.bytes
	s.dearer += b.dearer
	s.worst = max(s.worst, b.worst)
}

func isModel(message json.RawMessage) bool {
	var m struct{ Role string }
	return json.Unmarshal(message, &m) == nil && m.Role == "assistant"
}

func turns(messages []json.RawMessage) (n int) {
	for i, m := range messages {
		if i > 0 && isModel(m) {
			n++
		}
	}
	return n
}

// conversation replays one; m is nil for requests that are sent as they are. Of each request
// the messages that an earlier one began with are read from the service's cache, the others
// written to it.
func (r *replays) conversation(messages []json.RawMessage, m *replayMode) (s sums) {
	var cached [][]json.RawMessage
	for n := 1; n < len(messages); n++ {
		if !isModel(messages[n]) {
			continue
		}
		sent := messages[:n]
		if m != nil {
			var saved llm.Deduped
			sent, saved = rewritten(m, sent)
			s.messages += saved.Messages
			s.bytes += int(saved.Bytes)
		}
		same := 0
		for _, before := range cached {
			i := 0
			for i < len(before) && i < len(sent) && bytes.Equal(before[i], sent[i]) {
				i++
			}
			same = max(same, i)
		}
		cached = append(cached, sent)
		if len(cached) > 2 { // older ones begin as these do
			cached = cached[1:]
		}
		var whole amount
		for i, message := range sent {
			a := r.size(message)
			whole.add(a)
			if i < same {
				s.bill += dedup.CacheRead * float64(a.tokens)
			} else {
				s.bill += dedup.CacheWrite * float64(a.tokens)
			}
		}
		s.all.add(whole)
		s.last = whole
	}
	return s
}

// requestBody is that of a chat completion.
func requestBody(messages []json.RawMessage) []byte {
	body := []byte(`{"model":"m","messages":[`)
	for i, m := range messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, m...)
	}
	return append(body, `]}`...)
}

// rewritten gives the messages that a request is sent with.
func rewritten(m *replayMode, messages []json.RawMessage) (list []json.RawMessage, saved llm.Deduped) {
	body := requestBody(messages)
	res := m.d.Rewrite(&llm.Request{Op: llm.Chat, Method: "POST", Body: body}, m.mode, nil)
	span, _ := jsonscan.Get(res.Body, "messages")
	part := res.Body[span.Start:span.End]
	jsonscan.Elements(part, func(s llm.Span) bool {
		list = append(list, part[s.Start:s.End])
		return true
	})
	return list, res.Saved
}

// size is how long the texts of a message and its calls of tools are. Each message takes four
// tokens more, as OpenAI counts them.
func (r *replays) size(message json.RawMessage) (a amount) {
	a.tokens = 4
	if n, ok := r.tokens.known["m"+string(message)]; ok {
		a.tokens = n
		a.chars = r.tokens.known["c"+string(message)]
		return a
	}
	var m struct {
		Content   json.RawMessage
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	if json.Unmarshal(message, &m) != nil {
		return a
	}
	add := func(text string) {
		a.chars += len([]rune(text))
		a.tokens += r.tokens.count(text)
	}
	for _, text := range texts(m.Content) {
		add(text)
	}
	if len(m.ToolCalls) > 0 {
		add(string(m.ToolCalls))
	}
	r.tokens.known["m"+string(message)], r.tokens.known["c"+string(message)] = a.tokens, a.chars
	return a
}

// texts gives the texts of a message's content.
func texts(content json.RawMessage) (list []string) {
	var text string
	var parts []struct{ Text string }
	switch {
	case json.Unmarshal(content, &text) == nil:
		return []string{text}
	case json.Unmarshal(content, &parts) == nil:
		for _, p := range parts {
			list = append(list, p.Text)
		}
	}
	return list
}

func (r *replays) print(w io.Writer, families []replayed) {
	percent := func(before, after int) string {
		return fmt.Sprintf("%.1f", 100*(1-float64(after)/max(float64(before), 1)))
	}
	fmt.Fprintln(w, "| conversations | mode | requests | chars of the last request, % less | tokens, % less | chars of all requests, % less | tokens, % less | bill without a prompt cache, % | with one, % | conversations that cost more | most, % |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, f := range families {
		for i, m := range r.modes {
			s := &f.sums[i]
			fmt.Fprintf(w, "| %s (%d) | %s | %d | %s | %s | %s | %s | %+.2f | %+.2f | %d | %.2f |\n", f.name, f.conversations, m.name, f.requests,
				percent(f.plain.last.chars, s.last.chars), percent(f.plain.last.tokens, s.last.tokens), percent(f.plain.all.chars, s.all.chars), percent(f.plain.all.tokens, s.all.tokens),
				100*(float64(s.all.tokens)/float64(f.plain.all.tokens)-1), 100*(s.bill/f.plain.bill-1), s.dearer, 100*s.worst)
		}
	}
	// What the gateway's own estimate goes by.
	fmt.Fprintln(w, "\n| conversations | bytes of the bodies that were not sent, per token of o200k |\n| --- | ---: |")
	bytes, tokens := 0, 0
	for _, f := range families {
		s := &f.sums[len(r.modes)-1]
		if saved := f.plain.all.tokens - s.all.tokens; saved > 0 {
			fmt.Fprintf(w, "| %s | %.2f |\n", f.name, float64(s.bytes)/float64(saved))
			bytes, tokens = bytes+s.bytes, tokens+saved
		}
	}
	fmt.Fprintf(w, "| all | %.2f |\n", float64(bytes)/float64(max(tokens, 1)))
}
