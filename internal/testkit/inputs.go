package testkit

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/ulikunitz/xz"
)

//go:embed own
var own embed.FS

// Inputs are our own or the recorded ones.
type Inputs struct{ recorded bool }

// Each runs a test on our own inputs and on the recorded ones, which it skips
// where they are missing.
func Each(t *testing.T, test func(t *testing.T, in Inputs)) {
	t.Helper()
	t.Run("own", func(t *testing.T) { test(t, Inputs{}) })
	t.Run("recorded", func(t *testing.T) {
		Recorded(t, ".")
		test(t, Inputs{recorded: true})
	})
}

// Seeds gives all inputs that are there: of a fuzz test or a benchmark, which
// are none the less themselves without recordings.
func Seeds(t testing.TB) []Inputs {
	t.Helper()
	all := []Inputs{{}}
	if _, err := os.Stat(dataDir(t)); err == nil {
		all = append(all, Inputs{recorded: true})
	}
	return all
}

// Least is how many inputs a test should find: n recorded ones, or one of ours.
func (in Inputs) Least(n int) int {
	if in.recorded {
		return n
	}
	return min(n, 1)
}

// Stream is an event stream as a service sent it.
type Stream struct {
	Name string
	API  string // "openai-chat", "openai-completions", "openai-responses", or another's
	Body []byte

	Request []byte // nil where it was not recorded
}

// Streams gives the event streams, in order of their names.
func (in Inputs) Streams(t testing.TB) (list []Stream) {
	t.Helper()
	if in.recorded {
		list = recordedStreams(t)
	} else {
		const dir = "own/streams"
		must(t, fs.WalkDir(own, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			api := path.Base(path.Dir(name))
			list = append(list, Stream{Name: strings.TrimPrefix(name, dir+"/"), API: api, Body: read(t, name)})
			return nil
		}))
	}
	slices.SortFunc(list, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
	if len(list) < in.Least(400) {
		t.Fatalf("found only %d streams", len(list))
	}
	return list
}

func recordedStreams(t testing.TB) (list []Stream) {
	t.Helper()
	api, requests := map[string]string{}, map[string][]byte{}
	decodeLines(t, bytes.NewReader(readFile(t, Recorded(t, "sse-streams/index-dev.jsonl"))), func(line struct{ File, API string }) {
		api[line.File] = line.API
	})
	untar(t, Recorded(t, "sse-streams/streams-dev.tar.xz"), func(name string, body []byte) {
		if name = strings.TrimPrefix(name, "./"); strings.HasSuffix(name, ".sse") {
			list = append(list, Stream{Name: name, API: api[name], Body: body})
		} else if stream, ok := strings.CutSuffix(name, ".request.json"); ok {
			requests[stream+".sse"] = body
		}
	})
	for i := range list {
		list[i].Request = requests[list[i].Name]
	}
	return list
}

// Pair is a request and its whole reply.
type Pair struct {
	URL      string
	Status   int
	Header   map[string]string `json:"response_headers"` // names in lower case
	Request  string            // "" where it was not recorded
	Response string
}

// Pairs gives requests with their whole replies.
func (in Inputs) Pairs(t testing.TB) (list []Pair) {
	t.Helper()
	var lines io.Reader = bytes.NewReader(read(t, "own/replies.jsonl"))
	if in.recorded {
		lines = gunzip(t, Recorded(t, "nonstream-chat/nonstream-chat.jsonl.gz"))
	}
	decodeLines(t, lines, func(p Pair) { list = append(list, p) })
	if len(list) < in.Least(1000) {
		t.Fatalf("found only %d pairs", len(list))
	}
	return list
}

// Errors gives requests with replies of a status of 400 and above.
func (in Inputs) Errors(t testing.TB) (list []Pair) {
	t.Helper()
	var lines io.Reader = bytes.NewReader(read(t, "own/errors.jsonl"))
	if in.recorded {
		lines = gunzip(t, Recorded(t, "provider-errors/provider-errors.jsonl.gz"))
	}
	decodeLines(t, lines, func(p Pair) { list = append(list, p) })
	return list
}

// Transcript is a conversation with a model, as messages of a chat completion.
type Transcript struct {
	Family   string // what programs made it
	Source   string
	Messages []json.RawMessage
}

