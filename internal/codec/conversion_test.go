package codec

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestCalls(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.MaxInputBytes, c.MaxOutputBytes, c.MaxItems = 4<<10, 4<<10, 3 })
	hi := note("hi")
	for _, test := range []struct {
		name string
		req  *llm.Request
		want string
	}{
		// Envelopes.
		{"encode", post("encode", `{"type":"test.Note","data":{"text":"hi"}}`, asJSON), `application/json {"type":"test.Note","data":"CgJoaQ=="}`},
		{"encode, no content type", post("encode", `{"type":"test.Note","schema":"notes","data":{"text":"hi"},"options":{}}`), `application/json {"type":"test.Note","data":"CgJoaQ=="}`},
		{"encode, bare reply", post("encode", `{"type":"test.Note","data":{"text":"hi"}}`, asJSON, "Accept: application/json;q=0.5, application/x-protobuf"), "application/x-protobuf " + string(hi)},
		{"encode, Accept likes both", post("encode", `{"type":"test.Note","data":{}}`, asJSON, "Accept: application/json, application/x-protobuf"), `application/json {"type":"test.Note","data":""}`},
		{"encode, unknown member", post("encode", `{"type":"test.Note","data":{"x":1},"options":{"discard_unknown":true}}`, asJSON), `application/json {"type":"test.Note","data":""}`},
		{"decode", post("decode", `{"data":"CgJoaQ==","type":"test.Note","schema":null,"options":null}`, asJSON), `application/json {"type":"test.Note","data":{"text":"hi"}}`},
		{"decode, no padding, escape", post("decode", `{"data":"CgJoaQ\u003d","type":"test.Note"}`, asJSON), `application/json {"type":"test.Note","data":{"text":"hi"}}`},
		{"decode, other alphabet", post("decode", `{"data":"EPv_AQ","type":"test.Note"}`, asJSON), `application/json {"type":"test.Note","data":{"bigNumber":"32763"}}`},
		{"decode, options", post("decode", `{"data":"EAEgAQ","type":"test.Note","options":{"use_proto_names":true,"use_enum_numbers":true}}`, asJSON), `application/json {"type":"test.Note","data":{"big_number":"1","kind":1}}`},
		{"decode, any Accept", post("decode", `{"data":"","type":"test.Note"}`, asJSON, "Accept: application/x-protobuf"), `application/json {"type":"test.Note","data":{}}`},
		{"charset", post("decode", `{"data":"","type":"test.Note"}`, "Content-Type: Application/JSON; charset=utf-8"), `application/json {"type":"test.Note","data":{}}`},
		// Bare messages.
		{"bare decode", post("decode?type=test.Note", string(hi), asWire), `application/json {"text":"hi"}`},
		{"bare decode, no content type", post("decode?type=test%2ENote&schema=notes", string(hi)), `application/json {"text":"hi"}`},
		{"bare decode, envelope", post("decode?type=test.Note&envelope=true", string(hi), "Content-Type: application/octet-stream"), `application/json {"type":"test.Note","data":{"text":"hi"}}`},
		{"bare decode, options", post("decode?type=test.Note&use_proto_names&use_enum_numbers=1", "\x10\x01\x20\x01", asWire), `application/json {"big_number":"1","kind":1}`},
		{"bare decode, unpopulated", post("decode?type=test.Note&emit_unpopulated=true", "", asWire), `application/json {"text":"","bigNumber":"0","notes":[],"kind":"KIND_NONE"}`},
		{"bare encode", post("encode?type=test.Note", `{"text":"hi"}`, asJSON), "application/x-protobuf " + string(hi)},
		{"bare encode, any Accept", post("encode?type=test.Note", `{"text":"hi"}`, "Accept: text/html, */*"), "application/x-protobuf " + string(hi)},
		{"bare encode, JSON reply", post("encode?type=test.Note", `{"text":"hi"}`, asJSON, "Accept: application/json"), `application/json {"type":"test.Note","data":"CgJoaQ=="}`},
		{"bare encode, query over Accept", post("encode?type=test.Note&envelope=false", `{"text":"hi"}`, asJSON, "Accept: application/json"), "application/x-protobuf " + string(hi)},
		// Batches.
		{"no items", post("decode", `{"type":"test.Note","items":[]}`, asJSON), `application/json {"items":[]}`},
		{"items", post("decode", `{"type":"test.Note","items":[{"data":"CgJoaQ=="},{"data":"","type":"google.protobuf.Empty","schema":"notes"},{"data":"EAE"}]}`, asJSON), `application/json {"items":[{"data":{"text":"hi"}},{"data":{}},{"data":{"bigNumber":"1"}}]}`},
		{"items to encode, no type for all", post("encode", `{"items":[{"type":"test.Note","data":{"text":"hi"}}]}`, asJSON, "Accept: application/x-protobuf"), `application/json {"items":[{"data":"CgJoaQ=="}]}`},
		{"too many items", post("decode", `{"type":"test.Note","items":[1,2,3,4]}`, asJSON), `413 limit_exceeded items: A batch has at most 3 items.`},
		{"items and data", post("decode", `{"type":"test.Note","items":[],"data":""}`, asJSON), `400 invalid_parameter data: The request has both "data" and "items".`},
		{"items of a wrong type", post("decode", `{"type":"test.Note","items":{}}`, asJSON), `400 invalid_type items: "items" is not an array.`},
		{"bare reply to items", post("decode?envelope=false", `{"type":"test.Note","items":[]}`, asJSON), `400 invalid_parameter envelope: The reply to a batch is always an envelope.`},
		// Well-known types, of no schema's name and in each endpoint.
		{"any", post("encode", `{"type":"google.protobuf.Any","data":{"@type":"type.googleapis.com/test.Note","text":"hi"}}`, asJSON), `application/json {"type":"google.protobuf.Any","data":"Ch10eXBlLmdvb2dsZWFwaXMuY29tL3Rlc3QuTm90ZRIECgJoaQ=="}`},
		{"any, back", post("decode", `{"type":"google.protobuf.Any","data":"Ch10eXBlLmdvb2dsZWFwaXMuY29tL3Rlc3QuTm90ZRIECgJoaQ=="}`, asJSON), `application/json {"type":"google.protobuf.Any","data":{"@type":"type.googleapis.com/test.Note","text":"hi"}}`},
		{"duration", post("encode?type=google.protobuf.Duration", `"1s"`, asJSON), "application/x-protobuf \x08\x01"},
		{"duration, back", post("decode?type=google.protobuf.Duration", "\x08\x01", asWire), `application/json "1s"`},
		{"timestamp", post("encode", `{"type":"google.protobuf.Timestamp","data":"1970-01-01T00:00:01Z"}`, asJSON), `application/json {"type":"google.protobuf.Timestamp","data":"CAE="}`},
		{"list", post("encode", `{"type":"google.protobuf.ListValue","data":[true]}`, asJSON), `application/json {"type":"google.protobuf.ListValue","data":"CgIgAQ=="}`},
		{"mask", post("encode", `{"type":"google.protobuf.FieldMask","data":"a,b"}`, asJSON), `application/json {"type":"google.protobuf.FieldMask","data":"CgFhCgFi"}`},
		{"empty", post("encode", `{"type":"google.protobuf.Empty","data":{}}`, asJSON), `application/json {"type":"google.protobuf.Empty","data":""}`},
		{"items of well-known types", post("encode", `{"type":"google.protobuf.Struct","items":[{"data":{"a":1}},{"type":"google.protobuf.Int64Value","data":"7"},{"type":"google.protobuf.Value","data":null}]}`, asJSON), `application/json {"items":[{"data":"Cg4KAWESCREAAAAAAADwPw=="},{"data":"CAc="},{"data":"CAA="}]}`},
		// Faults.
		{"no JSON", post("decode", "{\n  x", asJSON), "400 invalid_json : The request's body is not a valid JSON object: expected a key in double quotes at line 2, column 3 (byte 4)."},
		{"no object", post("decode", "[]", asJSON), "400 invalid_json : The request's body is not a valid JSON object: expected an object at line 1, column 1 (byte 0)."},
		{"no type", post("decode", `{"data":""}`, asJSON), `400 missing_required_parameter type: The request names no message type. Give one as "type", with its package, as in "pkg.Message".`},
		{"no data", post("decode", `{"type":"test.Note"}`, asJSON), `400 missing_required_parameter data: The request has neither "data" nor "items".`},
		{"type is a number", post("decode", `{"type":1,"data":""}`, asJSON), `400 invalid_type type: "type" is not a string.`},
		{"data is a number", post("decode", `{"type":"test.Note","data":1}`, asJSON), `400 invalid_type data: "data" is not a string. A binary message is given as base64.`},
		{"unknown key", post("decode", `{"typ":"test.Note","data":1}`, asJSON), `400 unknown_parameter typ: "typ" is none of the keys that are known here: type, schema, data, and of the whole request options and items.`},
		{"key twice", post("decode", `{"data":"","data":""}`, asJSON), `400 duplicate_parameter data: "data" is given twice.`},
		{"unknown option", post("decode", `{"type":"test.Note","options":{"x":true}}`, asJSON), `400 unknown_parameter options.x: "x" is none of the options use_proto_names, emit_unpopulated, use_enum_numbers, discard_unknown.`},
		{"option is a string", post("decode", `{"options":{"use_proto_names":"yes"}}`, asJSON), `400 invalid_type options.use_proto_names: "options.use_proto_names" is neither true nor false.`},
		{"options are none", post("decode", `{"options":[]}`, asJSON), `400 invalid_type options: "options" is not an object.`},
		{"no base64", post("decode", `{"type":"test.Note","data":"Cg~"}`, asJSON), `400 invalid_data data: The message is not valid base64: illegal base64 data at input byte 2.`},
		{"base64 in lines", post("decode", `{"type":"test.Note","data":"Cg\nJo"}`, asJSON), `400 invalid_data data: The base64 of the message has a line end at byte 2.`},
		{"unknown schema", post("decode?type=test.Note&schema=none", "", asWire), `404 unknown_schema schema: There is nothing of this name: unknown schema "none" (GET /v1/protobuf/schemas lists what there is).`},
		{"unknown type", post("decode?type=test.Not", "", asWire), `404 unknown_type type: There is nothing of this name: unknown message "test.Not" in any schema; did you mean "test.Note"? (GET /v1/protobuf/schemas lists what there is).`},
		{"body too large", post("decode?type=test.Note", strings.Repeat("x", 4<<10+1), asWire), `413 limit_exceeded : The input is larger than the 4096 bytes that are taken here.`},
		{"held body too large", post("encode?type=test.Note", strings.Repeat("x", 4<<10+1), asJSON), `413 limit_exceeded : The input is larger than the 4096 bytes that are taken here.`},
		{"compressed", post("decode?type=test.Note", "x", asWire, "Content-Encoding: gzip"), `415 unsupported_content_encoding : The body's Content-Encoding "gzip" is not supported. Send it as it is.`},
		{"decode of text", post("decode?type=test.Note", "x", "Content-Type: text/plain"), `415 unsupported_content_type : The Content-Type "text/plain" is not supported by /v1/protobuf/decode. Send application/x-protobuf or application/json.`},
		{"encode of protobuf", post("encode?type=test.Note", "x", asWire), `415 unsupported_content_type : The Content-Type "application/x-protobuf" is not supported by /v1/protobuf/encode. Send application/json.`},
		{"query key", post("decode?typ=test.Note", "x", asWire), `400 unknown_parameter typ: The query's "typ" is none of type, schema, envelope, encoding, use_proto_names, emit_unpopulated, use_enum_numbers, discard_unknown.`},
		{"query escape", post("decode?type=%zz", "x", asWire), `400 invalid_parameter type: The query's type=%zz is not escaped as it should be.`},
		{"query flag", post("decode?type=test.Note&use_proto_names=yes", "x", asWire), `400 invalid_parameter use_proto_names: The query's use_proto_names is neither true nor false.`},
		{"encoding of no stream", post("decode?encoding=hex", "x", asWire), `400 unknown_parameter encoding: The query's encoding is for /v1/protobuf/decode/stream.`},
		{"method of schemas", &llm.Request{Method: "PUT", Path: prefix + "schemas"}, `405 method_not_supported : PUT is not supported by /v1/protobuf/schemas. It takes GET, HEAD.`},
		{"method", &llm.Request{Method: "GET", Path: prefix + "decode"}, `405 method_not_supported : GET is not supported by /v1/protobuf/decode. It takes POST.`},
		{"path", post("nothing", ""), `404 unknown_url : Unknown request URL: POST /v1/protobuf/nothing. Below /v1/protobuf/ there are encode, decode, decode/stream and schemas.`},
	} {
		if got := send(c, test.req); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
}

