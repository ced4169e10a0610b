package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// modelWork is a model that costs its upstream what stands behind its name, in the
// simulator's words:
//
//	work?call-cost=10ms&item-cost=100us&cost-spread=50&workers=1&key=a
//
// The upstream works at so many calls at a time, for so long on each and for so long
// on each of its items, by up to so many percent more or less. Further calls wait in line, first come, first served, and one
// whose client leaves takes nobody's time any longer. Names that differ, if only by
// their key, have workers of their own.
const modelWork = "work"

// cost is what a model costs.
type cost struct {
	call, item time.Duration
	workers    int
	spread     int // percent
}

// of is how long a call with so many items takes on average.
func (c cost) of(items int) time.Duration { return c.call + time.Duration(max(items, 1))*c.item }

// capacity is how many items a second are done in calls of so many.
func (c cost) capacity(items int) float64 {
	return float64(c.workers*items) / c.of(items).Seconds()
}

func (c cost) model(key string) string {
	return strings.ReplaceAll(fmt.Sprintf("%s?call-cost=%v&item-cost=%v&cost-spread=%d&workers=%d&key=%s", modelWork, c.call, c.item, c.spread, c.workers, key), "µ", "u")
}

// costOf reads the name of a model.
func costOf(model string) (c cost, ok bool) {
	name, spec, _ := strings.Cut(model, "?")
	c.workers = 1
	var err error
	for pair := range strings.SplitSeq(spec, "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "call-cost":
			c.call, err = time.ParseDuration(value)
		case "item-cost":
			c.item, err = time.ParseDuration(value)
		case "workers":
			c.workers, err = strconv.Atoi(value)
		case "cost-spread":
			c.spread, err = strconv.Atoi(value)
		case "key":
		default:
			return cost{}, false
		}
		if err != nil {
			return cost{}, false
		}
	}
	return c, name == modelWork && c.workers > 0 && c.call >= 0 && c.item >= 0 && c.spread >= 0 && c.spread <= 100
}

// crew are those who work at a model.
type crew struct {
	cost
	busy []waiter // calls that are worked at, by when they are done
	line []lined
	n    int // calls that came
}

// lined is a call in line.
type lined struct {
	fd, generation int32
	since, takes   time.Duration
}

// join brings a call.
func (w *crew) join(fd, generation int32, items int, now time.Duration) {
	w.n++
	l := lined{fd, generation, now, spread(w.of(items), w.spread, w.n)}
	if len(w.busy) < w.workers {
		w.begin(l, now)
		return
	}
	w.line = append(w.line, l)
}

// spread is what the nth call takes of those that take d on average, by up to so many
// percent more or less. Multiples of the golden ratio are spread evenly from the first
// on, so that a few calls take as long on average as many do.
func spread(d time.Duration, percent, n int) time.Duration {
	_, part := math.Modf(float64(n) * math.Phi)
	return d + time.Duration(float64(d)*(2*part-1)*float64(percent)/100)
}

func (w *crew) begin(l lined, at time.Duration) {
	due := at + l.takes
	i, _ := slices.BinarySearchFunc(w.busy, due, func(b waiter, due time.Duration) int {
		if b.due <= due {
			return -1
		}
		return 1
	})
	w.busy = slices.Insert(w.busy, i, waiter{l.fd, l.generation, due})
}

// first is the call that is done first.
func (w *crew) first() (first waiter, ok bool) {
	if len(w.busy) == 0 {
		return waiter{}, false
	}
	return w.busy[0], true
}

// finish ends that. The next in line begins when it was due, however late the loop is:
// what is done in a second depends on the cost alone.
func (w *crew) finish() {
	due := w.busy[0].due
	w.busy = slices.Delete(w.busy, 0, 1)
	w.next(due)
}

func (w *crew) next(at time.Duration) {
	if len(w.line) > 0 {
		l := w.line[0]
		w.line = slices.Delete(w.line, 0, 1)
		w.begin(l, max(at, l.since))
	}
}