// Transcripts gives conversations, those of a family one after the other.
func (in Inputs) Transcripts(t testing.TB) (list []Transcript) {
	t.Helper()
	add := func(family string, lines io.Reader) {
		decodeLines(t, lines, func(one Transcript) {
			one.Family = family
			list = append(list, one)
		})
	}
	if !in.recorded {
		add("own", bytes.NewReader(read(t, "own/transcripts.jsonl")))
		return list
	}
	dir := Recorded(t, "transcripts")
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		if family, ok := strings.CutSuffix(f.Name(), ".jsonl.gz"); ok {
			add(family, gunzip(t, filepath.Join(dir, f.Name())))
		}
	}
	if len(list) < 599 {
		t.Fatalf("found only %d transcripts", len(list))
	}
	return list
}

// Arrivals gives, in their order, when requests came to a service, since the first.
func (in Inputs) Arrivals(t testing.TB) (list []time.Duration) {
	t.Helper()
	var lines io.Reader = bytes.NewReader(read(t, "own/arrivals.csv"))
	if in.recorded {
		plain, err := xz.NewReader(bytes.NewReader(readFile(t, Recorded(t, "traces-azure/AzureLLMInferenceTrace_code.csv.xz"))))
		must(t, err)
		lines = plain
	}
	var first time.Time
	s := bufio.NewScanner(lines)
	for s.Scan(); s.Scan(); { // the first line names the columns
		stamp, _, _ := strings.Cut(s.Text(), ",")
		at, err := time.Parse("2006-01-02 15:04:05", stamp)
		must(t, err)
		if first.IsZero() {
			first = at
		}
		list = append(list, at.Sub(first))
	}
	must(t, s.Err())
	slices.Sort(list)
	if len(list) < in.Least(5000) {
		t.Fatalf("found only %d arrivals", len(list))
	}
	return list
}

// Text is a text that is, or is not, JSON.
type Text struct {
	Name string // begins with "y_" if it is JSON, "n_" if not, "i_" where RFC 8259 leaves it open
	Body []byte
}

// Texts gives texts for a parser of JSON.
func (in Inputs) Texts(t testing.TB) (list []Text) {
	t.Helper()
	if !in.recorded {
		for line := range strings.Lines(string(read(t, "own/json.txt"))) {
			kind, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			list = append(list, Text{kind + "_" + text, []byte(text)})
		}
		return list
	}
	untar(t, Recorded(t, "conformance/jsontestsuite.tar.xz"), func(name string, body []byte) {
		if name = path.Base(name); strings.HasSuffix(name, ".json") {
			list = append(list, Text{name, body})
		}
	})
	if len(list) < 300 {
		t.Fatalf("found only %d texts", len(list))
	}
	return list
}

// Strings gives strings that programs stumble over.
func (in Inputs) Strings(t testing.TB) (list []string) {
	t.Helper()
	b := read(t, "own/strings.json")
	if in.recorded {
		b = readFile(t, Recorded(t, "conformance/blns/blns.json"))
	}
	must(t, json.Unmarshal(b, &list))
	return list
}

// Events is an event stream and the messages that it is made of.
type Events struct {
	Name   string
	Input  []byte
	Expect []Message
}

// Message is what the reader of an event stream is given.
type Message struct{ Event, Data, LastEventID string }

// Vectors gives event streams with what they mean.
func (in Inputs) Vectors(t testing.TB) (list []Events) {
	t.Helper()
	if in.recorded {
		var vectors []struct {
			Name   string
			Input  []byte `json:"input_b64"`
			Expect []Message
		}
		must(t, json.Unmarshal(readFile(t, Recorded(t, "conformance/wpt-eventsource/vectors.json")), &vectors))
		for _, v := range vectors {
			list = append(list, Events(v))
		}
		return list
	}
	var vectors []struct {
		Name, Input string
		Expect      [][3]string
	}
	must(t, json.Unmarshal(read(t, "own/events.json"), &vectors))
	for _, v := range vectors {
		e := Events{Name: v.Name, Input: []byte(v.Input)}
		for _, m := range v.Expect {
			e.Expect = append(e.Expect, Message{m[0], m[1], m[2]})
		}
		list = append(list, e)
	}
	return list
}

