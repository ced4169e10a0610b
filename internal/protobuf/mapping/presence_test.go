package mapping

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/protobuf/schema"
)

// declared is a schema of this text.
func declared(t *testing.T, proto string) *schema.Schema {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.proto")
	if err := os.WriteFile(file, []byte(proto), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := schema.Load(t.Context(), schema.Source{Name: "test", Locations: []string{file}}, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const older = `syntax = "proto2";
package older;
service S { rpc Ask(Q) returns (A); }
message Q {
  required string model = 1;
  required Kind kind = 2;
  required Inner inner = 3;
  optional string note = 4;
  oneof prompt { string text = 5; Inner deep = 6; int32 number = 7; }
  repeated Inner all = 8;
}
enum Kind { PLAIN = 0; }
message Inner { required int32 n = 1; optional string long_name = 2; }
message A { required string text = 1; optional string more = 2; }
`

// TestMembersOfOneof: two that are always set are a fault of the file; of two that may be,
// a request that sets both is refused, and is never sent with one of them.
func TestMembersOfOneof(t *testing.T) {
	s := declared(t, older)
	const head = "x:\n  call: {unary: older.S/Ask}\n  response: {choices: [{text: =r.text}]}\n  request:\n    model: m\n    kind: PLAIN\n    inner: {n: 1}\n"
	const both = `: request: "text" and "number" are of one oneof (prompt), and both are always set: put them behind $if, or leave one out`
	for lines, want := range map[string]string{
		"    text: a\n    number: 1\n":                                                          "m.yaml:9" + both,
		"    text: =req.a\n    note: =req.?n\n    number: =req.b + 1\n":                         "m.yaml:10" + both,
		"    text: {$each: a in req.l, $join: =a}\n    number: {$enum: =req.x, a: 1}\n":         "m.yaml:9" + both,
		"    text: {$if: =stream, $then: a, $else: b}\n    number: =req.?b.orValue(1)\n":        "m.yaml:9" + both,
		"    text: =req.?a\n    number: 1\n":                                                    "",
		"    text: {$if: =has(req.a), $then: a}\n    number: {$if: '=!has(req.a)', $then: 1}\n": "",
		"    deep: {n: =req.?n}\n    number: 1\n":                                               "",
		"    deep: {n: 1}\n    text: =req.?a\n    number: 1\n":                                  `m.yaml:10: request: "deep" and "number" are of one oneof`,
		"    all: [{n: 1, long_name: a, longName: b}]\n":                                        `m.yaml:8: request.all[0]: "long_name" and "longName" are one field`,
		"    all: [{long_name: a}]\n":                                                           `m.yaml:8: request.all[0]: older.Inner requires n, which stands nowhere here`,
		"    all: {$each: a in req.l, long_name: =a}\n":                                         `m.yaml:8: request.all: older.Inner requires n`,
	} {
		_, err := load(t, s, head+lines)
		if (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", lines, err, want)
		}
	}
	_, err := load(t, s, "x:\n  call: {unary: older.S/Ask}\n  response: {choices: []}\n  request:\n    model: m\n")
	if want := "m.yaml:5: request: older.Q requires kind, inner, which stands nowhere here"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	list, err := load(t, s, head+"    text: =req.?a\n    number: =req.?b\n    note: =req.?n\n    all: {$each: n in list(req.?l), n: =n.?n}\n")
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"a":"x"}`:       "",
		`{"b":1}`:         "",
		`{"a":"x","b":1}`: "another field of its oneof is there already",
		`{"l":[{"n":1}]}`: "",
		`{"l":[{}]}`:      "required field n is missing",
	} {
		got, err := list[0].Unary.AppendMessage(nil, &Input{Body: []byte(body)})
		if (want == "") != (err == nil) || err != nil && (len(got) != 0 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v, want %q", body, got, err, want)
		}
	}
	// A reply that lacks one is none.
	if _, err := list[0].Unary.NewReader().Read([]byte("\x12\x01x")); err == nil || !strings.Contains(err.Error(), "required field older.A.text is not set") {
		t.Error(err)
	}
	text := string(Skeleton(Chosen{Methods: []protoreflect.MethodDescriptor{list[0].Unary.Method}}))
	if _, err := load(t, s, text); err != nil || !strings.Contains(text, "\n    inner: {n: 0} # older.Inner\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestKindsOfRequests: what a mapping looks at says which requests it is for.
func TestKindsOfRequests(t *testing.T) {
	s := declared(t, older)
	for _, c := range []struct {
		request      string
		chats, texts bool
	}{
		{"note: =req.messages[0].content", true, false},
		{"note: {$each: m in req.messages, $join: =m.content}", true, false},
		{"note: =prompt", true, false},
		{"note: =req.prompt", false, true},
		{"note: {$if: =has(req.messages), $then: =prompt, $else: =req.prompt}", true, true},
		{"note: =req.ask", true, true},
		{"note: =json(req)\n    number: =size(req.messages)", true, true},
	} {
		list, err := load(t, s, "x:\n  call: {unary: older.S/Ask}\n  response: {choices: []}\n  request:\n    model: m\n    kind: PLAIN\n    inner: {n: 1}\n    "+c.request+"\n")
		if err != nil {
			t.Fatal(c.request, err)
		}
		if u := list[0].Unary; u.Chats() != c.chats || u.Texts() != c.texts {
			t.Errorf("%s: chats %v, completions %v", c.request, u.Chats(), u.Texts())
		}
	}
}
