// Package bench is "sluice bench": it measures on the user's own machine what each
// optimisation is worth, and holds that against what was promised of it.
//
// Everything is measured off and on, in turn, in the same seconds: a round has both
// sides, and which one comes first changes from round to round. What is told of a row is
// the median of the rounds' own ratios with a distribution-free interval; a verdict takes
// the whole of it. What cannot be measured is said, and not guessed.
//
// The gateway, the simulator that answers it and, where the configuration cannot express
// what was before, a small gateway as programs of its kind are written (package before)
// are processes of their own: this binary, started again. The load comes from this
// process, over loopback.
package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// Options are what a run needs.
type Options struct {
	Executable string              // this binary, which knows ChildCommand
	Env        []string            // of which children have what does not configure them
	HashKey    func(string) string // as a key stands in the configuration
	Version    string
	Command    string // the command line, for the report

	Rounds int           // off and on each; at least 1
	Slice  time.Duration // that a side is measured in a round, as a rule
	Seed   uint64
	Only   *regexp.Regexp // the rows that are measured, by id; nil for all

	Upstream string // base URL of a real service; "" for the simulator
	Key      string // its API key
	Model    string // that is asked

	Progress io.Writer // nil for nobody
	Terminal bool      // Progress is one
}

// run is one run of everything.
type run struct {
	Options
	dir       string
	env       []string // of children
	key       string   // of the gateways' only client
	schema    string   // file of the protobuf schema
	simulator *child
	started   int // children
	asked     atomic.Int64
	progress  *progress
	report    *Report
}

// experiment measures rows that go together.
type experiment struct {
	rows    []Row
	measure func(ctx context.Context, r *run, rows map[string]*Row) error
	// real says how many requests a real upstream is sent at most in so many rounds; nil
	// for an experiment that can only be made with the simulator, and why says why.
	real func(rounds int) int
	why  string
	// uses says that what processes use has to be known, which not every system tells.
	uses bool
}

// RowIDs are the ids of all rows, in their order.
func RowIDs() (ids []string) {
	for _, e := range experiments() {
		for _, row := range e.rows {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// Service is the real upstream as reports name it: without its query, in which some
// services take their key; "" for the simulator.
func (o Options) Service() string {
	base, _, _ := strings.Cut(o.Upstream, "?")
	return base
}

// Requests is how many requests a run sends to a real upstream, at most.
func (o Options) Requests() (n int) {
	for _, e := range experiments() {
		if o.wants(e) && e.real != nil {
			n += e.real(o.Rounds)
		}
	}
	return n + 1 // to see whether it answers
}

// wants says whether a row of an experiment is asked for.
func (o Options) wants(e experiment) bool {
	for _, row := range e.rows {
		if o.Only == nil || o.Only.MatchString(row.ID) {
			return true
		}
	}
	return false
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	if o.Rounds < 1 || o.Rounds > 1000 {
		return fmt.Errorf("--rounds must be from 1 to 1000, not %d", o.Rounds)
	}
	if o.Slice < minSlice || o.Slice > maxSlice {
		return fmt.Errorf("--duration must be from %v to %v, not %v", minSlice, maxSlice, o.Slice)
	}
	if o.Upstream != "" {
		u, err := url.Parse(o.Upstream)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fmt.Errorf("--upstream must be a URL such as https://api.openai.com/v1")
		}
		if o.Model == "" {
			return errors.New("--upstream needs --model: the model that is asked")
		}
	}
	for _, e := range experiments() {
		if o.wants(e) {
			return nil
		}
	}
	return fmt.Errorf("--only matches no row: there are %s", strings.Join(RowIDs(), ", "))
}

const minSlice, maxSlice = 50 * time.Millisecond, 10 * time.Minute

// Run measures all rows that are asked for. It takes about Rounds · Slice · 16, ends
// early with ctx, and leaves no process and no file. Where the measuring of some rows
// fails there is a report of the others as well as an error.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = ctx.Err() // whatever else it made of what was under way
		}
	}()
	r := &run{Options: o, env: childEnv(o.Env), key: newKey()}
	if r.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.schema = filepath.Join(r.dir, "reply.proto")
	if err := os.WriteFile(r.schema, []byte(schemaText), 0o600); err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	begun := time.Now()
	cpu, memory := machine()
	r.report = &Report{
		Version: o.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPU: cpu, CPUs: runtime.GOMAXPROCS(0), Memory: memory,
		Date: begun.UTC().Truncate(time.Second), Command: o.Command, Seed: o.Seed, Rounds: o.Rounds, Slice: o.Slice.Seconds(), Upstream: o.Service(),
	}
	if r.simulator, err = r.start(ctx, "the simulator", nil, ChildSimulator); err != nil {
		return nil, err
	}
	defer r.simulator.stop()
	if o.Upstream != "" {
		if err := r.reach(ctx); err != nil {
			return nil, err
		}
	}
	err = r.all(ctx, experiments())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.report.Seconds = time.Since(begun).Seconds()
	r.report.finish()
	return r.report, err
}

