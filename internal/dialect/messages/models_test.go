//go:build !race

package messages

import "testing"

func TestModels(t *testing.T) {
	for list, want := range map[string]string{
		`{"object":"list","data":[{"id":"a\"b","object":"model","created":1760000000},{"id":"c","display_name":"C"}]}`: `{"data":[{"type":"model","id":"a\"b","display_name":"a\"b","created_at":"2025-10-09T08:53:20Z"},` +
			`{"type":"model","id":"c","display_name":"C","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"a\"b","last_id":"c"}`,
		`{"data":[]}`: `{"data":[],"has_more":false,"first_id":null,"last_id":null}`,
		`[]`:          `{"data":[],"has_more":false,"first_id":null,"last_id":null}`,
	} {
		if got := string(AppendModels(nil, []byte(list))); got != want {
			t.Errorf("%s became\n%s, want\n%s", list, got, want)
		}
	}
}
