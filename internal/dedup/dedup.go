package dedup

import (
	"bytes"
	"cmp"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// Dedup rewrites requests. Its methods are safe for concurrent use.
type Dedup struct {
	rules   *rules
	keys    map[string]llm.DedupMode
	account *memory.Account
	buffers *memory.Buffers
	plans   sync.Pool // of *plan
	works   sync.Pool // of *work
	ratios  ratios
	counts  counts
}

// Options are what a Dedup may need besides its configuration.
type Options struct {
	// Keys are modes by the name of an API key.
	Keys map[string]string

	// Account is where indexes are reserved, Buffers lend what rewritten bodies are made in;
	// nil for no bound.
	Account *memory.Account
	Buffers *memory.Buffers

	// BytesPerToken is by what tokens are estimated until services have said how many they
	// count, from 1 to 8; 0 for what OpenAI's count on average.
	BytesPerToken float64
}

// CheckBytesPerToken is the error of what Options.BytesPerToken cannot be.
func CheckBytesPerToken(n float64) error {
	if n != 0 && !(n >= leastPerToken && n <= mostPerToken) {
		return fmt.Errorf("%g bytes a token is not from %g to %g", n, leastPerToken, mostPerToken)
	}
	return nil
}

// New makes a Dedup. The errors are those of the configuration, of the keys' modes too, and of
// BytesPerToken.
func New(cfg Config, o Options) (*Dedup, error) {
	r, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	if err := CheckBytesPerToken(o.BytesPerToken); err != nil {
		return nil, err
	}
	d := &Dedup{rules: r, account: o.Account, buffers: o.Buffers, keys: make(map[string]llm.DedupMode, len(o.Keys))}
	d.ratios.begin = cmp.Or(o.BytesPerToken, bytesPerToken)
	for name, mode := range o.Keys {
		d.keys[name], _ = llm.ParseDedupMode(mode)
	}
	d.plans.New = func() any { return new(plan) }
	d.works.New = func() any { return &work{d: d} }
	return d, nil
}

// counts are the figures.
type counts struct {
	results [changed + 1]atomic.Uint64 // requests, by what became of them

	changed, messages, bytes, tokens [llm.DedupBlocks + 1]atomic.Uint64 // by mode
}

// work is the rewriting of one request, which is kept for use again. It is the sink of the
// reply to what is sent.
type work struct {
	llm.Sink
	d        *Dedup
	plan     *plan // nil when it is not needed any more
	reserved int64
	buffer   *memory.Buffer // backs the body of req
	req      llm.Request    // what is sent
	saved    llm.Deduped
}

// keepPlan is how much memory in bytes a plan may keep for use again.
const keepPlan = 1 << 20

// verdict is what became of a request.
type verdict uint8

const (
	unchanged verdict = iota
	unsure            // it is of a form that is left alone
	lacking           // there was no memory for it
	changed
)

// reads reports whether requests of an operation have messages.
func reads(op llm.Operation) bool { return known.ShapeOf(op) != nil }

// rewrite gives a request as it is to be sent, in work that is to be released when the request
// is not used any more; nil where that is as it came.
func (d *Dedup) rewrite(req *llm.Request, mode llm.DedupMode, notes func(Decision)) (*work, verdict) {
	if mode <= llm.DedupOff || !reads(req.Op) || req.BodyReader != nil {
		return nil, unchanged
	}
	w, _ := d.works.Get().(*work)
	v := w.find(req, mode, notes)
	if v == changed {
		v = w.edit(req)
	}
	d.counts.results[v].Add(1)
	if v != changed {
		w.release()
		return nil, v
	}
	d.count(mode, w.saved)
	w.drop()
	return w, v
}

// find plans.
func (w *work) find(req *llm.Request, mode llm.DedupMode, notes func(Decision)) verdict {
	d := w.d
	w.plan, _ = d.plans.Get().(*plan)
	p := w.plan
	blocks := mode == llm.DedupBlocks && len(req.Body) >= 2*d.rules.MinBlock
	if blocks {
		n := int64(planSize(len(req.Body), d.rules.MinBlock))
		if !d.account.Take(n) {
			return lacking
		}
		w.reserved = n
	}
	switch {
	case !p.read(req.Op, req.Body, blocks):
		return unsure
	case len(p.messages) < 2:
		if p.notes, p.told, p.sent = notes, -1, 1; len(p.messages) == 1 {
			p.tell(0, Kept, p.whyLast(), nil)
		}
		return unchanged
	case !blocks:
		mode = llm.DedupSafe
	}
	if !p.make(mode, d.rules, notes) {
		return unchanged
	}
	return changed
}

// edit does what was planned.
func (w *work) edit(req *llm.Request) verdict {
	d, p := w.d, w.plan
	var dst []byte
	if d.buffers != nil {
		buffer, err := d.buffers.Get(len(req.Body) - p.saved.bytes)
		if err != nil {
			return lacking
		}
		w.buffer, dst = buffer, buffer.B[:0]
	}
	var err error
	if w.req, err = req.Edit(dst, p.list()); err != nil { // the model's name stands in a message, which then is none
		return unsure
	}
	w.saved = llm.Deduped{Messages: p.saved.messages, Bytes: int64(p.saved.bytes), Tokens: int64(float64(p.saved.bytes) / d.ratios.of(req.Model))}
	if !p.beside {
		w.saved.Text = int64(p.spoken - p.saved.bytes)
	}
	return changed
}

func (d *Dedup) count(mode llm.DedupMode, saved llm.Deduped) {
	c := &d.counts
	c.changed[mode].Add(1)
	c.messages[mode].Add(uint64(saved.Messages))
	c.bytes[mode].Add(uint64(saved.Bytes))
	c.tokens[mode].Add(uint64(saved.Tokens))
}

// drop gives back what only planning took.
func (w *work) drop() {
	p := w.plan
	if p == nil {
		return
	}
	w.d.account.Give(w.reserved)
	p.body, p.notes, p.plain = nil, nil, nil
	if p.room() <= keepPlan {
		w.d.plans.Put(p)
	}
	w.plan, w.reserved = nil, 0
}

// release gives back everything.
func (w *work) release() {
	w.drop()
	d := w.d
	d.buffers.Put(w.buffer)
	*w = work{d: d}
	d.works.Put(w)
}

// dropBody gives back the body that was sent, which nobody needs any more. A stream may go on
// for minutes after that.
func (w *work) dropBody() {
	w.d.buffers.Put(w.buffer)
	w.buffer, w.req.Body, w.req.ModelSpan = nil, nil, llm.Span{}
}

// room is what a plan holds, in bytes.
func (p *plan) room() int {
	return p.reserved() + held(p.messages) + held(p.texts) + held(p.prompted) + held(p.numbers) + held(p.blocks) + held(p.marks) + held(p.edits) + held(p.replacements)
}

// reserved is what of that planSize counts.
func (p *plan) reserved() int {
	return held(p.starts) + held(p.index.heads) + held(p.index.entries) + held(p.index.chain) + held(p.index.filter) + held(p.pieces) + held(p.first) + held(p.found)
}

// held is how many bytes a slice holds.
func held[T any](s []T) int {
	var one T
	return cap(s) * int(unsafe.Sizeof(one))
}

// Result is what Rewrite did.
type Result struct {
	Body  []byte
	Saved llm.Deduped
	Sure  bool // the request is one that can be looked into
}

// Rewrite gives what a request of that mode would be sent as, and tells notes, which may be
// nil, what becomes of each message and why; of none where the mode is off or the result not
// sure. The body is valid JSON.
func (d *Dedup) Rewrite(req *llm.Request, mode llm.DedupMode, notes func(Decision)) Result {
	w, v := d.rewrite(req, mode, notes)
	if w == nil {
		return Result{Body: req.Body, Sure: v != unsure}
	}
	defer w.release()
	return Result{Body: bytes.Clone(w.req.Body), Saved: w.saved, Sure: true}
}