// A body that is announced as too large is not read.
func TestAnnouncedTooLarge(t *testing.T) {
	req := streamed("decode?type=test.Note", &slow{err: errors.New("read")}, asWire)
	req.BodyLen = int64(Default().MaxInputBytes) + 1
	if got := send(newCodec(t, nil), req); !strings.HasPrefix(got, "413 limit_exceeded : ") {
		t.Error(got)
	}
}

// What is refused is refused at its place, in both directions.
func TestPlaceOfFault(t *testing.T) {
	c := newCodec(t, nil)
	for _, test := range []struct {
		name       string
		req        *llm.Request
		start, end string
	}{
		{"decode", post("decode?type=test.Note", "\x10\x01\x0a\x05hi", asWire), "400 invalid_data data: The bytes are not a test.Note: byte ", "."},
		{"encode", post("encode", `{"type":"test.Note","data":{"notes":[{},{"text":1}]}}`, asJSON), "400 invalid_data data.notes[1].text: The JSON is not a test.Note: notes[1].text: ", " of the message)."},
	} {
		if got := send(c, test.req); !strings.HasPrefix(got, test.start) || !strings.HasSuffix(got, test.end) {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

// The stage takes what is below its path and passes all else on.
func TestPassesOn(t *testing.T) {
	c := newCodec(t, nil)
	passed := 0
	stage := c.Stage(llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error { passed++; return nil }))
	for _, req := range []*llm.Request{
		{Op: llm.Chat, Path: "/v1/chat/completions"}, {Op: llm.Passthrough, Path: "/v1/protobuf"}, {Op: llm.Passthrough, Path: "/v1/files"},
	} {
		if n := testing.AllocsPerRun(10, func() { _ = stage.Serve(t.Context(), req, nil) }); n > 0 {
			t.Errorf("%s: %v allocations", req.Path, n)
		}
	}
	if passed != 3*11 {
		t.Errorf("%d passed", passed)
	}
}

// The output is bounded, of one message and of a batch.
func TestOutputLimit(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.MaxOutputBytes, c.InlineBytes = 1<<10, 0 })
	big := b64(note(strings.Repeat("x", 2<<10)))
	if got := send(c, post("decode", `{"type":"test.Note","data":"`+big+`"}`, asJSON)); !strings.HasPrefix(got, "413 limit_exceeded data: ") || !strings.Contains(got, "1024 bytes of output") {
		t.Errorf("one: %s", got)
	}
	// The second and the third have no room any more; the last one has.
	half := `{"data":"` + b64(note(strings.Repeat("x", 600))) + `"},`
	got := send(c, post("decode", `{"type":"test.Note","items":[`+half+half+half+`{"data":""}]}`, asJSON))
	if strings.Count(got, "xxx") != 200 || strings.Count(got, `"code":"limit_exceeded"}`) != 2 || !strings.HasSuffix(got, `,{"data":{}}]}`) {
		t.Errorf("batch: %s", got)
	}
}

