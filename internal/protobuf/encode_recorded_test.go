package protobuf

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"
)

// Recorded requests and replies go into a Struct and come back the same.
func TestEncodeRecorded(t *testing.T) {
	f := shared(t, "nonstream-chat/nonstream-chat.jsonl.gz")
	if f == nil {
		t.Skip("no shared data")
	}
	lines, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p := encodePlan(t, "google.protobuf.Struct")
	n := 0
	for dec := json.NewDecoder(lines); ; {
		var line struct{ Request, Response string }
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{line.Request, line.Response} {
			wire, ok := checkEncode(t, p, []byte(body), false)
			if !ok {
				continue
			}
			n++
			back, err := p.AppendJSON(nil, wire, Options{}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var was, is any
			if json.Unmarshal([]byte(body), &was) != nil || json.Unmarshal(back, &is) != nil || !reflect.DeepEqual(was, is) {
				t.Errorf("%s\ncame back as\n%s", body, back)
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d bodies were taken", n)
	}
	t.Logf("%d bodies", n)
}
