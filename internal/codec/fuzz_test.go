package codec

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// FuzzEnvelope has any body end in a reply that is JSON or in an error that is for
// the client.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"type":"test.Note","data":{"text":"hi"}}`, `{"type":"test.Note","data":"CgJoaQ","schema":null,"options":{"use_proto_names":true}}`,
		`{"type":"test.Note","items":[{"data":"CgJoaQ=="},{"data":{"notes":[{}]}},{"type":"x"},1]}`, `{"t\u0079pe":"test.Note","data":"\u0043gJoaQ"}`, `{"data":""`, `[]`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	c := newCodec(f, func(c *Config) { c.MaxInputBytes, c.MaxOutputBytes, c.MaxItems, c.Workers = 8<<10, 8<<10, 20, 1 })
	stage := c.Stage(nil)
	f.Fuzz(func(t *testing.T, body []byte, encode bool) {
		path := "decode"
		if encode {
			path = "encode"
		}
		out := &client{}
		err := stage.Serve(t.Context(), post(path, string(body), asJSON), out)
		if err == nil && !json.Valid(out.body) {
			t.Errorf("the reply is no JSON: %q", out.body)
		}
		if err != nil && (out.starts > 0 || strings.HasPrefix(told(err), "internal")) {
			t.Errorf("%d heads and %v", out.starts, err)
		}
	})
}

// FuzzQuery has any query be read or refused.
func FuzzQuery(f *testing.F) {
	f.Add("type=a.B&schema=c&use_proto_names=1&emit_unpopulated&&encoding=hex&envelope=false")
	f.Add("%zz=&type=%41+")
	f.Fuzz(func(t *testing.T, query string) {
		var a ask
		if err := a.parseQuery(query); err != nil && !strings.HasPrefix(told(err), "400 ") {
			t.Error(err)
		}
	})
}

// FuzzStream has any stream give the same however it is cut.
func FuzzStream(f *testing.F) {
	f.Add(framed(note("hi"), nil, note("ho")), 3, byte(0))
	f.Add([]byte("data: CgJoaQ\n\n:x\r\rdata: [DONE]\n\n"), 7, byte(1))
	f.Add([]byte("data: 0a02\rdata: 6869\r\n\r\n"), 9, byte(2))
	f.Add([]byte{0xff, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, 10, byte(0))
	c := newCodec(f, func(c *Config) { c.MaxInputBytes = 1 << 10 })
	stage := c.Stage(nil)
	f.Fuzz(func(t *testing.T, body []byte, at int, form byte) {
		target, contentType := streamType, asEvent
		switch form % 3 {
		case 0:
			contentType = asWire
		case 1:
			target += "&encoding=hex"
		}
		serve := func(req *llm.Request) string {
			out := &client{}
			if err := stage.Serve(context.Background(), req, out); err != nil {
				return out.text() + told(err)
			}
			return out.text()
		}
		whole := serve(streamed(target, bytes.NewReader(body), contentType))
		if strings.Contains(whole, "internal") {
			t.Error(whole)
		}
		if at < 0 || at > len(body) {
			return
		}
		if parts := serve(streamed(target, cut(body, at), contentType)); parts != whole {
			t.Errorf("whole %q\ncut   %q", whole, parts)
		}
	})
}
