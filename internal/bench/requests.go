package bench

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Paths of what is asked.
const (
	chatPath   = "/v1/chat/completions"
	embedPath  = "/v1/embeddings"
	decodePath = "/v1/protobuf/decode"
)

// question is the text of a request of some 600 bytes.
const question = "The pump of the second circuit has been running since the morning, the pressure falls by two bar an hour, and the valve behind it answers late. " +
	"The last log says that the filter was changed on Monday, the seal on Wednesday, and that the reading of the old gauge was never compared with that of the new one. " +
	"Say what should be looked at first, in which order to go on, and which of the readings are worth believing; be short and name what is missing."

// chat is a chat that nobody asked before. The simulator does as fault says.
func (r *run) chat(n int, fault string) request {
	if r.Upstream != "" {
		model, _ := json.Marshal(r.Model) // a text always can be
		return request{path: chatPath, body: fmt.Sprintf(`{"model":%s,"messages":[{"role":"user","content":"Say hello. (%s-%d)"}],"max_tokens":1}`, model, r.key[:8], n)}
	}
	return request{path: chatPath, fault: fault, body: fmt.Sprintf(`{"model":"sim-chat","messages":[{"role":"system","content":"You help engineers."},{"role":"user","content":"(%d) %s"}],"temperature":0.2}`, n, question)}
}

// stream is the same, answered in events.
func (r *run) stream(n int, fault string) request {
	q := r.chat(n, fault)
	q.stream = true
	q.body = strings.TrimSuffix(q.body, "}") + `,"stream":true}`
	return q
}

// embedding is one input that nobody had embedded before.
func (r *run) embedding(n int, model, fault string) request {
	return request{path: embedPath, fault: fault, body: fmt.Sprintf(`{"model":%q,"input":"document %d about pumps, valves and their logs"}`, model, n)}
}

// schemaText and messageType are what the messages of decode are.
const (
	messageType = "bench.Reply"
	schemaText  = `syntax = "proto3";
package bench;
message Reply {
  string id = 1;
  string model = 2;
  int64 created = 3;
  repeated Choice choices = 4;
  Usage usage = 5;
}
message Choice {
  int32 index = 1;
  string role = 2;
  string content = 3;
  string finish_reason = 4;
}
message Usage {
  int32 prompt_tokens = 1;
  int32 completion_tokens = 2;
}
`
)

// decode is a protobuf message, a reply of some 1 kB, that is to become JSON.
func (r *run) decode(n int) request {
	field := func(b []byte, number protowire.Number, text string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
	}
	count := func(b []byte, number protowire.Number, v int) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
	}
	m := field(nil, 1, fmt.Sprintf("reply-%d", n))
	m = field(m, 2, "sim-chat")
	m = count(m, 3, 1_700_000_000+n)
	for i := range 2 {
		c := count(nil, 1, i)
		c = field(c, 2, "assistant")
		c = field(c, 3, question)
		c = field(c, 4, "stop")
		m = protowire.AppendBytes(protowire.AppendTag(m, 4, protowire.BytesType), c)
	}
	u := count(count(nil, 1, 120), 2, 180)
	m = protowire.AppendBytes(protowire.AppendTag(m, 5, protowire.BytesType), u)
	return request{path: decodePath, body: fmt.Sprintf(`{"type":%q,"data":%q}`, messageType, base64.StdEncoding.EncodeToString(m))}
}