// all makes the experiments, one after the other. One that fails has its rows say so, and
// does not take the others with it.
func (r *run) all(ctx context.Context, list []experiment) (failed error) {
	_, unknown := cpuTime(os.Getpid())
	wanted := 0
	for _, e := range list {
		if r.wants(e) && r.lacks(e, unknown) == "" {
			wanted++
		}
	}
	r.progress = &progress{w: r.Progress, terminal: r.Terminal, experiments: wanted, rounds: r.Rounds, begun: time.Now()}
	defer r.progress.clear()
	for _, e := range list {
		if !r.wants(e) {
			continue
		}
		rows := map[string]*Row{}
		for i := range e.rows {
			rows[e.rows[i].ID] = &e.rows[i]
		}
		if why := r.lacks(e, unknown); why != "" {
			for _, row := range rows {
				row.Skipped = why
			}
		} else {
			r.progress.next(e.rows[0].Title)
			if err := e.measure(ctx, r, rows); err != nil {
				failed = errors.Join(failed, fmt.Errorf("measure %s: %w", e.rows[0].Title, err))
				for _, row := range rows {
					row.Figures, row.Rests, row.Skipped = nil, nil, "It failed: "+err.Error()+"."
				}
			}
			if ctx.Err() != nil {
				return failed
			}
		}
		for _, row := range e.rows {
			if r.Only == nil || r.Only.MatchString(row.ID) {
				r.report.Rows = append(r.report.Rows, row)
			}
		}
	}
	return failed
}

// lacks says why an experiment cannot be made; "" where it can. unknown is why it is not
// known what processes use, nil where it is.
func (r *run) lacks(e experiment, unknown error) string {
	switch {
	case r.Upstream != "" && e.real == nil:
		return "Not with a real upstream: " + e.why + "."
	case e.uses && unknown != nil:
		return "Not on this system: " + unknown.Error() + "."
	}
	return ""
}

// reach sees whether the real upstream answers, before minutes are spent.
func (r *run) reach(ctx context.Context) error {
	g, err := r.gateway(ctx, "the gateway", config{upstreams: []upstream{r.upstream()}}, r.credentials()...)
	if err != nil {
		return err
	}
	defer g.stop()
	c := client{addr: g.addr, key: r.key, keep: true}
	defer c.close()
	if a := c.ask(ctx, r.chat(r.number(), "")); !a.good {
		return fmt.Errorf("the upstream does not answer: %w", a.err)
	}
	if !answers(c.whole) { // what answers anything with 200 would be measured as well
		return fmt.Errorf("the upstream does not answer: its reply is no chat completion: %s", printable(c.end))
	}
	return nil
}

// answers reports whether a reply is a chat completion.
func answers(reply []byte) bool {
	var r struct {
		Choices []json.RawMessage `json:"choices"`
	}
	return json.Unmarshal(reply, &r) == nil && len(r.Choices) > 0
}

// upstream is what answers: the real one, or the simulator.
func (r *run) upstream() upstream {
	if r.Upstream == "" {
		return r.simulated()
	}
	u := upstream{name: "real", url: r.Upstream}
	if r.Key != "" {
		u.more = ", api_key: '${" + keyVariable + "}'"
	}
	return u
}

// keyVariable is where the gateways find the real upstream's key: in no file and no
// command line.
const keyVariable = "SLUICE_BENCH_KEY"

func (r *run) credentials() []string {
	if r.Key == "" {
		return nil
	}
	return []string{keyVariable + "=" + r.Key}
}

// number is one that no request of this run had before.
func (r *run) number() int { return int(r.asked.Add(1)) }

// each does something for both sides of each round, off first in one round and on in the
// next.
func (r *run) each(ctx context.Context, measure func(round, side int) error) error {
	for round := range r.Rounds {
		for turn := range 2 {
			if err := measure(round, (turn+round)%2); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		r.progress.round()
	}
	return nil
}

// side gives the side of a round of a figure, which has as many pairs as it needs then.
func (f *Figure) side(round, side int) *Side {
	for len(f.Pairs) <= round {
		f.Pairs = append(f.Pairs, Pair{})
	}
	if side == 0 {
		return &f.Pairs[round].Off
	}
	return &f.Pairs[round].On
}

// times is how often something that takes d fits into a slice, within bounds.
func (r *run) times(d time.Duration, least, most int) int {
	return min(max(int(math.Round(float64(r.Slice)/float64(d))), least), most)
}

func seeded(seed, stream uint64) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, stream)) }

func newKey() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
