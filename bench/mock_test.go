package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSizes(t *testing.T) {
	for _, body := range []string{chatBody(false), chatBody(true)} {
		if len(body) != 600 || !json.Valid([]byte(body)) {
			t.Errorf("request of %d bytes: %s", len(body), body)
		}
	}
	if r := reply(); len(r) != 1000 || !json.Valid(r) {
		t.Errorf("reply of %d bytes: %s", len(r), r)
	}
	for i := range events - 1 {
		data, _ := strings.CutPrefix(string(chunk(i)), "data: ")
		if !json.Valid([]byte(data)) {
			t.Errorf("chunk %d: %s", i, data)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median = %v", got)
	}
}
