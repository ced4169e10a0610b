package simulator

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Fault says how a reply is to go wrong, or merely slowly. It comes with a
// request, in the header
//
//	X-Sim-Fault: status=429,retry-after=2
//
// or behind the model's name, where it passes through any gateway:
//
//	"model": "sim-chat?ttft=200ms&cut=3"
//
// Values may be percent-encoded. A model's keys come on top of the header's.
// A key that is unknown or makes no sense is answered with a 400 that says so.
//
//	latency=D        wait before anything is sent
//	ttft=D           wait between the head and the first event or byte
//	pace=D           wait before each event but the first
//	call-cost=D      work for so long on a call, at one at a time
//	item-cost=D      and for so long on each of its inputs or prompts
//	cost-spread=P    by up to P percent more or less
//	workers=N        work at N calls at a time
//	tokens=N         make the text exactly N tokens long, 1,000,000 at most
//	pad=N            put N bytes of white space behind a unary body; with
//	                 encoding=gzip this is a decompression bomb
//	comments=N       send N comments before the first event
//	eol=lf|cr|crlf   end the lines of events so
//	split=N          write the body in pieces of N bytes
//	encoding=E       compress the body: gzip, deflate, br or zstd
//	status=S         answer with this error and a body as real services send it
//	retry-after=R    with that field in the error; alone it means status=429
//	reset=1          reset the connection before any byte
//	cut=N            close the connection after N events (unary: bytes)
//	stall=N          go silent after N events (unary: bytes) until the client leaves
//	malformed=N      break the JSON of event N, counted from 1 (unary: any N)
//	error-event=N    after N events send an error event, and no [DONE]
//	no-done=1        end a stream soundly without its [DONE] (responses: its
//	                 response.completed)
//	wrong-length=D   claim a Content-Length that is D bytes off; HTTP/1.1 only
//	close-delimited=1  no length and no chunks: the end is the connection's end
//	fail-first=N     the first N requests with these very faults fail (with
//	                 status 503 where no other failure is named), later ones do not
//	key=TEXT         does nothing but tell faults apart, for fail-first
type Fault struct {
	Latency, TTFT, Pace time.Duration
	CallCost, ItemCost  time.Duration
	CostSpread          int // percent
	Workers             int
	Tokens, Pad         int
	Comments, Split     int
	EOL                 string
	Encoding            string
	Status              int
	RetryAfter          string
	Reset               bool
	Cut, Stall          int // -1 is off, as 0 has a meaning
	Malformed           int
	ErrorEvent          int // -1 is off
	NoDone              bool
	WrongLength         int
	CloseDelimited      bool
	FailFirst           int

	spec string // what it was parsed from, for FailFirst
}

const off = -1

func noFault() Fault { return Fault{Workers: 1, Cut: off, Stall: off, ErrorEvent: off} }

// parseFault reads key=value pairs on top of f. Its errors are *llm.Error.
func parseFault(spec, separator string, f Fault) (Fault, error) {
	for pair := range strings.SplitSeq(spec, separator) {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		key, raw, _ := strings.Cut(pair, "=")
		text, err := url.PathUnescape(raw)
		if err != nil {
			return f, badFault(key, raw, "a percent-encoded value")
		}
		if want := f.set(key, text); want != "" {
			return f, badFault(key, raw, want)
		}
	}
	f.spec += spec + "&"
	if f.Status == 0 && f.RetryAfter != "" {
		f.Status = 429
	}
	return f, nil
}

func badFault(key, value, want string) error {
	e := llm.Errorf(400, "invalid_fault", "Invalid simulator fault '%s=%s': expected %s.", key, value, want)
	e.Param = "X-Sim-Fault"
	return e
}

