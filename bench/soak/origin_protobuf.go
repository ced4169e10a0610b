package soak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The schema of the services that speak protobuf, and how they are asked.
const (
	schema = `syntax = "proto3";
package bench;
service Model { rpc Chat(Ask) returns (stream Chunk); rpc Complete(Ask) returns (Chunk); }
message Ask { string model = 1; repeated Line lines = 2; optional float temperature = 3; }
message Line { string role = 1; string text = 2; }
message Chunk { repeated Choice choices = 1; int64 heard = 2; int64 said = 3; }
message Choice { int32 index = 1; string text = 2; string end = 3; }
`
	mapping = `model:
  call: {unary: bench.Model/Complete, stream: bench.Model/Chat}
  request:
    model: =upstream_model
    temperature: =req.?temperature
    lines: {$each: m in req.messages, role: =m.role, text: {$each: p in parts(m.?content), $join: =p.text}}
  response:
    choices: {$each: c in r.choices, index: =c.index, text: =c.text, finish: {$enum: =c.end, stop: stop}}
    usage: {prompt: =r.heard, completion: =r.said}
`
)

// chunk is a message of a reply.
func chunk(text, end string, heard, said int) []byte {
	choice := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), text)
	if end != "" {
		choice = protowire.AppendString(protowire.AppendTag(choice, 3, protowire.BytesType), end)
	}
	b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), choice)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(heard))
	return protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(said))
}

// frame puts a message into a frame of gRPC.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// fieldsOf calls each for every field of a message that has a length.
func fieldsOf(b []byte, each func(n protowire.Number, v []byte)) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return protowire.ParseError(size)
		}
		if kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			each(n, v)
		}
		b = b[size:]
	}
	return nil
}

// grpc says whether gRPC is spoken, and not protobuf over HTTP.
func (x *exchange) grpc() bool {
	return strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/grpc")
}

// refuseProtobuf answers with an error: a status of gRPC, or one of HTTP.
func (x *exchange) refuseProtobuf(status int, text string) {
	if !x.grpc() {
		x.w.Header().Set("Content-Type", "text/plain")
		x.w.WriteHeader(status)
		io.WriteString(x.w, text)
		return
	}
	x.w.Header().Set("Content-Type", "application/grpc")
	code := map[int]int{400: 3, 422: 3, 429: 8, 503: 14}[status]
	if code == 0 {
		code = 13
	}
	x.w.Header().Set("Grpc-Status", fmt.Sprint(code))
	x.w.Header().Set("Grpc-Message", text)
	x.w.WriteHeader(http.StatusOK)
}

// protobuf answers as the schema says, over gRPC or HTTP.
func (x *exchange) protobuf() {
	message := x.body
	if x.grpc() {
		message = message[min(5, len(message)):]
	}
	var t talk
	err := fieldsOf(message, func(n protowire.Number, line []byte) {
		if n != 2 {
			return
		}
		var said [3]string
		if fieldsOf(line, func(n protowire.Number, v []byte) { said[min(n, 2)] = string(bytes.Clone(v)) }) == nil {
			t.hear(said[1], said[2])
		}
	})
	if err != nil {
		x.refuse(http.StatusUnprocessableEntity, err.Error())
		return
	}
	if !x.grpc() {
		var stream func(answer)
		if strings.HasSuffix(x.r.URL.Path, "/Chat") {
			stream = func(a answer) {
				event := func(text, end string, said int) {
					fmt.Fprintf(x.w, "data: %s\n\n", base64.StdEncoding.EncodeToString(chunk(text, end, a.prompt, said)))
				}
				x.events(eventStream, a, func() {}, func(i int) { event(a.texts[i], "", i+1) },
					func() { fmt.Fprintf(x.w, "event: error\ndata: %s\n\n", originFails) },
					func() { event("", "stop", a.out); io.WriteString(x.w, "data: [DONE]\n\n") })
			}
		}
		x.asked(t, func(a answer) {
			x.whole(http.StatusOK, "application/x-protobuf", chunk(a.text(), "stop", a.prompt, a.out))
		}, stream)
		return
	}
	x.w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	status := func(code int, text string) {
		x.w.Header().Set("Grpc-Status", fmt.Sprint(code))
		x.w.Header().Set("Grpc-Message", text)
	}
	var stream func(answer)
	if strings.HasSuffix(x.r.URL.Path, "/Chat") {
		stream = func(a answer) {
			x.events("application/grpc", a, func() {}, func(i int) { x.w.Write(frame(chunk(a.texts[i], "", a.prompt, i+1))) },
				func() { status(13, originFails) },
				func() { x.w.Write(frame(chunk("", "stop", a.prompt, a.out))); status(0, "") })
		}
	}
	x.asked(t, func(a answer) {
		if x.q.fault == faultCut || x.q.fault == faultStalls {
			x.whole(http.StatusOK, "application/grpc", frame(chunk(a.text(), "stop", a.prompt, a.out)))
			return
		}
		x.w.Header().Set("Content-Type", "application/grpc")
		x.w.Write(frame(chunk(a.text(), "stop", a.prompt, a.out)))
		status(0, "")
	}, stream)
}