const describedAt = "mem:///openapi.json"

// Schema compiles a schema of a description of the OpenAI API.
func (in Inputs) Schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	return compile(t, in.compiler(t), name)
}

func (in Inputs) compiler(t testing.TB) *jsonschema.Compiler {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": in.Schemas(t)}})
	must(t, err)
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	must(t, c.AddResource(describedAt, tree))
	return c
}

func compile(t testing.TB, c *jsonschema.Compiler, name string) *jsonschema.Schema {
	t.Helper()
	schema, err := c.Compile(describedAt + "#/components/schemas/" + name)
	must(t, err)
	return schema
}

// Descriptions keeps what was read of the descriptions, which takes seconds with
// the race detector.
type Descriptions struct {
	mu        sync.Mutex
	compilers map[Inputs]*jsonschema.Compiler
}

// Schema compiles the named schema of a description.
func (d *Descriptions) Schema(t testing.TB, in Inputs, name string) *jsonschema.Schema {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.compilers[in]
	if c == nil {
		if d.compilers == nil {
			d.compilers = make(map[Inputs]*jsonschema.Compiler)
		}
		c = in.compiler(t)
		d.compilers[in] = c
	}
	return compile(t, c, name)
}

// Schemas compiles the named schema of each description that is there.
func (d *Descriptions) Schemas(t testing.TB, name string) (list []*jsonschema.Schema) {
	t.Helper()
	for _, in := range Seeds(t) {
		list = append(list, d.Schema(t, in, name))
	}
	return list
}

// Schemas gives the schemas of a description of the OpenAI API, by name: OpenAI's
// own where it was recorded, else one of the members that clients rely on.
// OpenAPI 3.0's "nullable: true" is JSON Schema's "anyOf" with null in it, and
// keywords of an older draft, which only filters have, are left out.
func (in Inputs) Schemas(t testing.TB) map[string]any {
	t.Helper()
	var text io.Reader = bytes.NewReader(read(t, "own/openapi.yaml"))
	if in.recorded {
		text = gunzip(t, Recorded(t, "conformance/openai-openapi/openapi.yaml.gz"))
	}
	var doc struct {
		Components struct {
			Schemas map[string]any `yaml:"schemas"`
		} `yaml:"components"`
	}
	must(t, yaml.NewDecoder(text).Decode(&doc))
	schemas, ok := dialect(doc.Components.Schemas).(map[string]any)
	if !ok || len(schemas) < in.Least(100) {
		t.Fatalf("found only %d schemas", len(schemas))
	}
	return schemas
}

func dialect(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = dialect(v[i])
		}
	case map[string]any:
		nullable := v["nullable"] == true
		for _, key := range []string{"nullable", "$recursiveAnchor", "$recursiveRef"} {
			delete(v, key)
		}
		for k := range v {
			v[k] = dialect(v[k])
		}
		if nullable {
			return map[string]any{"anyOf": []any{v, map[string]any{"type": "null"}}}
		}
	}
	return v
}

// Untar gives each file of a recorded tar archive, compressed with xz.
func Untar(t testing.TB, name string, visit func(name string, body []byte)) {
	t.Helper()
	untar(t, Recorded(t, name), visit)
}

func untar(t testing.TB, file string, visit func(name string, body []byte)) {
	t.Helper()
	plain, err := xz.NewReader(bufio.NewReader(bytes.NewReader(readFile(t, file))))
	must(t, err)
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(archive)
		must(t, err)
		visit(h.Name, body)
	}
}

func gunzip(t testing.TB, file string) io.Reader {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(readFile(t, file)))
	must(t, err)
	return z
}

// decodeLines decodes one value after the other.
func decodeLines[T any](t testing.TB, r io.Reader, visit func(T)) {
	t.Helper()
	for d := json.NewDecoder(r); ; {
		var v T
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		visit(v)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := own.ReadFile(name)
	must(t, err)
	return b
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Lines decodes one recorded value of each line of a file that is compressed with xz.
func Lines[T any](t testing.TB, name string, visit func(T)) {
	t.Helper()
	plain, err := xz.NewReader(bufio.NewReader(bytes.NewReader(readFile(t, Recorded(t, name)))))
	must(t, err)
	decodeLines(t, plain, visit)
}