// leave takes back a call whose client is gone.
func (w *crew) leave(fd, generation int32, now time.Duration) {
	if i := slices.IndexFunc(w.line, func(l lined) bool { return l.fd == fd && l.generation == generation }); i >= 0 {
		w.line = slices.Delete(w.line, i, i+1)
		return
	}
	if i := slices.IndexFunc(w.busy, func(b waiter) bool { return b.fd == fd && b.generation == generation }); i >= 0 {
		w.busy = slices.Delete(w.busy, i, i+1)
		w.next(now)
	}
}

// numberSize is how many digits a call's number has, by which its reply is told from
// others'.
const numberSize = 12

// embeddingBody is a call for one vector, with zeros for its number, which stands at
// the beginning of the input.
func embeddingBody(model string) string {
	return fmt.Sprintf(`{"model":%q,"encoding_format":"base64","input":"%0*d %s"}`, model, numberSize, 0, question(80))
}

// questionBody is a chat, with zeros for its number at the beginning of what is asked:
// no two begin alike.
func questionBody(model string) string {
	const form = `{"model":%q,"messages":[{"role":"user","content":"%0*d %s"}]}`
	empty := fmt.Sprintf(form, model, numberSize, 0, "")
	return fmt.Sprintf(form, model, numberSize, 0, question(bodySize-len(empty)))
}

// inputs gives the numbers of a call's inputs to f. It knows what is sent here: a
// string, or an array of them.
func inputs(body []byte, f func(number []byte)) {
	const before = `"input":`
	i := bytes.Index(body, []byte(before))
	if i < 0 || i+len(before) == len(body) {
		return
	}
	rest := body[i+len(before):]
	single := rest[0] == '"'
	for len(rest) > 0 && rest[0] != ']' {
		if rest[0] != '"' {
			rest = rest[1:]
			continue
		}
		text := rest[1:]
		end := 0
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(text) {
			return
		}
		f(text[:min(end, numberSize)])
		if single {
			return
		}
		rest = text[end+1:]
	}
}

// dimensions are those of a vector, which has 4 bytes for each. In base64 that is as
// many vectorPiece as it takes, the first of which begins with its input's number.
const (
	dimensions  = 1536
	vectorSize  = dimensions * 4 / 3 * 4
	vectorPiece = "c2x1aWNlc2x1aWNlc2x1aWNlc2x1aWNlc2x1aWNlc2x1aWNlc2x1aWNlc2x1aWNl"
)

func appendVector(b, number []byte) []byte {
	b = append(append(b, number...), vectorPiece[len(number):]...)
	for range vectorSize/len(vectorPiece) - 1 {
		b = append(b, vectorPiece...)
	}
	return b
}

// embeddings makes r the reply to a call for vectors, and gives how many there are.
func (r *mockReply) embeddings(body []byte, date time.Time) (n int) {
	const before, after = `{"object":"list","data":[`, `],"model":"mock-model","usage":{"prompt_tokens":%d,"total_tokens":%[1]d}}`
	const tokens = 20 // of each input
	size := len(before)
	inputs(body, func([]byte) {
		size += elementSize(n)
		n++
	})
	end := fmt.Appendf(nil, after, tokens*n)
	if r.pieces == nil {
		r.pieces = make([][]byte, 1)
	}
	text := append(appendHead(r.pieces[0][:0], "200 OK", size+max(n-1, 0)+len(end), date), before...)
	i := 0
	inputs(body, func(number []byte) {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, elementStart...)
		text = appendVector(text, number)
		text = append(text, elementEnd...)
		text = append(strconv.AppendInt(text, int64(i), 10), '}')
		i++
	})
	r.pieces[0] = append(text, end...)
	return n
}

const elementStart, elementEnd = `{"object":"embedding","embedding":"`, `","index":`

func elementSize(i int) int {
	return len(elementStart) + vectorSize + len(elementEnd) + len(strconv.Itoa(i)) + 1
}