// set takes one pair. It returns "", or what it would have taken.
func (f *Fault) set(key, value string) (want string) {
	switch key {
	case "latency":
		return setDuration(&f.Latency, value)
	case "ttft":
		return setDuration(&f.TTFT, value)
	case "pace":
		return setDuration(&f.Pace, value)
	case "call-cost":
		return setDuration(&f.CallCost, value)
	case "item-cost":
		return setDuration(&f.ItemCost, value)
	case "cost-spread":
		return setInt(&f.CostSpread, value, 0, 100)
	case "workers":
		return setInt(&f.Workers, value, 1, 1024)
	case "tokens":
		return setInt(&f.Tokens, value, 1, 1_000_000)
	case "pad":
		return setInt(&f.Pad, value, 0, 1<<32)
	case "comments":
		return setInt(&f.Comments, value, 0, 1_000_000)
	case "split":
		return setInt(&f.Split, value, 1, 1<<30)
	case "eol":
		return setOne(&f.EOL, value, "lf", "cr", "crlf")
	case "encoding":
		return setOne(&f.Encoding, value, "gzip", "deflate", "br", "zstd")
	case "status":
		return setInt(&f.Status, value, 400, 599)
	case "retry-after":
		f.RetryAfter = value
	default:
		return f.setBreak(key, value)
	}
	return ""
}

// setBreak takes the keys that break a reply's form.
func (f *Fault) setBreak(key, value string) (want string) {
	switch key {
	case "reset":
		return setBool(&f.Reset, value)
	case "cut":
		return setInt(&f.Cut, value, 0, 1<<30)
	case "stall":
		return setInt(&f.Stall, value, 0, 1<<30)
	case "malformed":
		return setInt(&f.Malformed, value, 1, 1<<30)
	case "error-event":
		return setInt(&f.ErrorEvent, value, 0, 1<<30)
	case "no-done":
		return setBool(&f.NoDone, value)
	case "wrong-length":
		return setInt(&f.WrongLength, value, -1<<30, 1<<30)
	case "close-delimited":
		return setBool(&f.CloseDelimited, value)
	case "fail-first":
		return setInt(&f.FailFirst, value, 1, 1<<30)
	case "key":
		return ""
	}
	return "a known key in place of '" + key + "'"
}

func setDuration(d *time.Duration, value string) string {
	v, err := time.ParseDuration(value)
	if err != nil || v < 0 {
		return "a duration such as 200ms"
	}
	*d = v
	return ""
}

func setInt(n *int, value string, least, most int) string {
	v, err := strconv.Atoi(value)
	if err != nil || v < least || v > most {
		return "a number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)
	}
	*n = v
	return ""
}

func setBool(b *bool, value string) string {
	if value != "" && value != "1" && value != "0" {
		return "1 or 0"
	}
	*b = value != "0"
	return ""
}

func setOne(s *string, value string, allowed ...string) string {
	if !slices.Contains(allowed, value) {
		return "one of " + strings.Join(allowed, ", ")
	}
	*s = value
	return ""
}

// fails reports whether f names a failure.
func (f *Fault) fails() bool {
	return f.Status != 0 || f.Reset || f.Cut != off || f.Stall != off || f.Malformed != 0 || f.ErrorEvent != off || f.NoDone || f.WrongLength != 0
}

// heal removes what makes f a failure.
func (f *Fault) heal() {
	f.Status, f.RetryAfter, f.Reset, f.Malformed, f.NoDone, f.WrongLength = 0, "", false, 0, false, 0
	f.Cut, f.Stall, f.ErrorEvent = off, off, off
}

// maxCounted bounds the specs that failures remembers. Past it all are
// forgotten, which a test of sane size never sees.
const maxCounted = 4096

// maxSpec is the longest spec that is remembered, in bytes. Those that are longer never fail.
const maxSpec = 2 << 10

// failures counts the requests that are still to fail, by fault spec.
type failures struct {
	mu   sync.Mutex
	left map[string]int
}

// resolve decides whether a fault with FailFirst strikes this time.
func (fs *failures) resolve(f *Fault) {
	switch {
	case f.FailFirst == 0:
		return
	case len(f.spec) > maxSpec:
		f.heal()
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.left) >= maxCounted {
		clear(fs.left)
	}
	left, seen := fs.left[f.spec]
	if !seen {
		left = f.FailFirst
	}
	fs.left[f.spec] = max(left-1, 0)
	switch {
	case left == 0:
		f.heal()
	case !f.fails():
		f.Status = 503
	}
}
