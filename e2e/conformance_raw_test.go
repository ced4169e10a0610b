package e2e

import (
	"bytes"
	"cmp"
	le "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protowire"
)

// rawCase is a test case of ConnectRPC's conformance suite for clients of gRPC, which has what
// the server answers. The suite's own server does so within the suite alone, so the test's
// does.
type rawCase struct {
	Request struct {
		TestName        string           `yaml:"testName"`
		StreamType      string           `yaml:"streamType"`
		RequestMessages []map[string]any `yaml:"requestMessages"`
	} `yaml:"request"`
	Expected struct {
		Payloads []struct{ Data []byte }
		Error    *struct {
			Code    any
			Message string
		}
	} `yaml:"-"`
	ExpectedRaw any `yaml:"expectedResponse"`
}

// TestConformanceRaw has Sluice read the replies with which the conformance suite tries
// clients of gRPC: empty messages, trailers of each kind, statuses that are missing or not
// the last word, messages too many, other codings and content types. What the suite calls an
// error is one to Sluice's client, with the service's own code where it has one.
func TestConformanceRaw(t *testing.T) {
	t.Parallel()
	module := conformanceModule(t)
	data := filepath.Join(module, "internal", "app", "connectconformance", "testsuites", "data")
	mappings, models := "", map[string]string{"STREAM_TYPE_UNARY": "Unary", "STREAM_TYPE_CLIENT_STREAM": "ClientStream", "STREAM_TYPE_SERVER_STREAM": "ServerStream", "STREAM_TYPE_HALF_DUPLEX_BIDI_STREAM": "BidiStream"}
	for _, method := range models {
		kind := "unary"
		if method == "ServerStream" || method == "BidiStream" {
			kind = "stream"
		}
		mappings += fmt.Sprintf("%[1]s:\n  call: {%[2]s: connectrpc.conformance.v1.ConformanceService/%[1]s}\n  request: {}\n  response: {choices: [{text: =unbase64(r.payload.data)}]}\n", method, kind)
	}
	file := write(t, "raw.yaml", mappings)
	var now atomic.Pointer[rawReply] // what the server says
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		now.Load().send(w)
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	config := mappedConfig
	for _, method := range models {
		config += fmt.Sprintf("  - {name: %[1]s, protocol: grpc, base_url: '%[2]s', mapping: '%[3]s#%[1]s', schema: %[4]q, models: [%[1]s]}\n", method, srv.URL, file, filepath.Join(module, "proto"))
	}
	in := start(t, config)
	n := 0
	for _, suite := range []string{"grpc_client_empty", "grpc_client_trailers", "grpc_client_unexpected", "grpc_client_proto_subformat"} {
		text, err := os.ReadFile(filepath.Join(data, suite+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var all struct {
			Cases []rawCase `yaml:"testCases"`
		}
		if err := yaml.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		for _, c := range all.Cases {
			n++
			t.Run(suite+"/"+c.Request.TestName, func(t *testing.T) { now.Store(c.reply(t)); c.try(t, in, models[c.Request.StreamType]) })
		}
	}
	if n < 20 {
		t.Errorf("the suite has %d cases", n)
	}
}

// rawReply is a RawHTTPResponse of the suite.
type rawReply struct {
	StatusCode        int `json:"statusCode"`
	Headers, Trailers []struct {
		Name  string
		Value []string
	}
	Stream *struct {
		Items []struct {
			Flags   byte
			Length  *uint32
			Payload struct {
				Text          string
				Binary        []byte
				BinaryMessage *struct {
					Type    string `json:"@type"`
					Payload struct{ Data []byte }
				} `json:"binary_message"`
				Compression string
			}
		}
	}
}

func (c *rawCase) reply(t *testing.T) *rawReply {
	t.Helper()
	var in struct {
		ResponseDefinition struct {
			RawResponse *rawReply `json:"rawResponse"`
		} `json:"responseDefinition"`
	}
	b, err := json.Marshal(c.Request.RequestMessages[0])
	b = bytes.ReplaceAll(b, []byte(`"status_code"`), []byte(`"statusCode"`))
	d := json.NewDecoder(bytes.NewReader(b))
	if err == nil {
		err = d.Decode(&in)
	}
	if err != nil || in.ResponseDefinition.RawResponse == nil {
		t.Fatalf("%v: %s", err, b)
	}
	return in.ResponseDefinition.RawResponse
}

func (r *rawReply) send(w http.ResponseWriter) {
	for _, h := range r.Headers {
		for _, v := range h.Value {
			w.Header().Add(h.Name, v)
		}
	}
	w.WriteHeader(cmp.Or(r.StatusCode, 200))
	if len(r.Trailers) > 0 || r.Stream != nil {
		w.(http.Flusher).Flush() // else trailers alone would be the head
	}
	if r.Stream != nil {
		for _, item := range r.Stream.Items {
			message := append([]byte(item.Payload.Text), item.Payload.Binary...)
			if m := item.Payload.BinaryMessage; m != nil && len(m.Payload.Data) > 0 {
				inner := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), m.Payload.Data)
				message = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
			}
			n := uint32(len(message))
			if item.Length != nil {
				n = *item.Length
			}
			_, _ = w.Write(append(le.BigEndian.AppendUint32([]byte{item.Flags}, n), message...))
		}
	}
	for _, h := range r.Trailers {
		for _, v := range h.Value {
			w.Header().Add(http.TrailerPrefix+h.Name, v)
		}
	}
}

func (c *rawCase) try(t *testing.T, in *instance, model string) {
	t.Helper()
	b, err := json.Marshal(c.ExpectedRaw)
	if err == nil {
		err = json.Unmarshal(b, &c.Expected)
	}
	if err != nil || model == "" {
		t.Fatalf("%v: %+v", err, c)
	}
	text, fault := answered(t, in, model, false, nil)
	want := ""
	for _, p := range c.Expected.Payloads {
		want += string(p.Data)
	}
	e := c.Expected.Error
	switch code := ""; {
	case e == nil:
		if fault != "" || text != want {
			t.Errorf("got %q, %s; want %q", text, fault, want)
		}
	case fault == "" || strings.Contains(fault, "internal_error"):
		t.Errorf("got %q, %s; want the error %v", text, fault, e.Code)
	case e.Message != "" || fmt.Sprint(e.Code) == "9":
		code = "400 failed_precondition: " + e.Message
		if fmt.Sprint(e.Code) != "9" || !strings.HasPrefix(fault, code) {
			t.Errorf("got %s; want the error %v: %s", fault, e.Code, e.Message)
		}
	case !strings.HasPrefix(fault, "5"):
		t.Errorf("got %s; want an error of the upstream's (%v)", fault, e.Code)
	}
}