// A limit is told apart from wrong data, in calls and in items, both ways.
func TestDepthAndFieldLimits(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.MaxDepth, c.MaxFields = 3, 5 })
	nest := func(n int) string { return strings.Repeat(`{"notes":[`, n-1) + "{}" + strings.Repeat(`]}`, n-1) }
	for _, test := range []struct {
		json, wire string
		ok         bool
	}{
		{nest(3), "\x1a\x02\x1a\x00", true}, {nest(4), "\x1a\x04\x1a\x02\x1a\x00", false},
		{`{"notes":[{},{}]}`, "\x1a\x00\x1a\x00", true}, {`{"notes":[{},{},{},{},{},{}]}`, strings.Repeat("\x1a\x00", 6), false},
	} {
		item := func(data string) string { return `{"type":"test.Note","items":[{"data":` + data + `}]}` }
		single, many := "application/", `application/json {"items":[{"data":`
		if !test.ok {
			single, many = "413 limit_exceeded data", `application/json {"items":[{"error":{"message":"The test.Note goes beyond a limit: `
		}
		for req, want := range map[*llm.Request]string{
			post("encode?type=test.Note", test.json, asJSON): single, post("encode", item(test.json), asJSON): many,
			post("decode?type=test.Note", test.wire, asWire): single, post("decode", item(`"`+b64([]byte(test.wire))+`"`), asJSON): many,
		} {
			if got := send(c, req); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", test.json, got)
			}
		}
	}
	deep := strings.Repeat("[", 600) + strings.Repeat("]", 600)
	for _, body := range []string{`{"type":"test.Note","data":` + deep + `}`, `{"type":"test.Note","items":[{"data":` + deep + `}]}`} {
		if got := send(c, post("encode", body, asJSON)); !strings.HasPrefix(got, "413 limit_exceeded : ") {
			t.Errorf("envelope: %.200s", got)
		}
	}
}
